"""Evaluations that resume, are judged anew, profiled and compared, with models in this process."""

import itertools
import json
import math
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from cli_helpers import refusal, save_tiny_model
from helpers import tiny_chat, tiny_model
from ruleshift.backbones.config import BUNDLED
from ruleshift.backbones.fingerprint import fingerprint
from ruleshift.cli import main
from ruleshift.commands.recording import what_remains
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Insider, Reply, Request, Sampling
from ruleshift.engines.text import expert
from ruleshift.evaluation.asking import Questions, ask
from ruleshift.evaluation.card import Subject, task_card, unpaired
from ruleshift.evaluation.finished import load_finished
from ruleshift.evaluation.profile import calibration, pass_at_k, problem_profiles, rows_of_samples
from ruleshift.evaluation.record import Answered, Slot, from_line, open_record, to_line
from ruleshift.evaluation.rescoring import rescore
from ruleshift.evaluation.revising import Price, gain_of, gains, pays_until
from ruleshift.evaluation.statistics import Difference, share_interval, wilson_interval
from ruleshift.evaluation.suites import SUITES
from ruleshift.records import Completion, Episode, Served, Verdict
from ruleshift.report.card import section
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.solver import solve

GP = get_task("gp-l")
QUESTIONS = Questions(GP, ("id", "rule-ood"), 6, 3, "terse", 5, 2)


@dataclass
class Stop:
    """Stops the evaluation after some verdicts."""

    verdicts: int
    heard: int = 0
    begun: int = -1

    def start_at(self, done: int) -> None:
        self.begun = done

    def __call__(self, ended: int) -> None:
        self.heard += 1
        if self.heard == self.verdicts:
            raise KeyboardInterrupt


def engine(batch_size: int = 4) -> LocalEngine:
    return LocalEngine(tiny_model(spread=0.3), tiny_chat(), Sampling(1.0, 8, 3), batch_size)


@pytest.mark.slow
def test_a_local_model_goes_on_in_the_middle_of_conversations(tmp_path: Path) -> None:
    """Whatever the verdict after which it stops: the same ids, the same log-probs (but for rounding), all verdicts."""
    whole = ask(QUESTIONS, engine())
    count = sum(len(episode.turns) for episode in whole.values())
    for after in (1, 5, 17, count - 1):
        folder = tmp_path / str(after)
        folder.mkdir()
        with open_record(folder) as record, pytest.raises(KeyboardInterrupt):
            ask(QUESTIONS, engine(), record, Stop(after))
        with open_record(folder) as record:
            assert sum(map(len, record.kept.values())) == after
            follower = Stop(0)
            found = ask(QUESTIONS, engine(), record, follower)
            assert follower.heard == count - after
        assert list(found) == list(whole)
        for place, episode in found.items():
            expected = whole[place]
            assert episode.messages == expected.messages
            assert [t.verdict for t in episode.turns] == [t.verdict for t in expected.turns]
            assert [t.appended_ids for t in episode.turns] == [t.appended_ids for t in expected.turns]
            for mine, theirs in zip(episode.turns, expected.turns, strict=True):
                assert mine.completion.token_ids == theirs.completion.token_ids
                assert mine.completion.logprobs == pytest.approx(theirs.completion.logprobs, abs=1e-4)


def test_a_local_evaluation_resumes_and_refuses_other_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path / "model")
    command = [
        "eval",
        "gp-l",
        "--model",
        str(model),
        "--n",
        "6",
        "--max-new-tokens",
        "6",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(command) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    file = tmp_path / "run" / "answers.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert main(command) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == results
    assert sorted(map(_words, file.read_bytes().splitlines())) == sorted(map(_words, whole.splitlines()))
    other = tiny_model(seed=1, layers=1)
    other.config.ruleshift_style = "terse"
    other.save_pretrained(model)
    assert "fingerprint" in refusal(capsys, *command)


@pytest.mark.slow
def test_a_local_evaluation_that_is_killed_comes_to_the_same_numbers(tmp_path: Path) -> None:
    """SIGKILL, as soon as there are so many verdicts, twice."""
    model = save_tiny_model(tmp_path / "model")
    asked = ["eval", "gp-l", "--model", str(model), "--n", "24", "--batch-size", "3", "--max-new-tokens", "24"]
    asked += ["--decoding", "sampled"]
    assert main([*asked, "--out", str(tmp_path / "whole")]) == 0
    whole = [_words(line) for line in (tmp_path / "whole" / "answers.jsonl").read_bytes().splitlines()]
    file, kills = tmp_path / "run" / "answers.jsonl", 0
    for least in (1, len(whole) // 2):
        arguments = [sys.executable, "-m", "ruleshift", *asked, "--out", str(tmp_path / "run")]
        process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (file.exists() and file.read_bytes().count(b"\n") >= least):
            time.sleep(0.01)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        before = file.read_bytes().split(b"\n")[:-1]
        assert least <= len(before) < len(whole)
    assert kills == 2
    assert main([*asked, "--out", str(tmp_path / "run")]) == 0
    assert file.read_bytes().startswith(b"\n".join(before))
    assert sorted(map(_words, file.read_bytes().splitlines())) == sorted(whole)
    rows = [json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("run", "whole")]
    assert rows[0] == rows[1]


def test_what_a_stop_leaves_is_said_as_it_is(tmp_path: Path) -> None:
    assert what_remains(tmp_path / "none").startswith("nothing was answered yet")
    with open_record(tmp_path) as record:
        assert what_remains(tmp_path).startswith("nothing was answered yet")
        ask(replace(QUESTIONS, samples=1), expert(), record)
        assert "keeps every reply" in what_remains(tmp_path)


def _words(line: bytes) -> str:
    row = json.loads(line)
    return json.dumps([row[name] for name in ("index", "turn", "asked", "text", "token_ids", "verdict")])


def test_the_fingerprint_is_that_of_the_weights() -> None:
    assert fingerprint(tiny_model()) == fingerprint(tiny_model()) != fingerprint(tiny_model(seed=1))
    assert fingerprint(tiny_model()) != fingerprint(tiny_model().bfloat16())


def test_a_line_says_all_and_nothing_else_is_read() -> None:
    served = Served("m", "f", "hm", 3, 2, 1, 0.5, 2)
    completion = Completion("\ud800 \u2028\n", (1, 2), (-0.5, -1.0), "length", served)
    verdict = Verdict("x", -1.0, False, "no\n", found=None, read_right=None)
    answered = Answered(Slot("id", 3, 1), 2, "ab", Reply((5,), completion), verdict, 0.25)
    line = to_line(answered)
    assert line.count(b"\n") == 1
    assert from_line(line) == answered
    row = json.loads(line)
    for name, value in (
        ("turn", "2"),
        ("index", None),
        ("text", 3),
        ("token_ids", ["a"]),
        ("verdict", {}),
        ("served", {}),
    ):
        with pytest.raises((TypeError, ValueError, LookupError)):
            from_line(json.dumps({**row, name: value}).encode())
    with pytest.raises((TypeError, ValueError, LookupError)):
        from_line(json.dumps({**row, "verdict": {**row["verdict"], "solved": "yes"}}).encode())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of the bundled model."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    assert main(sampled(folder)) == 0
    return folder


def sampled(folder: Path) -> list[str]:
    splits = ["--split", "id", "--split", "rule-ood", "--split", "fake", "--n", "12"]
    drawn = ["--turns", "3", "--samples", "2", "--decoding", "sampled"]
    return ["eval", "gp-l", *splits, *drawn, "--out", str(folder)]


def test_samples_give_rates_passes_and_distinct_answers(kept: Path) -> None:
    finished = load_finished(kept)
    episodes = finished.episodes()
    rows = {
        (row.split, row.metric, row.turns): row
        for row in rows_of_samples(finished.questions, episodes, "sampled", (1, 3))
    }
    for split in ("id", "rule-ood"):
        mine = {place: e for place, e in episodes.items() if place.split == split}
        assert len(mine) == 24
        assert rows[split, "success", 3].value == pytest.approx(sum(e.solved for e in mine.values()) / 24)
        either = [mine[Slot(split, i, 0)].solved or mine[Slot(split, i, 1)].solved for i in range(12)]
        assert rows[split, "pass@2", 3].value == pytest.approx(sum(either) / 12)
        assert rows[split, "pass@2", 3].n == 12
    profiles = problem_profiles(finished.questions, episodes)
    assert [p.split for p in profiles] == ["id"] * 12 + ["rule-ood"] * 12 + ["fake"] * 12
    assert [p.solved for p in profiles[:12]] == sorted((p.solved for p in profiles[:12]), reverse=True)
    for metric, right in (("distinct_right", True), ("distinct_wrong", False)):
        firsts = [(p.index, e.turns[0]) for p, e in episodes.items() if p.split == "id"]
        told = {(index, turn.completion.text) for index, turn in firsts if turn.verdict.right == right}
        assert rows["id", metric, 1].value == pytest.approx(len(told) / 12)


def test_what_single_samples_show_is_pooled_over_all() -> None:
    """Two of eight replies show their work, both of one sample, and one of them soundly."""
    questions = Questions(GP, ("id",), 4, 1, "stepwise", 5, 2)
    episodes = ask(questions, expert())

    def showing(place: Slot, episode: Episode, sample: int) -> Episode:
        work = ("sound", "false")[place.index] if place.sample == sample and place.index < 2 else None
        turn = episode.turns[0]
        return replace(episode, turns=(replace(turn, verdict=replace(turn.verdict, work=work)),))

    for sample in (0, 1):
        told = {place: showing(place, episode, sample) for place, episode in episodes.items()}
        rows = {row.metric: row for row in rows_of_samples(questions, told, "sampled", (1,))}
        assert rows["sound_work"].value == 0.5
        assert rows["validity"].value == rows["pass@2"].value == 1


def test_pass_at_k_is_the_share_of_subsets() -> None:
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_at_k(5, 2, 2) != pytest.approx(1 - (1 - 2 / 5) ** 2)  # the control: the biased estimate
    for n, c, k in ((3, 4, 1), (3, 1, 0), (3, 1, 4), (3, -1, 1)):
        with pytest.raises(ValueError, match="pass@k"):
            pass_at_k(n, c, k)


def test_profile_says_what_is_hard(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(kept)]) == 0
    said = capsys.readouterr().out
    assert "id: 12 problems" in said
    assert "calibration of 24 first replies" in said
    lines = [json.loads(line) for line in (kept / "problems.jsonl").read_text().splitlines()]
    assert len(lines) == 36


def test_calibration_of_one_who_knows_and_one_who_does_not() -> None:
    rng = random.Random(0)
    sure = [rng.random() for _ in range(4000)]
    honest = calibration(sure, [rng.random() < c for c in sure])
    assert honest.error < 0.04
    assert honest.brier == pytest.approx(1 / 6, abs=0.02)  # the mean of c (1 - c)
    boast = calibration([0.9] * 100, [i % 2 == 0 for i in range(100)])
    assert boast.brier == pytest.approx(0.41)
    assert boast.error == pytest.approx(0.4)
    with pytest.raises(ValueError, match="confidence"):
        calibration([], [])


def test_an_unchanged_verifier_changes_nothing_and_a_changed_one_shows(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (kept / "answers.jsonl").read_bytes()
    assert main(["rescore", str(kept)]) == 0
    assert re.search(r"\b0 of \d+ verdicts differ", capsys.readouterr().out)
    rows = json.loads((kept / "rescored.json").read_text())["rows"]
    before_it = json.loads((kept / "results.json").read_text())["rows"]
    assert rows == [row for row in before_it if row["arm"] == "base"]

    problem = type(GP.problem("id", 0, 0))
    judged = problem.submit
    monkeypatch.setattr(problem, "submit", lambda self, reply, last: replace(judged(self, reply, last), solved=False))
    found = rescore(load_finished(kept))
    solved = [episode for episode in load_finished(kept).episodes().values() if episode.solved]
    assert found.changed == found.verdicts == len(solved)
    assert found.open == sum(len(episode.turns) < 3 for episode in solved)
    assert not any(episode.solved for episode in found.episodes.values())
    assert "judges otherwise" in refusal(capsys, *sampled(kept))
    monkeypatch.setattr(problem, "submit", lambda self, reply, last: replace(judged(self, reply, last), solved=True))
    found = rescore(load_finished(kept))
    assert found.shorter > 0
    assert all(len(episode.turns) == 1 for episode in found.episodes.values())
    assert (kept / "answers.jsonl").read_bytes() == before


def test_a_folder_without_evaluation_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no evaluation" in refusal(capsys, "rescore", tmp_path)
    assert "no evaluation" in refusal(capsys, "profile", tmp_path / "nothing")
    (tmp_path / "base.json").touch()
    for verb in ("rescore", "profile"):
        said = refusal(capsys, verb, tmp_path / "base.json")
        assert "base.json is a file: name the folder of an evaluation, which `ruleshift eval --out` wrote" in said


def test_an_evaluation_foretells_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "gp-l", "--model", "random", "--split", "id", "--n", "1", "--out", str(tmp_path)]
    assert main(command) == 0
    said = refusal(capsys, "foretell", tmp_path)
    assert f"there is no training with an early step in {tmp_path}: name the folders of studies" in said


def test_a_damaged_record_is_sent_to_who_asks_for_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "gp-l", "--model", "random", "--split", "id", "--n", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "answers.jsonl").write_text("".join(["{}\n", *lines[1:]]))
    for given in (
        ["rescore", tmp_path],
        ["profile", tmp_path],
        ["compare", tmp_path, "expert", "--out", tmp_path / "x"],
    ):
        assert "answers.jsonl is damaged: delete that line and run its eval again, which" in refusal(capsys, *given)
    assert "delete that line and run the same command again, which asks" in refusal(capsys, *command)
    (tmp_path / "answers.jsonl").write_text("".join(lines[1:]))
    assert main(command) == 0
    assert main(["rescore", str(tmp_path)]) == 0


def turns_of(solved_at: Sequence[int], budget: int = 3) -> tuple[dict, dict]:
    """A record of conversations that are solved at some turn (0: never), and the outcomes of each budget."""
    record = {}
    for index, at in enumerate(solved_at):
        count = at or budget
        verdicts = [Verdict("", 0.0, turn == at, "") for turn in range(1, count + 1)]
        served = Served("m", prompt_tokens=100, reply_tokens=10)
        record[Slot("id", index)] = [
            Answered(Slot("id", index), turn, "", Reply((), Completion("x", served=served)), verdict, 2.0)
            for turn, verdict in enumerate(verdicts, 1)
        ]
    return record, {t: [float(0 < at <= t) for at in solved_at] for t in range(1, budget + 1)}


def test_turns_pay_while_they_solve_something_for_sure() -> None:
    record, outcomes = turns_of([1] * 50 + [2] * 30 + [3] + [0] * 19)
    found = gains(record, outcomes, list(record), Price(10.0, 100.0))
    assert [turn.replies for turn in found] == [100, 50, 20]
    assert [turn.gain.mean for turn in found] == pytest.approx([0.5, 0.3, 0.01])
    assert [turn.tokens for turn in found] == pytest.approx([110, 55, 22])
    assert [turn.seconds for turn in found] == pytest.approx([2, 1, 0.4])
    assert [turn.money for turn in found] == pytest.approx([0.002, 0.001, 0.0004])
    assert [turn.pays for turn in found] == [True, True, False]
    assert pays_until(found) == 2
    assert pays_until(gains(*_nothing(), Price())) == 0


def test_the_first_turn_gains_what_is_solved_within_it() -> None:
    """With the same interval, also where outcomes are means over samples, which tell more than single ones."""
    solved = [0.25, 0.5, 0.0, 0.25] * 10
    first = gain_of(solved, [0.0] * 40)
    assert first == Difference(0.25, *share_interval(solved), 40)
    low, high = wilson_interval(sum(solved), 40)
    assert low < first.low < 0.25 < first.high < high


def _nothing() -> tuple:
    record, outcomes = turns_of([0] * 5)
    return record, outcomes, list(record)


def test_welch_is_students_t_where_both_are_alike() -> None:
    estimate = unpaired([0, 1, 0, 1], [1, 1, 0, 0])
    assert estimate.mean == 0
    assert estimate.readings[0].df == pytest.approx(6)
    assert estimate.readings[0].error == pytest.approx(math.sqrt(2 * (1 / 3) / 4))


def test_few_problems_that_all_went_one_way_leave_doubt() -> None:
    """As Fisher's exact test has it: p = 0.1, 0.008 and 1."""
    assert 0.05 < unpaired([1] * 3, [0] * 3).p_value < 0.1
    assert unpaired([1] * 5, [0] * 5).p_value < 0.008
    nothing = unpaired([0] * 67, [0] * 67)
    assert nothing.p_value == 1
    assert nothing.interval().high == pytest.approx(0.042, abs=0.0005)
    rng = np.random.default_rng(0)
    for share, other in ((0.02, 0.02), (0.5, 0.6), (0.98, 0.7)):
        draws = [(rng.random(40) < share, rng.random(60) < other) for _ in range(1000)]
        found = [unpaired(list(map(float, a)), list(map(float, b))).interval() for a, b in draws]
        assert 0.94 < fmean(one.low <= share - other <= one.high for one in found) <= 1


def test_the_card_knows_who_follows_and_who_memorised(tmp_path: Path) -> None:
    """One who always follows the stated rule, and one who applies the trained one whatever is stated."""
    subjects = {}
    for name in ("follows", "memorised"):
        questions = Questions(GP, ("id", "rule-ood", "fake"), 40, 2, seed=9, name="gp-l", options=GP.options())
        folder = tmp_path / name
        folder.mkdir()
        with open_record(folder) as record:
            ask(questions, _player(name), record)
        config = {**questions.asked(), "verb": "eval", "model": name, "decoding": "greedy"}
        content = {"config": config, "environment": {}, "resumed_in": []}
        (folder / "config.json").write_text(json.dumps(content))
        subjects[name] = Subject(name, load_finished(folder))
    card = task_card(list(subjects.values()))
    words = {(s.about, s.subject): s.word for s in card.statements}
    assert words["shift", "memorised"] == "lowers"
    assert words["memory", "memorised"] == "raises"
    assert words["shift", "follows"] == "undecided"
    assert words["memory", "follows"] != "raises"
    assert words["pair", "memorised"] == "lowers"
    follows, memorised = card.subjects
    assert follows.score("success", "rule-ood", 2).value == 1
    assert memorised.score("success", "fake", 1).value == 1
    assert [bound.name for bound in card.bounds][-1] == "expert"
    assert all(score.value == 1 for score in card.bounds[-1].scores)
    said = "\n".join(section(card).sentences)
    assert "memorised: the shifted rule (rule-ood) lowers its score" in said
    assert "it applies the trained rule where another is stated (fake: 100.0 [91.2, 100.0]% at first" in said
    assert "memorised does worse than follows under the shifted rule" in said


def _player(kind: str) -> Insider:
    """Knows the cards, and either reads the rule or does not."""
    trained = GP.problem("id", 0, 0).hand.scored

    def answer(problem: Any, request: Request) -> str:
        rule = problem.hand.stated if kind == "follows" else trained
        found = solve(problem.hand.numbers(rule), rule.target)
        return problem.reply(f"{found[0]}=24" if found else "1+1=24")

    return Insider(answer)


def test_compare_keeps_what_it_asked_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SUITES["quick"], parts=(replace(SUITES["quick"].parts[0], n=8),))
    monkeypatch.setitem(SUITES, "quick", small)
    odd = tmp_path / "<b>model"
    save_tiny_model(odd)
    command = [
        "compare",
        "expert",
        "random",
        str(odd),
        "--task",
        "gp-l",
        "--max-new-tokens",
        "6",
        "--out",
        str(tmp_path / "card"),
    ]
    assert main(command) == 0
    first = json.loads((tmp_path / "card" / "card.json").read_text())
    assert first["suite"] == {"name": "quick", "version": 1}
    assert [s["name"] for s in first["tasks"][0]["subjects"]] == ["expert", "random", str(odd)]
    page = (tmp_path / "card" / "card.html").read_text()
    assert "&lt;b&gt;model" in page
    assert "<b>" not in page
    assert "<script" not in page
    said = capsys.readouterr()
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == said.out
    assert json.loads((tmp_path / "card" / "card.json").read_text())["tasks"] == first["tasks"]
    folders = sorted(str(path.parent) for path in (tmp_path / "card").rglob("answers.jsonl"))
    assert main(["compare", *folders, "--out", str(tmp_path / "other")]) == 0
    assert main(["compare", folders[0], "blind", "--out", str(tmp_path / "third")]) == 2  # cards in text show all
    assert main(["compare", folders[0], "random", "--out", str(tmp_path / "fourth")]) == 0
    line = refusal(capsys, "compare", folders[0], "random", "--task", "virl-l", "--out", tmp_path / "fifth")
    assert "are of gp-l: name that as --task, or leave --task out" in line
    line = refusal(capsys, "compare", folders[0], "random", "--turns", 50, "--out", tmp_path / "fifth")
    assert re.search(r"the evaluations had \d+ turns, and no model has more beside them: lower --turns", line)
    assert main(["compare", folders[0], "random", "--turns", "1", "--out", str(tmp_path / "fifth")]) == 0
    assert "at least two" in refusal(capsys, "compare", "expert", "--out", tmp_path / "x")
    assert "is no price" in refusal(capsys, *command, "--price", "expert=1")
    assert "name one of" in refusal(capsys, *command, "--price", "nobody=1,2")


def test_compare_names_the_subject_that_failed_and_takes_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SUITES["quick"], parts=(replace(SUITES["quick"].parts[0], n=2),))
    monkeypatch.setitem(SUITES, "quick", small)
    model = save_tiny_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 120}))
    command = ["compare", "random", str(model), "--task", "gp-l", "--max-new-tokens", "20"]
    line = refusal(capsys, *command, "--out", tmp_path / "card")
    assert f"error: {model} on gp-l: a conversation outgrew the model's context of 120 tokens" in line
    assert set(re.findall(r"\(--([a-z-]+)\)", line)) == {"turns", "max-new-tokens"}
    assert main([*command, "--turns", "1", "--out", str(tmp_path / "short")]) == 0
    assert json.loads((tmp_path / "short" / "card.json").read_text())["tasks"][0]["turns"] == 1
    assert "--turns must be at least 1" in refusal(capsys, *command, "--turns", 0, "--out", tmp_path / "card")


def test_suites_name_splits_that_there_are() -> None:
    for suite in SUITES.values():
        for part in suite.parts:
            assert set(part.splits) <= get_task(part.task).splits().keys()
    assert (SUITES["quick"].version, SUITES["full"].version) == (1, 1)


@pytest.mark.slow
def test_a_real_server_gives_the_numbers_of_the_model_itself(tmp_path: Path) -> None:
    """The bundled model behind transformers' own server, and in this process."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    asked = ["eval", "gp-l", "--split", "id", "--split", "rule-ood", "--n", "6", "--turns", "2", "--style", "stepwise"]
    served = ["--model", f"api:{BUNDLED}", "--base-url", f"http://127.0.0.1:{port}/v1"]
    with (tmp_path / "log").open("w") as log:
        arguments = [sys.executable, "-c", program, "serve", str(BUNDLED), *where]
        server = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            _wait_for(port, server)
            assert main([*asked, *served, "--out", str(tmp_path / "served")]) == 0
        finally:
            server.kill()
            server.wait()
    assert main([*asked, "--model", "bundled", "--out", str(tmp_path / "here")]) == 0
    rows = [json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("served", "here")]
    assert rows[0] == rows[1]
    texts = [_texts(tmp_path / name / "answers.jsonl") for name in ("served", "here")]
    assert texts[0] == texts[1]


def _wait_for(port: int, server: subprocess.Popen) -> None:
    """Until somebody listens there."""
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None
        time.sleep(0.2)
    raise AssertionError("the server did not come up")


def _texts(file: Path) -> dict[tuple, str]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {(row["split"], row["index"], row["turn"]): row["text"] for row in rows}
