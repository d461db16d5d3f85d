"""Problems that are asked for one reply, where something is decided."""

from ruleshift import Message, TextEngine, revise
from ruleshift.evaluation.once import Once, at_decision
from ruleshift.records import Episode
from ruleshift.tasks import get_task

WALKS = get_task("virl-l")


def asked(split: str = "id", n: int = 40) -> list[Once]:
    return [at_decision(WALKS, split, 0, index, "terse") for index in range(n)]


def expert_walk(split: str, index: int) -> Episode:
    problem = WALKS.problem(split, 0, index, "terse")
    return revise([problem], TextEngine(lambda request: problem.gold()), 1)[0]


def test_walks_are_asked_at_every_kind_of_place_where_something_is_decided() -> None:
    kinds: set[str] = set()
    for index, once in enumerate(asked()):
        whole = expert_walk("id", index)
        verdict = whole.turns[once.step].verdict
        assert verdict.decides
        assert once.context() == whole.messages[: 1 + 2 * once.step]  # as it was said on the way there
        assert once.problem.gold() == whole.turns[once.step].completion.text
        kinds.add("start" if once.step == 0 else "end" if verdict.ended else "turn")
    assert kinds == {"start", "turn", "end"}
    assert [one.step for one in asked()] == [one.step for one in asked()]
    shifted = [
        expert_walk("rule-ood", index).turns[one.step].verdict for index, one in enumerate(asked("rule-ood", 10))
    ]
    assert all(verdict.words == "stated" for verdict in shifted)  # turns alone: other words are those of training


def test_they_end_with_one_reply_and_can_be_asked_again() -> None:
    once = next(one for one in asked() if one.step)
    right = once.problem.gold()
    for reply, is_right in (("nothing", False), (right, True), (right, True), ("stop()", False)):
        (episode,) = revise([once], TextEngine(lambda request, reply=reply: reply), 1)
        assert len(episode.turns) == 1
        assert episode.turns[0].verdict.right == is_right
        assert episode.messages[:-2] == once.said


def test_problems_of_one_step_are_as_they_are() -> None:
    cards = get_task("gp-l")
    once = at_decision(cards, "id", 0, 3, "terse")
    assert (once.id, once.step) == ("gp-l/id/0/3", 0)
    assert list(once.context()) == [*cards.problem("id", 0, 3, "terse").context()]
    assert isinstance(once.context()[0], Message)
