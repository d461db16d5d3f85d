"""Finding tasks by name, and a task outside the package in every command that takes one."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_helpers import metrics, refusal, save_tiny_model
from clock import Clock
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.results import load_results
from ruleshift.settings import Measurement, SFTConfig
from ruleshift.studies.recipes import recipe_of
from ruleshift.tasks import TASKS, get_task
from ruleshift.tasks.protocol import Blind, NoOptions, Task
from ruleshift.tasks.recipe import RL

CLOCK = "clock:Clock"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


# ---------------------------------------------------------------- names


def test_names_of_the_package():
    for name in TASKS:
        task = get_task(name)
        assert task.id == task.recipe.measurement.task == name
        blind = isinstance(task.problem("id", 0, 0), Blind)
        assert task.recipe.floors == (("random", "blind") if blind else ("random",))
        assert task.with_options(task.options()) == task
        assert set(task.recipe.measurement.splits) < set(task.splits())


@pytest.mark.parametrize("name", [*TASKS, "ruleshift.tasks.mixture:CardsAndWalks"])
def test_a_style_that_there_is_not_is_refused(name: str):
    with pytest.raises(RuleshiftError, match="unknown style 'terze'; choose from full, terse, varied"):
        get_task(name).problem("id", 0, 0, "terze")  # type: ignore[arg-type]


def test_a_class_of_ones_own():
    assert get_task(CLOCK) == Clock()
    recipe = recipe_of(CLOCK)
    assert recipe.title == "clock"
    assert recipe.sft == SFTConfig()
    assert recipe.rl == RL["tiny"]
    assert recipe.measurement.task == CLOCK
    assert recipe.measurement.splits == ("id", "rule-ood", "fake")


def test_a_module_in_the_current_folder_is_found(tmp_path: Path):
    (tmp_path / "mine.py").write_text("import beside\nfrom clock import Clock\n")
    (tmp_path / "beside.py").touch()
    script = "from ruleshift.tasks import get_task; print(get_task('mine:Clock').id)"
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],  # -P: as the installed command runs
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "clock\n"


def test_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "clocks-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: clocks\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[ruleshift.tasks]\nclock = {CLOCK}\ngp-l = {CLOCK}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert get_task("clock").id == "clock"
    assert get_task("gp-l").id == "gp-l"  # those of the package come first
    with pytest.raises(RuleshiftError, match="unknown task 'cluck'; choose from gp-l, gp-vl, virl-l, virl-vl, clock"):
        get_task("cluck")
    get_task.cache_clear()


class Mute(Task):
    """Abstract members are left out."""

    id = "mute"


class Stranger:
    """A class that does not inherit."""

    id = "stranger"
    splits = problem = recipe = options = with_options = count = version = default_turns = metric = None


class Demanding(Clock):
    def __init__(self, hours: int) -> None:
        super().__init__()


@dataclass(frozen=True)
class Half:
    """Options without a default."""

    size: int


class Choosing(Clock):
    options = Half


class Chosen(Clock):
    options = dict


@dataclass(frozen=True)
class Nested(Clock):
    id: str = "../clock"


@dataclass(frozen=True)
class Borrowed(Clock):
    id: str = "gp-l"


def test_what_is_no_task_is_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "wrong_syntax.py").write_text("def (")
    (tmp_path / "wrong_import.py").write_text("import a_module_that_nobody_has")
    (tmp_path / "wrong_code.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    here = __name__
    for name, said in (
        ("nowhere:Task", "there is no module nowhere: go to the folder that it lies in, or install it"),
        ("clock.deeper:Task", "there is no module clock.deeper"),
        ("clock:Cluck", "there is no class Cluck in clock"),
        ("clock:SPLITS", "there is no class SPLITS in clock"),
        ("clock:", "unknown task 'clock:'"),
        ("../clock:Clock", "unknown task"),
        ("wrong_syntax:Task", "wrong_syntax cannot be imported (SyntaxError: "),
        ("wrong_import:Task", "cannot be imported (ModuleNotFoundError: No module named 'a_module_that_nobody_has')"),
        ("wrong_code:Task", "cannot be imported (ZeroDivisionError: "),
        (f"{here}:Mute", "is not a task: it has no splits, problem"),
        (f"{here}:Stranger", "is not a task: it has no pictures"),
        (f"{here}:Demanding", "cannot be made without arguments (TypeError: "),
        (f"{here}:Choosing", "need defaults (TypeError: Half.__init__() missing 1 required"),
        (f"{here}:Chosen", "are no dataclass"),
        (f"{here}:Nested", "has the id '../clock': use letters, digits"),
        (f"{here}:Borrowed", "calls itself gp-l, as one of ruleshift does"),
    ):
        with pytest.raises(RuleshiftError) as refused:
            get_task(name)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_task_without_options_says_so_by_saying_nothing():
    class Plain(Task):
        id = "plain"

        def splits(self):
            return {}

        def problem(self, split, seed, index, style="full"):
            raise NotImplementedError

    task = Plain()
    assert task.options is NoOptions
    assert task.with_options(NoOptions()) is task


# ---------------------------------------------------------------- in every command


def help_of(capsys: pytest.CaptureFixture[str], command: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("verb", ["play", "data", "sft", "rl", "eval"])
def test_options_of_a_task_are_shown_with_it_alone(verb: str, capsys: pytest.CaptureFixture[str]):
    options = {
        "gp-l": ("feedback",),
        "gp-vl": ("feedback", "size"),
        "virl-l": ("routes", "go-on", "feedback"),
        "virl-vl": ("routes", "go-on", "feedback", "size", "views", "leak"),
        CLOCK: ("longest",),
    }
    every = {option for some in options.values() for option in some}
    for task, of_task in options.items():
        said = help_of(capsys, f"{verb} {task}")
        assert {option for option in every if f"--{option} " in said} == set(of_task)
    assert "Most hours that pass. (default: 48)" in said
    said = help_of(capsys, verb)
    assert {option for option in every if f"--{option} " in said} == set()
    assert f"options of its own: ruleshift {verb} TASK --help" in said


@pytest.mark.parametrize(("lost", "why"), [("id", "arms are matched"), ("id-val", "the KL to the start is measured")])
def test_studies_need_some_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lost: str, why: str
):
    module = f"without_{lost.replace('-', '_')}"
    lines = ["from clock import Clock", "from ruleshift.tasks.recipe import Recipe", "", "", "class Less(Clock):"]
    lines += ["    recipe = Recipe('Clocks')", "    def splits(self):"]
    lines += [f"        return {{name: told for name, told in super().splits().items() if name != {lost!r}}}"]
    (tmp_path / f"{module}.py").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = f"{module}:Less"
    said = refusal(capsys, "study", "headline", "--tasks", name, "--out", tmp_path / "out")
    assert f"{name} has no split {lost}, on which {why}" in said
    assert set(recipe_of(name).measurement.splits) == set(get_task(name).splits()) - {"train", "id-val"}
    assert "heldout" not in recipe_of(name).measurement.splits


def test_studies_need_the_preset_for_small_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = [
        "from clock import Clock",
        "from ruleshift.settings import RLConfig",
        "from ruleshift.tasks.recipe import Recipe",
    ]
    lines += ["", "", "class Large(Clock):", "    recipe = Recipe('Clocks', rl={'large': RLConfig()})"]
    (tmp_path / "large.py").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuleshiftError, match="large:Large has no preset 'tiny' of RL, which this study takes: add it"):
        recipe_of("large:Large")


def test_a_recipe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    page = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
    example = page[page.index("  from ruleshift.settings import") : page.index("  ```\n\n  `primary` is")]
    imports, recipe = textwrap.dedent(example).split("# in the class:\n")
    head = f"from clock import Clock\n{imports}\n\nclass Slow(Clock):\n"
    (tmp_path / "slow.py").write_text(head + textwrap.indent(recipe, "    "))
    monkeypatch.syspath_prepend(tmp_path)
    assert get_task("slow:Slow").recipe.title == "Clocks"
    assert recipe_of("slow:Slow").measurement == Measurement("slow:Slow", ("id", "rule-ood"), n=200, turns=(1, 2))
    assert "(default: 2000)" in help_of(capsys, "sft slow:Slow")
    assert "unknown --preset 'paper'; choose from tiny" in refusal(capsys, "rl", "slow:Slow", "--preset=paper")


def test_the_task_may_stand_after_options(capsys: pytest.CaptureFixture[str]):
    assert main(["eval", "--n", "2", "--model", "expert", CLOCK, "--longest", "3"]) == 0
    assert "expert on clock" in capsys.readouterr().out


def test_options_called_as_those_of_the_command_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "clashing.py").write_text(
        "from dataclasses import dataclass\nfrom clock import Clock\n"
        "@dataclass(frozen=True)\nclass Options:\n    seed: int = 0\n"
        "@dataclass(frozen=True)\nclass Task(Clock):\n    options = Options\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "called as those of ruleshift eval (seed): rename them" in refusal(capsys, "eval", "clashing:Task")
    assert "called as those of ruleshift rl (seed): rename them" in refusal(capsys, "rl", "clashing:Task")


def test_play_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["play", CLOCK, "--model", "expert"]) == 0
    said = capsys.readouterr().out
    assert "A clock has 24 hours" in said
    assert "solved, 1 reply, total reward +5" in said
    out = tmp_path / "clocks.jsonl"
    assert main(["data", CLOCK, "--n", "20", "--longest", "2", "--out", str(out)]) == 0
    facts = [json.loads(json.loads(line)["facts"]) for line in out.read_text().splitlines()]
    assert {fact["later"] for fact in facts} == {1, 2}
    assert "--longest must be at least 1" in refusal(capsys, "data", CLOCK, "--longest", 0, "--out", out)


def test_eval(model: Path, tmp_path: Path):
    shares = {}
    for who in ("expert", "random", str(model)):
        file = tmp_path / "results.json"
        command = ["eval", CLOCK, "--model", who, "--n", "40", "--turns", "2", "--max-new-tokens", "3"]
        assert main([*command, "--split", "rule-ood", "--split", "fake", "--json", str(file)]) == 0
        rows = load_results(file).rows
        assert {row.task for row in rows} == {"clock"}
        wanted = ("base", "success", 1)
        shares[who] = {row.split: row.value for row in rows if (row.arm, row.metric, row.turns) == wanted}
    assert shares["expert"] == {"rule-ood": 1.0, "fake": 1.0}
    assert shares["random"]["rule-ood"] < 0.3


@pytest.mark.slow
def test_training_either_way(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = [CLOCK, "--model", str(model), "--longest", "9", "--out"]
    sft = ["sft", *command, str(tmp_path / "sft"), "--steps", "2", "--examples", "8", "--batch", "4"]
    rl = ["rl", *command, str(tmp_path / "rl"), "--updates", "2", "--episodes", "6", "--max-new-tokens", "3"]
    for run, arguments in (("sft", sft), ("rl", rl)):
        assert main(arguments) == 0
        assert [record["step"] for record in metrics(tmp_path / run)] == [1, 2]
        config = json.loads((tmp_path / run / "config.json").read_text())["config"]
        assert (config["task"], config["longest"]) == (CLOCK, 9)
    sft[sft.index("--longest") + 1] = "8"
    assert "longest" in refusal(capsys, *sft)


@pytest.mark.slow
def test_study(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A whole study, with its worker processes, which find the task by its name."""
    settings = "sft.steps=1 sft.examples=4 sft.batch=4 rl.updates=1 rl.episodes=4 rl.max_new_tokens=3"
    settings += " rl.value_only=0 measurement.kl_problems=4 measurement.kl_most=8 matched_rates=none other_data=none"
    command = f"study headline --tasks {CLOCK} --model {model} --n 4 --points 1 --workers 1 --out {tmp_path}".split()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert main([*command, *(word for setting in settings.split() for word in ("--set", setting))]) == 0
    rows = load_results(tmp_path / "clock" / "results.json").rows
    assert {row.arm for row in rows} == {"base", "sft", "rl", "random", "expert"}
    assert {row.task for row in rows} == {"clock"}  # of floors, too: a page is of one task
    assert (tmp_path / "clock" / "report.html").is_file()
    assert {row.split for row in rows} == {"id", "rule-ood", "fake"}


def test_the_documentation_shows_the_task_that_is_tested():
    page = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
    assert f"```python\n{Path(sys.modules[Clock.__module__].__file__).read_text()}```" in page
