"""Episodes that are kept: whole files, what is chosen of an update, an index by problem, and no number that changes."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import synthetic
from helpers import EchoTask, tiny_chat, tiny_model
from ruleshift.engines.protocol import Reply
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Message, Turn, Verdict
from ruleshift.report.arms import ArmNote, Legend
from ruleshift.report.library import grow, library_of
from ruleshift.report.verification import gain_of_verification
from ruleshift.revision import Conversation
from ruleshift.rollouts import (
    ROWS,
    KeptEpisode,
    KeptTurn,
    Pieces,
    bytes_for,
    files_in,
    load,
    point_file,
    rows_with,
    save,
    summaries,
    update_file,
)
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig
from ruleshift.studies.arms import run_arm
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.kept import Size, kept_problems, size_of
from ruleshift.studies.points import PointStore
from ruleshift.studies.study import StartModel
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from ruleshift.training.watch import MOST, RANDOM, Watch, chosen
from study_helpers import plan_of, tiny_start

LEGEND = Legend("base", (ArmNote("base"), ArmNote("rl")))


def kept(number: int, text: str = "a", **known: object) -> KeptEpisode:
    turn = KeptTurn(text, ("a", "b"), (1, 2), (-0.5, -1.5), (-1.0, -2.0), reward=1.5, right=number % 2 == 0, **known)
    messages = (("user", f"problem {number}", ()), ("assistant", text, ()))
    return KeptEpisode(f"t/id/1/{number}", "id", "sampled", messages, (turn,), solved=turn.right)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = point_file(tmp_path, 6)
    episodes = [replace(kept(i), messages=(("user", "x", (b"png",)),)) for i in range(2 * ROWS + 3)]
    episodes.append(kept(9, "<b>", value=0.25, advantage=-1.0, after=(-0.25, -2.0), words="trained", stop="length"))
    save(file, episodes)
    for row in (0, ROWS, len(episodes) - 1):
        assert load(file, row) == episodes[row]
    told = summaries(file).to_pylist()[-1]
    assert (told["solved_at"], told["reward"], told["tokens"], told["cut"]) == (0, 1.5, [2], True)
    assert (told["logprob"], told["change"], told["trained_words"]) == (-1.0, 0.5, True)
    assert rows_with(file, "<B>") == {len(episodes) - 1}
    with pytest.raises(RuleshiftError, match="the page does without it"):
        load(file, len(episodes))


def test_lone_surrogates_do_not_stop_a_run(tmp_path: Path) -> None:
    save(point_file(tmp_path, 1), [kept(1, "lone \ud800")])
    assert load(point_file(tmp_path, 1), 0).turns[0].text == "lone ?"


def test_a_damaged_file_is_refused_and_the_library_does_without_it(tmp_path: Path) -> None:
    run = tmp_path / "arms" / "rl-seed0"
    save(point_file(run, 1), [kept(1)])
    save(update_file(run, 2), [kept(2)])
    file = point_file(run, 1)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RuleshiftError, match="delete that file"):
        summaries(file)
    assert rows_with(file, "a") == set()
    library = library_of(tmp_path, LEGEND)
    assert [(entry.kind, entry.step) for entry in library.entries] == [("update", 2)]


def test_one_problem_is_found_over_arms_and_steps_and_numbers_stay(tmp_path: Path) -> None:
    for name, step in (("rl-seed0", 5), ("base-seed0", 0)):
        save(point_file(tmp_path / "arms" / name, step), [kept(i) for i in range(3)])
    library = library_of(tmp_path, LEGEND)
    found = [(e.arm, e.step, e.told["problem"]) for e in library.entries if e.told["problem"].endswith("/1")]
    assert found == [("base", 0, "t/id/1/1"), ("rl", 5, "t/id/1/1")]
    before = [library.episode(i) for i in range(len(library))]
    save(point_file(tmp_path / "arms" / "base-seed0", 0).with_name("update-000001.parquet"), [kept(7)])
    grow(library, tmp_path, LEGEND)
    assert [library.episode(i) for i in range(6)] == before
    assert library.episode(6).problem == "t/id/1/7"
    assert library.search("PROBLEM 7") == [6]
    index = library.index()
    assert index["names"]["arm"] == ["base", "rl"]
    assert index["columns"]["arm"] == [0, 0, 0, 1, 1, 1, 0]


def test_a_page_takes_whole_problems(tmp_path: Path) -> None:
    for name in ("base-seed0", "rl-seed0"):
        save(point_file(tmp_path / "arms" / name, 0), [kept(i) for i in range(5)])
    part, chunks = library_of(tmp_path, LEGEND).part(4).chunks()
    assert [(e.arm, e.told["problem"]) for e in part.entries] == [
        (arm, f"t/id/1/{i}") for i in range(2) for arm in ("base", "rl")
    ]
    assert len(chunks) == 1
    assert len(library_of(tmp_path, LEGEND).chunks(most=10)[0]) == 0


def test_pieces_are_what_tokens_add() -> None:
    words = {1: "a", 2: " b", 3: "c"}
    pieces = Pieces(lambda ids: "".join(words[i] for i in ids))
    assert pieces.of((1, 2, 3, 1)) == ("a", " b", "c", "a")
    assert pieces.of(()) == ()


def test_an_update_keeps_the_longest_the_shortest_and_drawn_ones_with_their_groups() -> None:
    base = synthetic.episodes()["rl"][0]

    def said(problem: int, tokens: int) -> object:
        turn = Turn((1,), Completion("x", tuple(range(tokens)), (0.0,) * tokens), base.turns[0].verdict)
        return replace(base, problem_id=f"p/{problem}", turns=(turn,))

    episodes = [said(i // 2, 3 + i) for i in range(40)]
    rows = chosen(episodes, 3)  # type: ignore[arg-type]
    assert rows == chosen(episodes, 3)  # type: ignore[arg-type]
    assert rows != chosen(episodes, 4)  # type: ignore[arg-type]
    assert (rows[0], rows[1], rows[39], rows[38]) == ("shortest", "shortest", "longest", "longest")
    assert len({i // 2 for i in rows}) <= RANDOM + 2
    assert all((i ^ 1) in rows for i in rows)
    assert len(chosen([said(0, 3)] * (MOST + 5), 1)) == MOST  # type: ignore[list-item]
    assert chosen([], 1) == {}


def test_the_size_is_known_before(tmp_path: Path) -> None:
    plan = plan_of(HEADLINE, "bundled", options=Rates("none", "none"))
    assert size_of([plan], "none") == Size(0, 0)
    assert size_of([plan], "some").episodes <= size_of([plan], "all").episodes
    assert "MB at most" in str(size_of([plan], "all"))
    assert [kept_problems(keep, 400) for keep in ("all", "some", "none")] == [400, 20, 0]  # type: ignore[arg-type]
    save(point_file(tmp_path, 1), [kept(i) for i in range(200)])
    assert point_file(tmp_path, 1).stat().st_size <= bytes_for(200, 1, 2)


def test_results_are_the_same_with_and_without(tmp_path: Path) -> None:
    plan = plan_of(HEADLINE, tiny_start(tmp_path), options=Rates("none", "none"))
    run = next(run for run in plan.runs() if run.name == "rl")
    assert run.training
    run = replace(run, training=replace(run.training, entropy_coef=0.1))  # where all earn the same, this still learns
    said = {}
    for keep in ("none", "all"):
        root = tmp_path / keep
        run_arm(run, StartModel(plan.model, style="terse"), plan.measurement, root, lambda done: None, keep=keep)
        store = PointStore(root, run, plan.measurement)
        points = [(store.folder / "points" / f"{step:06d}.json").read_bytes() for step in run.points]
        said[keep] = points, RunFolder(store.folder).read_metrics()
        kinds = [(kind, step) for kind, step, _ in files_in(store.folder)]
        wanted = [("point", step) for step in run.points] + [("update", step) for step in range(1, run.length + 1)]
        assert kinds == (wanted if keep == "all" else [])
    assert said["none"] == said["all"]
    last = load(update_file(tmp_path / "all" / run.folder, run.length), 0)
    for turn in last.turns:
        assert len(turn.ids) == len(turn.pieces) == len(turn.logprobs) == len(turn.start) == len(turn.after)
        assert len(turn.entropy) == len(turn.ids)
        assert turn.value is not None
        assert turn.advantage is not None
    assert any(turn.after != turn.start for turn in last.turns)
    whole = load(point_file(tmp_path / "all" / run.folder, run.points[-1]), 0)
    assert all(len(turn.start) == len(turn.ids) for turn in whole.turns)


@dataclass
class Walk:
    """Three steps, at each of which every reply is right."""

    id: str
    step: int = 0

    def context(self) -> tuple[Message, ...]:
        return (Message("user", "K"),)

    def submit(self, reply: str, last: bool) -> Verdict:
        self.step += 1
        return Verdict("right", 1.0, self.step == 3, "on", advanced=self.step < 3)


class WalkTask(EchoTask):
    """A task of `Walk` problems."""

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Walk:
        return Walk(f"walk/{split}/{seed}/{index}")


def test_an_episode_that_an_update_cuts_is_kept_as_unsolved(tmp_path: Path) -> None:
    model, chat = tiny_model(layers=1), tiny_chat()
    config = RLConfig(episodes=2, turns=1, max_new_tokens=3, minibatches=1, buffer=5)
    rollout = Rollout(WalkTask(), "terse", config, local_engine(model, chat, config))
    RL(model, chat, rollout, Watch(tmp_path)).update()
    told = summaries(update_file(tmp_path, 1)).to_pylist()
    assert [(len(line["tokens"]), line["solved_at"]) for line in told] == [(3, 3), (2, 0)]
    assert [len(load(update_file(tmp_path, 1), row).messages) for row in (0, 1)] == [7, 5]


def test_a_walk_that_goes_on_past_a_mistake_is_kept_as_unsolved(tmp_path: Path) -> None:
    for mistakes in (0, 1):
        walk = Conversation(replace(get_task("virl-l"), go_on=True).problem("id", 0, 0), 1)
        while not walk.ended:
            text = "x" if len(walk.turns) < mistakes else walk.problem.gold()
            walk.take(Reply((), Completion(text)))
        assert walk.turns[-1].verdict.right
        save(point_file(tmp_path, 1), [KeptEpisode.of(walk.episode(), "id", "sampled")])
        (told,) = summaries(point_file(tmp_path, 1)).to_pylist()
        assert told["solved_at"] == (0 if mistakes else len(walk.turns))


def test_what_verification_gains_is_read_from_kept_episodes(tmp_path: Path) -> None:
    turn = kept(0).turns[0]
    late = replace(kept(0), turns=(replace(turn, right=False), turn))
    never = replace(kept(1), turns=(replace(turn, right=False),) * 3)
    save(point_file(tmp_path / "arms" / "rl-seed0", 4), [kept(0), late, late, never])
    figure = gain_of_verification(library_of(tmp_path, LEGEND), LEGEND, "id")
    assert figure is not None
    (line,) = figure.data
    assert list(line.y) == [25, 75, 75]
    assert list(line.x) == [2, 3.5, 4]
    assert gain_of_verification(library_of(tmp_path, LEGEND), LEGEND, "fake") is None
