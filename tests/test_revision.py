"""The loop of sequential revision, with engines and verifiers of all kinds."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers import EchoTask, one_thread, tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Reply, Sampling
from ruleshift.engines.text import TextEngine, expert, random_guesser
from ruleshift.records import Completion, Message, Verdict
from ruleshift.revision import revise
from ruleshift.tasks import TASKS, get_task

EXAMPLE = Path(__file__).parent / "readme_example.py"
README = Path(__file__).parent.parent / "README.md"


@dataclass
class Countdown:
    """Solved by the reply at turn `needs` (0: never). Keeps what it was asked."""

    id: str
    needs: int
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def context(self) -> Sequence[Message]:
        return [Message("system", "count"), Message("user", f"problem {self.id}")]

    def submit(self, reply: str, last: bool) -> Verdict:
        self.asked.append((reply, last))
        solved = len(self.asked) == self.needs
        return Verdict("done" if solved else "more", 1.0 if solved else -0.5, solved, f"feedback {len(self.asked)}")


def count(problem, messages: Sequence[Message]) -> str:
    """Replies with the problem and the number of messages it has seen."""
    return f"{problem.id}:{len(messages)}"


def countdowns(*needs: int) -> list[Countdown]:
    return [Countdown(f"p{i}", turns) for i, turns in enumerate(needs)]


# ---------------------------------------------------------------- the loop


def test_episodes_come_in_the_order_of_the_problems():
    for batch_size in (1, 2, 3, 7, 50):
        problems = countdowns(3, 1, 0, 2, 1, 4, 0)
        episodes = revise(problems, TextEngine(count, batch_size), turns=4)
        assert [episode.problem_id for episode in episodes] == [problem.id for problem in problems]
        assert [len(episode.turns) for episode in episodes] == [3, 1, 4, 2, 1, 4, 4]
        assert [episode.solved for episode in episodes] == [True, True, False, True, True, True, False]


def test_an_episode_holds_the_whole_conversation():
    episode = revise(countdowns(2), TextEngine(count), turns=5)[0]
    assert [(message.role, message.content) for message in episode.messages] == [
        ("system", "count"),
        ("user", "problem p0"),
        ("assistant", "p0:2"),
        ("user", "feedback 1"),
        ("assistant", "p0:4"),
        ("user", "feedback 2"),
    ]
    assert [turn.completion.text for turn in episode.turns] == ["p0:2", "p0:4"]
    assert [turn.verdict.outcome for turn in episode.turns] == ["more", "done"]
    assert episode.total_reward == 0.5
    assert [episode.solved_within(turns) for turns in (1, 2, 3)] == [False, True, True]


def test_a_solved_problem_is_asked_no_more():
    problems = countdowns(2, 0)
    revise(problems, TextEngine(count), turns=4)
    assert [reply for reply, _ in problems[0].asked] == ["p0:2", "p0:4"]
    assert [reply for reply, _ in problems[1].asked] == ["p1:2", "p1:4", "p1:6", "p1:8"]


def test_verifiers_learn_which_reply_is_the_last():
    problems = countdowns(2, 0)
    revise(problems, TextEngine(count), turns=3)
    assert [last for _, last in problems[0].asked] == [False, False]
    assert [last for _, last in problems[1].asked] == [False, False, True]


@pytest.mark.parametrize("turns", [0, -1])
def test_a_budget_below_one_turn_is_refused(turns):
    problems = countdowns(1)
    with pytest.raises(ValueError, match="at least one turn"):
        revise(problems, TextEngine(count), turns=turns)
    assert not problems[0].asked


def test_one_turn_has_no_feedback_round():
    episodes = revise(countdowns(0, 1), TextEngine(count), turns=1)
    assert [len(episode.turns) for episode in episodes] == [1, 1]
    assert [episode.solved for episode in episodes] == [False, True]


def test_no_problems_no_episodes():
    assert revise([], TextEngine(count), turns=3) == []


def test_progress_counts_episodes_as_batches_finish():
    seen: list[int] = []
    revise(countdowns(*[1] * 8), TextEngine(count, batch_size=3), turns=2, progress=seen.append)
    assert seen == [3, 3, 2]


def test_engines_are_asked_to_keep_the_unsolved_only():
    """An engine's session sees positions among the live conversations, with the feedback of each."""
    calls: list[tuple[list[int], list[str]]] = []

    class Session:
        def __init__(self, problems):
            self.live = [problem.id for problem in problems]

        def generate(self):
            return [Reply((1, 2), Completion(name, (3,), (-0.5,))) for name in self.live]

        def append(self, keep, feedback):
            calls.append((list(keep), list(feedback)))
            self.live = [self.live[row] for row in keep]

    class Engine:
        batch_size = 10

        def open(self, problems):
            return Session(problems)

    episodes = revise(countdowns(0, 1, 2, 0, 2), Engine(), turns=3)
    assert calls == [([0, 2, 3, 4], ["feedback 1"] * 4), ([0, 2], ["feedback 2"] * 2)]
    assert [[turn.completion.text for turn in e.turns] for e in episodes] == [
        ["p0"] * 3,
        ["p1"],
        ["p2"] * 2,
        ["p3"] * 3,
        ["p4"] * 2,
    ]
    assert episodes[1].token_ids == (1, 2, 3)
    assert episodes[2].token_ids == (1, 2, 3, 1, 2, 3)


# ---------------------------------------------------------------- experts, guessers, models


@pytest.mark.parametrize("task_id", TASKS)
def test_an_expert_solves_everything_in_one_turn(task_id):
    task = get_task(task_id)
    for split in task.splits():
        episodes = revise([task.problem(split, 5, index) for index in range(4)], expert(), turns=5)
        assert all(episode.solved and len(episode.turns) == 1 for episode in episodes)


@pytest.mark.parametrize("task_id", TASKS)
def test_a_random_guesser_mostly_fails_and_varies_its_replies(task_id):
    problems = [get_task(task_id).problem("id", 5, index) for index in range(60)]
    episodes = revise(problems, random_guesser(seed=1), turns=4)
    assert sum(episode.solved for episode in episodes) < 20
    failed = [episode for episode in episodes if not episode.solved]
    assert {len(episode.turns) for episode in failed} == {4}
    assert all(len({turn.completion.text for turn in episode.turns}) > 1 for episode in failed)
    again = revise(problems, random_guesser(seed=1), turns=4)
    assert again == episodes
    assert revise(problems, random_guesser(seed=2), turns=4) != episodes


def test_ten_turns_of_a_model():
    problems = [EchoTask().problem("train", 0, index) for index in range(6)]
    engine = LocalEngine(tiny_model(), tiny_chat(), Sampling(max_new_tokens=4), batch_size=4)
    with one_thread():
        episodes = revise(problems, engine, turns=10)
    unsolved = [episode for episode in episodes if not episode.solved]
    assert unsolved
    assert all(len(episode.turns) == 10 for episode in unsolved)
    for episode in episodes:
        feedback = [message.content for message in episode.messages if message.role == "user"][1:]
        assert feedback == [turn.verdict.feedback for turn in episode.turns]
        assert all(turn.verdict.solved is False for turn in episode.turns[:-1])
        assert all(turn.appended_ids for turn in episode.turns)


# ---------------------------------------------------------------- the README


def test_the_example_of_the_readme_runs(capsys):
    episodes = runpy.run_path(str(EXAMPLE))["episodes"]
    assert capsys.readouterr().out == "True after 2 turns\n"
    assert [turn.completion.text for turn in episodes[0].turns] == ["41", "42"]
    assert episodes[0].messages[2] == Message("user", "Wrong, try again.")


def test_the_readme_shows_the_example_that_is_tested():
    code = EXAMPLE.read_text().split('"""\n\n', 1)[1]
    assert f"```python\n{code}```" in README.read_text()
