"""Judging kept replies anew: what a changed reader or verifier makes of old answers, without asking anybody."""

from dataclasses import dataclass

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.asking import Episodes, digest
from ruleshift.evaluation.finished import Finished
from ruleshift.evaluation.record import Slot, without_pictures
from ruleshift.records import Episode


@dataclass(frozen=True)
class Rescored:
    """Kept conversations under today's verifier. Counts of conversations: `changed` have another verdict somewhere,
    `shorter` ended earlier now (later replies are left out), `open` would have gone on where they ended (they count as
    they stand), and in `reworded` a reply that counts answered other words than it would be shown now."""

    episodes: Episodes
    replies: int
    verdicts: int
    changed: int
    shorter: int
    open: int
    reworded: int


def rescore(finished: Finished) -> Rescored:
    """Judge all kept replies anew. Raises RuleshiftError where nothing was kept."""
    episodes: dict[Slot, Episode] = {}
    counts = dict.fromkeys(("replies", "verdicts", "changed", "shorter", "open", "reworded"), 0)
    for place in finished.questions.places():
        kept = finished.kept.get(place, [])
        if not kept:
            continue
        conversation, differing, reworded = finished.questions.conversation(place), 0, False
        for answered in kept:
            if conversation.ended:
                break
            reworded |= digest(conversation.request().messages) != answered.asked
            conversation.take(answered.reply)
            differing += without_pictures(conversation.turns[-1].verdict) != answered.verdict
        episodes[place] = conversation.episode()
        counts["replies"] += len(conversation.turns)
        counts["verdicts"] += differing
        counts["changed"] += differing > 0
        counts["shorter"] += len(conversation.turns) < len(kept)
        counts["open"] += not conversation.ended
        counts["reworded"] += reworded
    if not episodes:
        raise RuleshiftError(f"{finished.folder} holds no replies: run its eval first")
    return Rescored(episodes, **counts)
