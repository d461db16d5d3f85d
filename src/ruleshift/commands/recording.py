"""The folder of an evaluation: what was asked (config.json), and the record of what was answered."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ruleshift.commands.serving import serving_of
from ruleshift.evaluation.record import ANSWERS

if TYPE_CHECKING:
    from ruleshift.backbones.config import ModelOptions
    from ruleshift.commands.policies import Drawing, Policy, Thinking
    from ruleshift.commands.serving import Serving
    from ruleshift.evaluation.asking import Questions
    from ruleshift.evaluation.record import Record


class Speaking(Protocol):
    """The options of a command on how models are loaded and spoken to, and replies drawn."""

    @property
    def drawing(self) -> "Drawing": ...

    @property
    def loading(self) -> "ModelOptions": ...

    @property
    def thoughts(self) -> "Thinking": ...

    @property
    def serving(self) -> "Serving": ...


def all_asked(command: Speaking, questions: "Questions", model: str, policy: "Policy") -> dict[str, Any]:
    """All that replies depend on: an evaluation goes on only where nothing of it changed."""
    drawing = command.drawing
    return {
        "verb": "eval",
        **questions.asked(),
        "model": model,
        "fingerprint": policy.fingerprint(),
        "decoding": drawing.decoding,
        "temperature": drawing.temperature if drawing.decoding == "sampled" else 0.0,
        "max_new_tokens": drawing.max_new_tokens,
        "loading": asdict(command.loading),
        "thinking": asdict(command.thoughts),
        "server": None if policy.remote is None else serving_of(model, command.serving).asked(),
    }


def what_remains(out: Path) -> str:
    """What a stopped evaluation, or a comparison, leaves behind."""
    kept = [file for pattern in (ANSWERS, f"*/*/{ANSWERS}") for file in out.glob(pattern) if file.stat().st_size]
    if not kept:
        return "nothing was answered yet; run the same command again"
    return f"{out} keeps every reply so far; run the same command again, which goes on from there"


@contextmanager
def recorded(out: Path | None, asked: Mapping[str, Any], policy: "Policy") -> "Iterator[Record | None]":
    """The record in a folder, whose replies count for the budget, and so do requests that failed; None without a
    folder. Raises RuleshiftError where the folder holds the record of anything else."""
    if out is None:
        yield None
        return
    from ruleshift.evaluation.ledger import open_ledger
    from ruleshift.evaluation.record import open_record
    from ruleshift.runs import RunFolder

    with RunFolder.open(out, asked), open_record(out) as record, ExitStack() as stack:
        if policy.remote is not None:
            replies = (answered.reply.completion.served for kept in record.kept.values() for answered in kept)
            ledger = stack.enter_context(open_ledger(out))
            policy.remote.go_on(filter(None, replies), ledger)
        yield record
