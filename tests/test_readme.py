"""What README and docs/results/README.md show and say is what recorded runs measured."""

import importlib
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from safetensors import safe_open

from ruleshift.engines.text import blind_guesser
from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.comparison import Comparison
from ruleshift.evaluation.evaluate import cell_of, evaluate
from ruleshift.results import Results, Row
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

ROOT = Path(__file__).resolve().parent.parent
PICTURES = [f"docs/{path.name}" for path in (ROOT / "docs").glob("*.png")]
PAGES = ["README.md", "docs/results/README.md"]
PAGES += [str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "results").glob("*/*/README.md")]
NEEDED = ("README.md", "scripts", "docs/results", "docs/rules.svg", *PICTURES)


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts" / "update_readme.py"), "--check"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in NEEDED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return tmp_path


def test_what_is_said_of_the_recorded_results_is_what_they_hold() -> None:
    done = check(ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def other_size(text: str) -> str:
    """README with another end of an interval in a sentence."""
    found = re.search(r"by \d+ \(\d+ to (\d+)\) points", text)
    assert found
    return f"{text[: found.start(1)]}{int(found[1]) + 1}{text[found.end(1) :]}"


def other_seed(text: str) -> str:
    """The results with another value of one seed, at the primary endpoint."""
    content = json.loads(text)
    wanted = {"arm": "sft", "seed": 1, "split": "rule-ood", "turns": 1, "decoding": "sampled", "metric": "success"}
    row = max((row for row in content["rows"] if wanted.items() <= row.items()), key=lambda row: row["step"])
    row["value"] += 0.01
    return json.dumps(content)


HEADLINE, HORIZON = "docs/results/headline/gp-l/results.json", "docs/results/horizon/virl-l/README.md"
OF_HEADLINE = ["docs/results/README.md", "docs/rules.svg"]


def test_anything_else_is_noticed(copy: Path) -> None:
    """A sentence, a number that a picture shows, and a page of a study; and nothing but what these make stale."""
    changes: dict[str, Callable[[str], str]] = {
        "README.md": other_size,
        HEADLINE: other_seed,
        HORIZON: lambda text: text.replace("undecided", "holds"),
    }
    for name, change in changes.items():
        (copy / name).write_text(change((copy / name).read_text(encoding="utf-8")), encoding="utf-8")
    done = check(copy)
    assert done.returncode == 1
    found = [line.split(" is out of date")[0] for line in done.stderr.splitlines()]
    assert found == ["README.md", *OF_HEADLINE, HORIZON, "docs/headline-gp-l.png"]


def test_bold_in_a_table_are_the_changes_whose_interval_excludes_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    cell = importlib.import_module("update_readme").cell
    assert cell("43.6\n[39.7,47.6]\n42.2 45.0\n+17.6 [+13.5,+21.6]") == (
        "43.6 [39.7,47.6]<br>42.2 45.0<br>**+17.6 [+13.5,+21.6]**"
    )
    assert cell("23.3\n+1.5 [-1.3,+4.3]") == "23.3<br>+1.5 [-1.3,+4.3]"
    assert cell("-6.4 [-10.0,-2.8]") == "**-6.4 [-10.0,-2.8]**"


def test_hands_of_training_and_test_repeat_each_other_as_said() -> None:
    assert "99% of the `id` hands repeat numbers" in (ROOT / "README.md").read_text(encoding="utf-8")
    task = get_task("gp-l")

    counts = {"A": "1", "J": "10", "Q": "10", "K": "10"}

    def hands(split: str, seed: int, count: int) -> list[tuple[str, ...]]:
        dealt = (task.problem(split, seed, index).describe()["cards"] for index in range(count))
        return [tuple(sorted(counts.get(card, card) for card in cards)) for cards in dealt]

    seen = set(hands("train", 0, 4_000))
    shares = {split: sum(h in seen for h in hands(split, 1_000, 400)) / 400 for split in ("id", "heldout")}
    assert shares["id"] == pytest.approx(0.9925, abs=0.005)
    assert shares["heldout"] == 0.0


def test_who_never_looks_passes_as_many_steps_as_said() -> None:
    said = "never looks (`--model blind`) passes all routes, and 79% of steps"
    assert said in (ROOT / "README.md").read_text(encoding="utf-8")
    for split in ("id", "rule-ood"):
        cell = cell_of(split, "greedy", evaluate(blind_guesser(), get_task("virl-l"), split, 40, 2, seed=1_000))
        assert fmean(cell.outcomes("success", 2)) == 1.0
        assert fmean(cell.outcomes("step_accuracy", 2)) == pytest.approx(0.79, abs=0.008)


def test_the_learning_rates_are_those_of_the_sweeps() -> None:
    for study, task in (("headline", "gp-l"), ("headline", "virl-l"), ("vision", "gp-vl"), ("vision", "virl-vl")):
        sweep = json.loads((ROOT / f"docs/results/sweep-{task}.json").read_text())
        config = json.loads((ROOT / f"docs/results/{study}/{task}/results.json").read_text())["meta"]["config"]
        for arm in ("sft", "rl"):
            assert float(sweep["chosen"][arm].split("-lr")[1]) == config["training"][arm]["learning_rate"], (task, arm)


def differing(task: str, sweep: dict) -> list[tuple[str, str]]:
    """The ways to train whose preset for small models has another learning rate than the sweep chose."""
    recipe = get_task(task).recipe
    rates = {"sft": recipe.sft["tiny"].learning_rate, "rl": recipe.rl["tiny"].learning_rate}
    return [(task, way) for way, arm in sweep["chosen"].items() if float(arm.split("-lr")[1]) != rates[way]]


def test_bundled_models_are_as_large_as_said() -> None:
    readme, beside = ((ROOT / page).read_text() for page in ("README.md", "docs/deviations.md"))
    for name in ("text", "vision"):
        folder = f"src/ruleshift/backbones/bundled/{name}"
        with safe_open(ROOT / folder / "model.safetensors", "numpy") as weights:
            size = sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
        assert f"]({folder}/README.md) ({size / 1e6:.1f}M" in readme
        assert f"a bundled model of {size / 1e6:.1f}M parameters" in beside


def test_presets_are_what_their_sweep_chose() -> None:
    for task in ("gp-l", "virl-l", "gp-vl", "virl-vl"):
        sweep, recipe = json.loads((ROOT / f"docs/results/sweep-{task}.json").read_text()), get_task(task).recipe
        assert sweep["budget"] == {"sft": recipe.sft["tiny"].steps, "rl": recipe.rl["tiny"].updates}, task
        assert sweep["metric"] == recipe.primary.metric, task
        assert differing(task, sweep) == []
    assert differing("gp-l", {"chosen": {"sft": "sft-lr1e-5", "rl": "rl-lr1e-4"}}) == [("gp-l", "sft")]  # the control


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_are_linked_to_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    local = [link.partition("#") for link in links if not link.startswith("http")]
    assert len(local) >= (4 if page in PAGES[:2] else 2)
    targets = [((ROOT / page).parent / name, part) for name, _, part in local]
    assert [target for target, _ in targets if not target.exists()] == []
    parts = [(target, f"\n## {part.replace('-', ' ')}\n") for target, part in targets if part]
    assert [part for target, part in parts if part not in target.read_text(encoding="utf-8").lower()] == []


def test_intervals_are_read_as_their_run_wrote_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("published")
    what = Endpoint("success", "rule-ood", 1, "sampled")
    values = {("base", 0): 0.5, ("rl", 0): 0.6, ("rl", 1): 0.7}
    place = ("rule-ood", "success", 1, "sampled")
    rows = tuple(Row("gp-l", arm, seed, 9, *place, v, 400, 0.4, 0.8, 0.1, 1e9) for (arm, seed), v in values.items())
    meta = {"seeds": [0, 1], "start": "base", "arms": [{"name": name, "about": ""} for name in ("base", "rl")]}
    one = Comparison("", "rule-ood", 1, "sampled", "rl", "base", "rl", 0.65, 0.5, 0.15, 0.1, 0.2)

    def change(comparison: Comparison) -> tuple[float, float, float]:
        return tuple(module.Published("gp-l", "headline", Results(rows, meta), [comparison]).change("rl", what)[:3])

    assert change(one) == (0.15, 0.1, 0.2)
    assert change(replace(one, ci_low=None)) == (0.15, -math.inf, 0.2)


@pytest.mark.parametrize(("arms", "count"), [(("sft", "rl"), 2), (("sft",), 4), (("sft", "rl"), 4)])
def test_claims_are_published_only_as_some_of_their_study(
    arms: tuple[str, ...], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("published")
    of = ("base", "success", "rule-ood", 1, "sampled", 0.1, 0.0, 0.2, "seeds and problems", "undecided", count)
    monkeypatch.setattr(module, "claims_of", lambda results: [Claim(results.rows[0].task, arm, *of) for arm in arms])
    if len(arms) == 2 and count == 4:
        assert len(module.claimed.__wrapped__()) == 8
    else:
        with pytest.raises(SystemExit, match="gp-l is not claimed as one of the 4 endpoints of its study"):
            module.claimed.__wrapped__()
