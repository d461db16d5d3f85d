"""Where the replies of a model begin and end, read off what its chat template prints."""

from collections.abc import Collection
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"))


@dataclass(frozen=True)
class End:
    """How a given reply is closed: `lead`, text that the template prints first, then the token `id`.

    With `opens`, the token is the beginning of the next message (GLM-4's `<|user|>`), and stands there whatever else
    ended the reply.
    """

    lead: str
    id: int
    opens: bool = False


def find_end(tokenizer: PreTrainedTokenizerBase, closing: str, following: str, named: Collection[int]) -> End | None:
    """The end of a reply: the first special token of the template's `closing`; where that has none, the first of what
    leads to the `following` message if it is one of the ends that are `named` (by tokenizer and generation config);
    else a named one that the template does not print. None if there is nothing of all that."""
    special = _special(tokenizer) | set(named)
    if (found := _first(tokenizer, closing, special)) is not None:
        return End(*found)
    if (found := _first(tokenizer, closing + following, special)) is not None and found[1] in named:
        return End(*found, opens=True)
    eos = tokenizer.eos_token_id
    return End("", eos if eos in named else min(named)) if named else None


def _special(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Special tokens, those without a name too, which transformers 5 leaves out of `all_special_ids`."""
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return added | set(tokenizer.all_special_ids)


def _first(tokenizer: PreTrainedTokenizerBase, text: str, special: Collection[int]) -> tuple[str, int] | None:
    """The first of these tokens in a text, after the text before it."""
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        if token in special and (word := str(tokenizer.convert_ids_to_tokens(token))) in text:
            return text.partition(word)[0], token
    return None


def open_thought(header: str) -> tuple[str, str] | None:
    """The marks of a thought that a reply's header opens and does not close, as in DeepSeek-R1's distillations."""
    for mark, unmark in THOUGHTS:
        if header.rfind(mark) > header.rfind(unmark):
            return mark, unmark
    return None


def close_thought(header: str) -> str:
    """What to add to a header so that the reply to come is an answer: an empty thought, as Qwen3 prints it."""
    thought = open_thought(header)
    if thought is None:
        return ""
    return ("" if header.endswith("\n") else "\n") + f"\n{thought[1]}\n\n"
