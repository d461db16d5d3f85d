"""The loop of sequential revision, with engines and verifiers of all kinds."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers import EchoTask, one_thread, tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Reply, Request, Sampling
from ruleshift.engines.text import TextEngine, expert, random_guesser
from ruleshift.records import Completion, Episode, Message, Picture, Verdict
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


def count(request: Request) -> str:
    """Replies with the problem and the number of messages it has seen."""
    return f"{request.id}:{len(request.messages)}"


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


class Once(Countdown):
    """A Countdown whose context can be asked for once."""

    def context(self) -> Sequence[Message]:
        assert not hasattr(self, "told")
        self.told = True
        return super().context()


def test_a_problem_is_asked_for_its_context_once():
    for batch_size in (1, 2, 9):
        revise([Once(f"p{k}", 2) for k in range(5)], TextEngine(count, batch_size), turns=3)


def test_progress_counts_episodes_as_they_end():
    seen: list[int] = []
    revise(countdowns(*[1] * 8), TextEngine(count, batch_size=3), turns=2, progress=seen.append)
    assert seen == [3, 3, 2]


class Recorder:
    """An engine that answers with the problem's id and keeps what its session is asked."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.calls: list[tuple[list[int], list[str], list[str]]] = []
        self.live: list[str] = []

    def open(self, requests):
        self.append((), (), requests)
        return self

    def generate(self):
        return [Reply((1, 2), Completion(name, (3,), (-0.5,))) for name in self.live]

    def append(self, keep, feedback, joining=()):
        names = [request.id for request in joining]
        self.calls.append((list(keep), [message.content for message in feedback], names))
        self.live = [self.live[row] for row in keep] + names


def test_engines_are_asked_to_keep_the_unsolved_only():
    """An engine's session sees positions among the live conversations, with the feedback of each."""
    engine = Recorder(10)
    episodes = revise(countdowns(0, 1, 2, 0, 2), engine, turns=3)
    names = ["p0", "p1", "p2", "p3", "p4"]
    assert engine.calls[0] == ([], [], names)
    assert engine.calls[1:] == [([0, 2, 3, 4], ["feedback 1"] * 4, []), ([0, 2], ["feedback 2"] * 2, [])]
    assert [[turn.completion.text for turn in e.turns] for e in episodes] == [
        ["p0"] * 3,
        ["p1"],
        ["p2"] * 2,
        ["p3"] * 3,
        ["p4"] * 2,
    ]
    assert episodes[1].token_ids == (1, 2, 3)
    assert episodes[2].token_ids == (1, 2, 3, 1, 2, 3)


# ---------------------------------------------------------------- batches that are refilled


def test_waiting_problems_take_the_places_of_ended_ones():
    engine = Recorder(3)
    seen: list[int] = []
    episodes = revise(countdowns(2, 1, 3, 2, 1, 1), engine, turns=4, progress=seen.append)
    assert [len(episode.turns) for episode in episodes] == [2, 1, 3, 2, 1, 1]
    assert [episode.problem_id for episode in episodes] == ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert engine.calls == [
        ([], [], ["p0", "p1", "p2"]),
        ([0, 2], ["feedback 1"] * 2, ["p3"]),
        ([1, 2], ["feedback 2", "feedback 1"], ["p4"]),
        ([], [], ["p5"]),
    ]
    assert seen == [1, 1, 3, 1]


def test_problems_join_when_enough_places_are_free():
    engine = Recorder(16)
    episodes = revise(countdowns(1, *[3] * 14, 2, *[1] * 5), engine, turns=3)
    assert [(len(keep), len(joining)) for keep, _, joining in engine.calls] == [(0, 16), (15, 0), (14, 2), (0, 3)]
    assert len(episodes) == 21


# ---------------------------------------------------------------- problems of several steps


@dataclass
class Walk:
    """Right replies lead from step to step; `script` says of each reply whether it is right."""

    id: str
    steps: int
    script: str
    asked: list[bool] = field(default_factory=list)

    def context(self) -> Sequence[Message]:
        return [Message("user", "walk")]

    def submit(self, reply: str, last: bool) -> Verdict:
        right = self.script[len(self.asked)] == "+"
        self.asked.append(last)
        done = self.script[: len(self.asked)].count("+") == self.steps
        return Verdict("", 1.0 if right else -1.0, done, f"after {len(self.asked)}", advanced=right and not done)


def test_each_step_has_a_budget_of_its_own():
    problem = Walk("w", 3, "--+-+--+")
    episode = revise([problem], TextEngine(count), turns=3)[0]
    assert episode.solved
    assert problem.asked == [False, False, True, False, False, False, False, True]


def test_a_walk_ends_where_a_budget_is_spent():
    problem = Walk("w", 3, "-+--+")
    episode = revise([problem], TextEngine(count), turns=2)[0]
    assert not episode.solved
    assert problem.asked == [False, True, False, True]
    assert episode.total_reward == -2
    assert episode.messages[-1] == Message("user", "after 4")


def test_a_budget_of_one_try_a_step():
    problems = [Walk("right", 3, "+++"), Walk("wrong", 3, "+-")]
    episodes = revise(problems, TextEngine(count), turns=1)
    assert [len(episode.turns) for episode in episodes] == [3, 2]
    assert [problem.asked for problem in problems] == [[True] * 3, [True] * 2]


def test_walks_of_all_lengths_in_batches_of_all_sizes():
    scripts = ["+--", "-+--", "--", "+-++", "+--", "-+-+-+", "+++", "-+--"]
    alone = [revise([Walk("w", 3, script)], TextEngine(count), turns=2)[0] for script in scripts]
    for batch_size in (1, 2, 3, 8):
        episodes = revise([Walk("w", 3, script) for script in scripts], TextEngine(count, batch_size), turns=2)
        assert episodes == alone


# ---------------------------------------------------------------- experts, guessers, models


@pytest.mark.parametrize(
    "task_id", [pytest.param(name, marks=pytest.mark.slow) if name == "virl-vl" else name for name in TASKS]
)
def test_an_expert_never_errs(task_id):
    task = get_task(task_id)
    splits, count = list(task.splits()), 4
    if task.pictures:  # these take their time to draw; test_virl_vl.py and test_gp_vl.py look at all splits
        splits, count = splits[:5], 1
    for split in splits:
        episodes = revise([task.problem(split, 5, index) for index in range(count)], expert(), turns=5)
        assert all(episode.solved for episode in episodes)
        assert all(turn.verdict.advanced for episode in episodes for turn in episode.turns[:-1])


@pytest.mark.parametrize("task_id", TASKS)
def test_a_random_guesser_mostly_fails_and_varies_its_replies(task_id):
    count = 30 if get_task(task_id).pictures else 60

    def guessed(seed: int) -> list[Episode]:
        problems = [get_task(task_id).problem("id", 5, index) for index in range(count)]
        return revise(problems, random_guesser(seed), turns=4)

    episodes = guessed(1)
    assert sum(episode.solved for episode in episodes) < count / 3
    failed = [episode for episode in episodes if not episode.solved]
    for episode in failed:  # four tries at the last step
        assert [turn.verdict.advanced for turn in episode.turns[-4:]] == [False] * 4
        assert len(episode.turns) == 4 or any(turn.verdict.advanced for turn in episode.turns[-8:-4])
    assert sum(len({turn.completion.text for turn in episode.turns}) > 1 for episode in failed) > len(failed) / 2
    assert guessed(1) == episodes
    assert guessed(2) != episodes


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


class Sights:
    """Three steps, each with a picture of its own; every reply is right."""

    def __init__(self, name: str) -> None:
        self.id, self.step = name, 0

    def context(self):
        return [Message("user", "look", (Picture(1, 1, b"000"),))]

    def submit(self, reply, last):
        self.step += 1
        ended = self.step == 3
        shown = () if ended else (Picture(1, 1, str(111 * self.step).encode()),)
        return Verdict("right", 1.0, ended, "on", advanced=not ended, pictures=shown)


def test_only_the_first_episodes_keep_their_pictures_where_asked_and_all_are_shown():
    shown: list[int] = []

    def answer(request):
        shown.append(sum(len(message.pictures) for message in request.messages))
        return "on"

    engine = TextEngine(answer, batch_size=2)
    whole = revise([Sights(f"p{k}") for k in range(4)], engine, turns=1)
    assert [[picture.pixels for picture in e.pictures] for e in whole] == [[b"000", b"111", b"222"]] * 4
    seen, shown = shown, []
    first = revise([Sights(f"p{k}") for k in range(4)], engine, turns=1, pictured=1)
    assert first[0] == whole[0]
    assert shown == seen == [1, 1, 2, 2, 3, 3] * 2  # policies see as much as before
    for episode in first[1:]:
        assert episode.pictures == ()
        assert all(not turn.verdict.pictures for turn in episode.turns)
        assert [message.content for message in episode.messages] == [m.content for m in whole[0].messages]
