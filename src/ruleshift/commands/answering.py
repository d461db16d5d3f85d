"""What to change where memory runs out while a model in this process answers."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ruleshift.backbones.room import Saving, halved, room_for
from ruleshift.commands.policies import REPLY_TOKENS, Drawing, Policy, Thinking

if TYPE_CHECKING:
    from ruleshift.evaluation.asking import Questions

OF_REPLIES = "which cuts longer replies"
OF_THOUGHTS = "which cuts longer thoughts"


@contextmanager
def room_to_answer(
    policy: Policy, drawing: Drawing, thoughts: Thinking, questions: "Questions", elsewhere: bool
) -> Iterator[None]:
    """While `eval` or `compare` ask these questions. elsewhere: there is a record, and that of shorter replies goes
    into another folder."""

    def savings() -> list[Saving]:
        where = ", in another --out" if elsewhere else ""
        of_splits = Counter(place.split for place in questions.places())  # one after the other
        return [
            *halved("batch_size", drawing.batch_size, max(of_splits.values())),
            *shorter_replies(drawing, policy, where),
            *shorter_thoughts(thoughts, where),
        ]

    with room_for("while the model answered", savings):
        yield


def shorter_replies(drawing: Drawing, policy: Policy, where: str = "") -> list[Saving]:
    longest = drawing.max_new_tokens or REPLY_TOKENS[policy.style]
    return halved("max_new_tokens", longest, beside=f"{OF_REPLIES}{where}")


def shorter_thoughts(thoughts: Thinking, where: str = "") -> list[Saving]:
    """Where there are any."""
    if thoughts.thinking == "off":
        return []
    return halved("thinking_tokens", thoughts.thinking_tokens, beside=f"{OF_THOUGHTS}{where}")
