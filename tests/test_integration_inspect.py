"""Inspect AI: the entry point, the verdicts of our own loop, intervals, pictures, our evaluations as logs."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("inspect_ai", reason="inspect_ai is not installed")

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ContentImage, ModelOutput, ModelUsage, get_model

from integration_helpers import PLACES, episode, replies, run_example
from ruleshift import RuleshiftError
from ruleshift.cli import main
from ruleshift.evaluation.episodes import save_episodes
from ruleshift.evaluation.evaluate import Point, cell_of, rows_of
from ruleshift.evaluation.finished import load_finished
from ruleshift.evaluation.suites import SUITES
from ruleshift.integrations import inspect_ai as ours
from ruleshift.integrations.places import ProblemRef, facts
from ruleshift.records import Episode

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library, and of what it imports


def model(talks: list[Episode]):
    """Says in every conversation what was said in the one of ours that began alike."""
    said = {talk.messages[0].content: replies(talk) for talk in talks}

    def answer(messages, tools, choice, config) -> ModelOutput:
        number = sum(message.role == "assistant" for message in messages)
        output = ModelOutput.from_content("mock", said[messages[0].text][number])
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=answer)


def run(task, talks: list[Episode], folder: Path) -> EvalLog:
    log = inspect_eval(task, model=model(talks), log_dir=str(folder), display="none")[0]
    assert log.status == "success", log.error
    return log


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_verdicts_are_those_of_our_own_loop(place: ProblemRef, pattern: str, tmp_path: Path) -> None:
    place = place.at(0)
    talk = episode(place, pattern)
    task = ours.problems(place.task, place.split, 1, place.seed, place.style, place.turns)
    (sample,) = run(task, [talk], tmp_path).samples
    assert [message.text for message in sample.messages] == [message.content for message in talk.messages]
    score = sample.scores["verdict"]
    assert score.metadata["turns"] == [facts(turn.verdict) for turn in talk.turns]
    assert score.value["reward"] == talk.total_reward
    assert score.value["success"] == talk.solved
    shown = [part for message in sample.input for part in message.content if isinstance(part, ContentImage)]
    assert len(shown) == (1 if place.task == "gp-vl" else 0)


def test_intervals_by_split_are_those_of_our_own_evaluation(tmp_path: Path) -> None:
    places = [ProblemRef("virl-l", split, 5, index) for split in ("id", "rule-ood") for index in range(4)]
    talks = [episode(place, pattern) for place, pattern in zip(places, ("g", "gc", "gn", "n") * 2, strict=True)]
    log = run(ours.problems("virl-l", "id,rule-ood", 4, 5), talks, tmp_path)
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    for split in ("id", "rule-ood"):
        cell = cell_of(split, "sampled", [talk for talk in talks if f"/{split}/" in talk.problem_id])
        rows = {row.metric: row for row in rows_of(Point("virl-l", "base", 0, 0, 0.0, 0.0, (cell,)), [2])}
        for name in ("success", "step_accuracy"):
            row = rows[name]
            found = [metrics[f"{split} {name}{end}"] for end in ("", " low", " high")]
            assert found == pytest.approx([row.value, row.ci_low, row.ci_high], abs=1e-12)


def test_our_evaluations_become_logs(tmp_path: Path) -> None:
    talks = [episode(ProblemRef("gp-vl", split, 5, 0, "terse"), "cg") for split in ("id", "rule-ood")]
    save_episodes(tmp_path / "episodes.parquet", talks)
    path = ours.write_log(tmp_path / "episodes.parquet", tmp_path / "logs", "runs/rl/model")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.model, len(log.samples)) == ("success", "runs/rl/model", 2)
    assert log.results.scores[0].metrics["id success 1"].value == talks[0].solved_within(1)
    for sample, talk in zip(log.samples, talks, strict=True):
        assert [message.text for message in sample.messages] == [message.content for message in talk.messages]
        assert sample.scores["verdict"].value["reward"] == talk.total_reward
        assert sum(isinstance(part, ContentImage) for part in sample.input[0].content) == 1
    told = subprocess.run(
        [sys.executable, "-m", "inspect_ai", "log", "list", "--log-dir", str(tmp_path / "logs"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert path.name in told.stdout


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `ruleshift eval --out` writes."""
    folder = tmp_path_factory.mktemp("runs") / "chance"
    splits = ["--split", "id", "--split", "rule-ood"]
    sampled = ["--decoding", "sampled", "--samples", "2", "--n", "2"]
    main(["eval", "gp-vl", "--model", "random", "--style", "terse", *splits, *sampled, "--out", str(folder)])
    return folder


def test_folders_of_evaluations_become_logs(evaluated: Path, tmp_path: Path) -> None:
    told = run_example("inspect_logs.py", evaluated, tmp_path)
    assert told.startswith("ruleshift/gp_vl of random with 8 conversations\nid success 5: ")
    (path,) = tmp_path.glob("*.eval")
    log = read_eval_log(str(path))
    finished = load_finished(evaluated)
    samples = {(sample.id, sample.epoch): sample for sample in log.samples}
    assert len(samples) == 8
    for place, talk in finished.episodes().items():
        problem = finished.questions.conversation(place).problem
        sample = samples[problem.id, place.sample + 1]
        assert sample.target == problem.gold()
        assert sample.scores["verdict"].metadata["turns"] == [facts(turn.verdict) for turn in talk.turns]
        assert sum(isinstance(part, ContentImage) for part in sample.input[0].content) == 1
    metrics = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
    rows = json.loads((evaluated / "results.json").read_text())["rows"]
    ours = {f"{row['split']} {row['metric']} {row['turns']}": row for row in rows if row["arm"] == "base"}
    assert len(metrics) == 3 * len(ours)
    for name, row in ours.items():
        assert [metrics[name], metrics[f"{name} low"], metrics[f"{name} high"]] == [
            row["value"],
            row["ci_low"],
            row["ci_high"],
        ]


def test_an_evaluation_that_has_not_ended_is_no_log(evaluated: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    for name in ("config.json", "answers.jsonl"):
        (tmp_path / "half" / name).write_bytes((evaluated / name).read_bytes())
    lines = (tmp_path / "half" / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "half" / "answers.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RuleshiftError, match="not finished"):
        ours.write_log(tmp_path / "half", tmp_path / "logs")
    with pytest.raises(RuleshiftError, match="holds no evaluation"):
        ours.write_log(tmp_path, tmp_path / "logs")


@pytest.mark.parametrize(("task", "make"), [("gp-l", ours.gp_l), ("virl-l", ours.virl_l)])
def test_suites_ask_what_report_cards_ask(task: str, make) -> None:
    (part,) = [part for part in SUITES["quick"].parts if part.task == task]
    asked = [sample.id for sample in make(suite="quick", n=1).dataset]
    assert asked == [f"{task}/{split}/1000/0" for split in part.splits]
    assert len(make(suite="quick", splits="id").dataset) == part.n
    with pytest.raises(RuleshiftError, match="choose from quick, full"):
        make(suite="huge")


def test_a_suite_has_all_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "problems", lambda *asked, **named: SimpleNamespace(asked=(*asked, *named.values())))
    asked = [task.asked for task in ours.suite("full", n=3)]  # type: ignore[attr-defined]
    assert asked == [(part.task, "full", 3) for part in SUITES["full"].parts]


def test_episodes_of_several_tasks_are_refused() -> None:
    with pytest.raises(RuleshiftError, match="2 tasks"):
        ours.log_of([episode(ProblemRef("gp-l"), "g"), episode(ProblemRef("virl-l"), "g")])


def test_the_entry_point_brings_the_tasks() -> None:
    listed = "from inspect_ai._util.registry import registry_lookup; print(registry_lookup('task', 'ruleshift/gp_l'))"
    told = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout
    if "None" in told:
        pytest.skip("ruleshift is not installed here, only found")
    assert "gp_l" in told


def test_the_example(tmp_path: Path) -> None:
    assert "id success: 0.25" in run_example("inspect_eval.py", tmp_path / "logs")
    assert list((tmp_path / "logs").glob("*.eval"))
