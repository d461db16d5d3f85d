"""Conversations that are given and not sampled, and longer than a model's context: said before it reads them."""

from collections.abc import Iterable
from typing import Literal

from transformers import PreTrainedModel

from ruleshift.engines.local import context_limit
from ruleshift.errors import RuleshiftError

Kind = Literal["lessons", "demonstrations", "teaching"]
SHORTER: dict[Kind, str] = {  # what makes conversations of a kind shorter
    "lessons": "take another --style, fewer --turns where the model's own replies are learned from",
    "demonstrations": "leave --sft-coef and --sft-mix out, take another --style",
    "teaching": "take another --privileged-context, fewer --turns, a smaller --max-new-tokens",
}


def outgrown(model: PreTrainedModel, lengths: Iterable[int], kind: Kind) -> str:
    """In words, that a conversation of so many tokens is longer than the model's context, and what to do about it; ""
    where none is."""
    most, limit = max(lengths, default=0), context_limit(model)
    who = "teacher" if kind == "teaching" else "model"
    said = f"a conversation of {most} tokens outgrows the {who}'s context of {limit} tokens"
    return f"{said}: {SHORTER[kind]}, or a {who} with a longer context" if most > limit else ""


def check_context(model: PreTrainedModel, lengths: Iterable[int], kind: Kind) -> None:
    """Raise RuleshiftError for a conversation of so many tokens that is longer than the model's context."""
    if said := outgrown(model, lengths, kind):
        raise RuleshiftError(said)
