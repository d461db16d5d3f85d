"""The report: the numbers it is given, in tables, figures and one offline page that hostile text cannot break."""

import base64
import gzip
import hashlib
import io
import json
import re
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs_version
from rich.console import Console

import synthetic
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.comparison import Comparison, load_comparisons
from ruleshift.pictures import picture_of, read_picture
from ruleshift.records import Verdict
from ruleshift.report.arms import legend_of, usual_ood
from ruleshift.report.arrows import arrows
from ruleshift.report.curves import recognition_over_compute, splits_over_compute
from ruleshift.report.inert import as_json
from ruleshift.report.library import library_in_memory
from ruleshift.report.page import plotly, render_report, report_records, write_report
from ruleshift.report.palette import arm_styles
from ruleshift.report.pictures import headline_picture, save_picture
from ruleshift.report.plots import (
    headline_figure,
    ood_against_id,
    ood_against_kl,
    ood_against_recognition,
)
from ruleshift.report.points import Measure, at_step, curve, end, splits_in
from ruleshift.report.retention import through_both
from ruleshift.report.tables import claims_of, comparison_records, headline, signed, with_error
from ruleshift.report.terminal import WHOLE, blocks, comparison_tables, headline_tables, plain
from ruleshift.report.verification import solved_within_tries
from ruleshift.results import Results, Row, load_results
from ruleshift.tasks import TASKS, get_task

TOLD = {
    "start": "base",
    "arms": [
        {"name": "base", "about": "the start model", "variant_of": None},
        {"name": "sft", "about": "", "variant_of": None},
        {"name": "sft-lr3e-4", "about": "", "variant_of": "sft"},
        {"name": "rl", "about": "", "variant_of": None},
    ],
}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)></div></details>"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of every script, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(synthetic.results(), synthetic.comparisons(), synthetic.episodes())


def terminal(*tables: object, width: int = 80) -> str:
    output = io.StringIO()
    Console(width=width, file=output).print(*tables, sep="\n")
    return output.getvalue()


# ---------------------------------------------------------------- points and tables


def test_the_name_of_an_arm_does_not_run_over_the_end_of_another() -> None:
    """Names stand on the right, but for that of an arm beside whose end another one ends, further right."""
    results = synthetic.results(arms=())
    base = [row for row in results.rows if row.arm == "base"]
    ends = {"sft": (0.9, 0.2), "rl": (0.82, 0.2), "rl-lr": (0.82, 0.5)}
    rows = [
        synthetic.row(arm, 100, split, seed=1, turns=1, value=value)
        for arm, values in ends.items()
        for split, value in zip(("id", "rule-ood"), values, strict=True)
    ]
    figure = ood_against_id(replace(results, rows=[*base, *rows]), "greedy")
    assert figure is not None
    sides = {trace.name: trace.textposition.split()[1] for trace in figure.data if trace.text}
    assert sides == {"sft": "right", "rl": "left", "rl-lr": "right"}


def test_arms_and_splits_come_in_a_fixed_order() -> None:
    rows = synthetic.results(arms=("rl", "sft-lr3e-4", "sft")).rows
    other = replace(rows[0], arm="dft", split="all-12", step=1)
    assert splits_in([other, *rows]) == ["id", "rule-ood", "heldout", "fake", "all-12"]
    told = legend_of(Results((other, *rows), TOLD))
    assert (told.start, told.names) == ("base", ["base", "sft", "sft-lr3e-4", "rl", "dft"])
    untold = legend_of(Results((other, *rows), {}))
    assert (untold.start, untold.names) == ("base", ["base", "dft", "rl", "sft-lr3e-4", "sft"])
    for legend in (told, untold):
        assert [arm for arm in legend.names if legend.is_variant(arm)] == ["sft-lr3e-4"]
        assert legend.family("sft-lr3e-4") == "sft"
    assert legend_of(Results((), {})).names == []


def test_a_legend_that_makes_no_sense_is_passed_over() -> None:
    rows = synthetic.results().rows
    for arms in ({"name": "x"}, ["sft"], [{"name": 3}], [{}], "sft", None):
        legend = legend_of(Results(rows, {"arms": arms, "start": 3, "diverged": arms}))
        assert (legend.start, legend.names, legend.diverged) == ("base", ["base", "sft", "rl"], {})


def test_no_arm_is_known_by_name() -> None:
    """Results with other names of arms give the same page, but for the names."""
    names = {"base": "model-a", "sft": "w", "rl": "v"}
    results, comparisons = synthetic.results(), synthetic.comparisons()
    about = {"sft": "made w", "rl": "made v", "base": "the start model"}
    arms = [{"name": arm, "about": about[arm], "variant_of": None} for arm in names]
    renamed_arms = [{**arm, "name": names[arm["name"]]} for arm in arms]
    renamed = [
        replace(c, arm=names[c.arm], reference=names[c.reference], point_arm=c.point_arm.replace(c.arm, names[c.arm]))
        for c in comparisons
    ]
    rows = tuple(replace(row, arm=names[row.arm]) for row in results.rows)
    meta = {"command": "made"}
    page = render_report(Results(results.rows, {**meta, "start": "base", "arms": arms}), comparisons, {})
    other = render_report(Results(rows, {**meta, "start": "model-a", "arms": renamed_arms}), renamed, {})
    for text in (">sft<", ">rl<", "base"):
        assert text in Elements(page).text + page.split("<script>")[0]
    words = Elements(other).text
    assert not any(f"{name} " in words or f" {name}" in words for name in ("base", "sft", "rl"))
    for name, new in names.items():
        page = page.replace(f">{name}<", f">{new}<")
    count = len(Elements(page).text.split())
    assert abs(len(words.split()) - count) <= 20
    assert "v ends at" in words.replace("\n", " ")


def test_points_are_means_over_seeds_that_all_went_there() -> None:
    values = {1: 0.2, 2: 0.3, 3: 0.4}
    rows = [synthetic.row("rl", step, "id", seed, value=values[seed]) for seed in values for step in (10, 20)]
    view = Measure(5, "greedy")
    points = curve(rows[:-1], view, "rl", "id")  # seed 3 lacks step 20
    assert [point.steps for point in points] == [(10, 10, 10)]
    assert points[0].value == pytest.approx(0.3)
    assert points[0].by_seed == (0.2, 0.3, 0.4)
    assert points[0].low == pytest.approx(sum(row.ci_low for row in rows[::2]) / 3)
    last = end(rows[:-1], view, "rl", "id")
    assert last is not None
    assert (sorted(last.steps), last.label()) == ([10, 20, 20], "steps 10 to 20")
    assert end(rows, view, "sft", "id") is None


def test_headline_holds_every_number() -> None:
    results = synthetic.results(seeds=(1,))
    record = headline(results, synthetic.comparisons(), "sampled")
    assert [line.arm for line in record.arms] == ["base", "sft", "rl"]
    assert (record.splits, record.turns) == (("id", "rule-ood", "heldout", "fake"), (1, 5))
    for line in record.arms:
        for (split, turns), cell in line.cells.items():
            row = next(
                row
                for row in results.rows
                if (row.arm, row.split, row.turns, row.decoding) == (line.arm, split, turns, "sampled")
                and row.step == (0 if line.arm == "base" else 80)
            )
            assert cell.value == f"{100 * row.value:.1f}"
            assert cell.interval == f"[{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]"
    sft = record.arms[1].cells["rule-ood", 5]
    assert (sft.change, sft.change_interval, sft.excludes_0) == ("-10.0", "[-13.0, -7.0]", True)
    assert record.arms[2].cells["fake", 1].excludes_0 is False  # -1.0 [-4.0, +2.0]


def test_headline_without_comparisons_claims_no_interval() -> None:
    results = synthetic.results(seeds=(1,))
    cells = {line.arm: line.cells["id", 5] for line in headline(results, [], "greedy").arms}
    difference = float(cells["sft"].value) - float(cells["base"].value)
    assert float(cells["sft"].change) == pytest.approx(difference, abs=0.11)
    assert (cells["sft"].change_interval, cells["sft"].excludes_0) == ("", False)
    assert cells["base"].change == ""


def test_the_page_says_what_a_study_claims_and_nothing_that_cannot_be_read() -> None:
    ends = {"reference": "base", "metric": "success", "split": "rule-ood", "turns": 5, "decoding": "sampled"}
    sft = {"task": "gp-l", "arm": "sft", **ends, "difference": -0.21, "ci_low": -0.3, "ci_high": -0.12, "of": 4}
    sft |= {"over": "seeds and problems", "word": "lowers"}
    rl = sft | {
        "arm": "rl",
        "difference": 0.02,
        "ci_low": None,
        "ci_high": None,
        "over": "problems",
        "word": "undecided",
    }
    wrong = [3, {}, {"word": "raises"}, rl | {"ci_low": "low"}, rl | {"more": 1}]
    results = synthetic.results()
    page = render_report(Results(results.rows, results.meta | {"claims": [sft, *wrong, rl]}), [], {})
    text = " ".join(Elements(page).text.split())
    assert (
        "sft lowers success, rule-ood, 5 turns, sampled (\u221221.0 points, \u221230.0 to \u221212.0, over seeds"
        in text
    )
    assert "rl on success, rule-ood, 5 turns, sampled: undecided (+2.0 points, over problems only)" in text
    assert text.count("success, rule-ood, 5 turns, sampled") == 2
    assert claims_of(Results(results.rows, {"claims": wrong})) == []


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.795, 0.027, "0.80 \u00b1 0.03"),
        (4.5162, 0.12, "4.5 \u00b1 0.1"),
        (0.3, 0.096, "0.30 \u00b1 0.10"),
        (1.2e-4, 1e-5, "0.00012 \u00b1 0.00001"),
        (123.4, 12.0, "123 \u00b1 12"),
        (0.0, 0.0, "0 \u00b1 0"),
        (0.0123456, None, "0.0123"),
    ],
)
def test_a_value_and_its_error_end_at_the_same_digit(value: float, error: float | None, shown: str) -> None:
    assert with_error(value, error) == shown


def test_the_kl_stands_beside_an_arm_with_its_error() -> None:
    results = synthetic.results()
    assert all(not line.kl for line in headline(results, [], "greedy").arms)  # earlier files do not tell the error
    rows = tuple(replace(row, kl_error=0.012) for row in results.rows)
    known = replace(results, rows=rows)
    shown = {line.arm: line.kl for line in headline(known, [], "greedy").arms}
    assert (shown["base"], shown["rl"]) == ("", "KL 0.32 \u00b1 0.01")
    assert "\u00b1 0.01" in terminal(*headline_tables(known, [], "greedy", width=80), width=80)
    assert "KL 0.32 \u00b1 0.01" in Elements(render_report(known, [], {})).text


def test_a_dagger_stands_where_an_arm_is_judged_by_how_problems_begin() -> None:
    def rows(arm: str, passed: float, right: float) -> list[Row]:
        step = 0 if arm == "base" else 9
        shown = ("steps_passed", 1, passed / 2), ("steps_passed", 2, passed), ("decision_accuracy", 1, right)
        return [
            Row("virl-l", arm, 0, step, "id", metric, turns, "sampled", value, 50, value, value, 0.1, 1e9)
            for metric, turns, value in shown
        ]

    of = {"base": (8.0, 0.7), "sft": (3.9, 0.9), "rl": (4.0, 0.6)}
    results = Results(tuple(row for arm, numbers in of.items() for row in rows(arm, *numbers)), {"start": "base"})
    record = headline(results, [], "sampled", "decision_accuracy")
    assert {line.arm: line.cells["id", 1].few for line in record.arms} == {"base": False, "sft": True, "rl": False}
    assert record.note.startswith("†: judged by how problems begin")
    shown = terminal(*headline_tables(results, [], "sampled", "decision_accuracy", 80))
    assert "90.0†" in shown
    assert "60.0†" not in shown
    assert "70.0†" not in shown
    assert "less than half of the steps" in " ".join(shown.split())
    passed = headline(results, [], "sampled", "steps_passed")  # counts what is passed, however few
    assert passed.note == ""
    assert "†" not in terminal(*headline_tables(results, [], "sampled", "steps_passed", 80))


def test_no_negative_zero() -> None:
    assert signed(-0.0001) == "+0.0"
    assert signed(-0.001) == "-0.1"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_tables_fit_and_hold_the_numbers(width: int) -> None:
    results, comparisons = synthetic.results(), synthetic.comparisons()
    tables = headline_tables(results, comparisons, "greedy", width=width)
    text = terminal(*tables, width=width)
    assert len(tables) == {60: 2, 80: 1, 120: 1}[width]
    assert text.count("turns") == len(tables)
    assert [split for split in synthetic.START if text.count(f" {split}") < 1] == []
    for line in headline(results, comparisons, "greedy").arms:
        for cell in line.cells.values():
            assert cell.value in text
            assert cell.interval.replace(", ", ",") in text
            assert cell.change in text
    assert "…" not in text
    texts = [terminal(table, width=width) for table in comparison_tables(results, comparisons, "greedy", width)]
    assert len(texts) == 3
    assert "At matched ID success" in texts[1]
    numbers = ("10.1", "21.4", "-11.3", "[-14.0,-8.6]", "66.1", "65.8")
    assert [number for number in numbers if number not in texts[1]] == []
    if width >= 80:
        assert "sft step 40  10.1  rl  21.4  -11.3 [-14.0,-8.6]  66.1/65.8" in texts[1]
    assert ("0.34/0.35" in texts[2]) == (width >= 80)
    assert not any("…" in text for text in texts)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_say_what_intervals_are_over_and_show_single_seeds(width: int) -> None:
    results = synthetic.results(seeds=(1, 2, 3, 4, 5))
    old = synthetic.comparisons()
    seeds = (-0.141, -0.092, -0.123, -0.114, -0.095)
    new = [replace(c, over="seeds and problems", by_seed=seeds, spread=0.02 * (c.matched_on == "id")) for c in old]
    new = [replace(c, note="not monotone, read early: sft (3, 9)") if c.matched_on == "id" else c for c in new]

    def shown(comparisons: list[Comparison]) -> str:
        tables = [
            *headline_tables(results, comparisons, "greedy", width=width),
            *comparison_tables(results, comparisons, "greedy", width),
        ]
        return terminal(*tables, width=width)

    def one_line(text: str) -> str:
        return " ".join(text.split())

    before, after = shown(old), shown(new)
    assert "\u2026" not in before + after
    assert one_line(before).count("over problems only: other seeds may differ by more") == 4
    assert one_line(before).count("Read off straight lines between evaluated steps") == 2
    assert one_line(after).count("over seeds and problems") == 4
    assert "straight lines" not in after
    assert [number for number in ("8.1\u201312.1", "-13.3 to -9.3", "-14.1 -9.2") if number not in after] == []
    assert "rule-ood, 5 turns: not monotone, read early: sft (3, 9)" in one_line(after)
    pages = [Elements(render_report(results, c, {})).text.replace("\n", " ") for c in (old, new)]
    assert ["over problems only: other seeds" in page for page in pages] == [True, False]
    assert ["interval over seeds and problems" in page for page in pages] == [False, True]
    assert "-14.1 -9.2 -12.3 -11.4 -9.5".replace("-", "\u2212") in pages[1]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("study", ["headline/gp-l", "headline/virl-l", "vision/gp-vl", "vision/virl-vl"])
def test_tables_of_published_studies_fit_any_terminal(study: str, width: int) -> None:
    folder = Path(__file__).parent.parent / "docs" / "results" / study
    results, comparisons = load_results(folder / "results.json"), load_comparisons(folder / "comparisons.json")
    metric = str(results.meta["metric"])
    shown = [c for c in comparisons if c.matched_on and c.metric == metric]
    text = terminal(
        *headline_tables(results, comparisons, "greedy", metric, width),
        *comparison_tables(results, shown, "greedy", width),
        width=width,
    )
    assert "…" not in text
    record = headline(results, comparisons, "greedy", metric)
    for line in record.arms:
        assert line.arm in text
        for cell in line.cells.values():
            assert [part for part in (cell.value, cell.change, *cell.interval.split(", ")) if part not in text] == []
    lines = [line for table in comparison_records(results, shown, "greedy") for line in table.lines]
    assert lines
    for line in lines:
        told = (line.change_interval.replace(", ", ","), *line.matched.replace("\u00b1 ", "vs \u00b1 ").split(" vs "))
        told += (*line.point.split(), line.value.partition("\u2013")[0])
        assert [part for part in told if part not in text] == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_blocks_repeat_what_names_a_line(width: int) -> None:
    columns = [f"val-shift-{letter}\n@{turns}" for letter in "abcd" for turns in (1, 5)]
    lines = [[f"sft-lr{rate}", "*", "0.12", *("12.3" for _ in columns)] for rate in ("3e-5", "1e-4")]
    tables = blocks("a title", ("arm", "chosen", "KL"), columns, lines, width)
    text = terminal(*tables, width=width)
    assert "…" not in text
    assert text.count("sft-lr3e-5") == text.count("KL") == len(tables)
    assert text.count("12.3") == 16
    assert text.count("a title") == 1


def test_an_arm_that_diverged_is_shown_as_diverged() -> None:
    told = synthetic.results()
    meta = {
        **TOLD,
        "diverged": [{"arm": "sft", "seed": 2, "why": "no number"}, {"arm": "rl", "seed": 1, "why": HOSTILE}],
    }
    rows = tuple(row for row in told.rows if row.arm != "rl" and (row.arm, row.seed) != ("sft", 2))
    results = Results(rows, meta)
    lines = {line.arm: line for line in headline(results, [], "greedy").arms}
    assert lines["sft"].label == "step 80; seed 2 diverged"
    assert (lines["rl"].label, lines["rl"].cells) == ("diverged", {})
    text = terminal(*headline_tables(results, [], "greedy"))
    assert "diverged" in text
    page = render_report(results, [], {})
    words = " ".join(Elements(page).text.split())
    assert "Diverged: sft, seed 2: no number." in words
    assert HOSTILE not in page
    assert "rl diverged" in words.replace("rldiverged", "rl diverged")
    for made in (ood_against_id, ood_against_kl, splits_over_compute):
        assert made(results, "greedy") is not None


def test_figures_are_those_that_the_study_asks_for() -> None:
    results = synthetic.results()
    page = render_report(Results(results.rows, {"figures": ["kl"]}), [], {})
    assert "distance moved" in page
    assert "Every split over training" not in page


def test_markup_in_names_is_text() -> None:
    arm = "sft-[bold]x[/bold]"
    rows = [replace(row, arm=arm) if row.arm == "sft" else row for row in synthetic.results().rows]
    assert arm in terminal(*headline_tables(Results(tuple(rows), {}), [], "greedy"))


# ---------------------------------------------------------------- figures


def test_paths_begin_at_the_start_model_and_hold_the_means() -> None:
    results = synthetic.results()
    figure = ood_against_id(results, "greedy")
    assert figure is not None
    path = next(trace for trace in figure.data if trace.name == "sft" and trace.showlegend)
    view = Measure(1, "greedy")
    across, up = (curve(results.rows, view, "sft", split) for split in ("id", "rule-ood"))
    base = [end(results.rows, view, "base", split) for split in ("id", "rule-ood")]
    assert path.x == pytest.approx([100 * point.value for point in (base[0], *across) if point])
    assert path.y == pytest.approx([100 * point.value for point in (base[1], *up) if point])
    assert len(path.x) == 1 + synthetic.STEPS


def test_every_arm_is_named_once_and_keeps_its_colour() -> None:
    arms = ("sft", "sft-lr3e-4", "rl", "rl-lr1e-4")
    results = synthetic.results(arms=arms)
    colours = {arm: style.colour for arm, style in arm_styles(legend_of(results)).items()}
    assert len(set(colours.values())) == len(colours)
    for figure in (ood_against_id(results, "greedy"), splits_over_compute(results, "greedy")):
        assert figure is not None
        named = {trace.name: trace.line.color for trace in figure.data if trace.showlegend and trace.mode != "markers"}
        assert named == {arm: colours[arm] for arm in arms}
        names = [trace.name for trace in figure.data if trace.showlegend]
        assert len(names) == len(set(names))


def test_every_split_and_budget_has_its_panel() -> None:
    figure = splits_over_compute(synthetic.results(), "greedy")
    assert figure is not None
    assert {trace.xaxis for trace in figure.data} == {"x", *(f"x{index}" for index in range(2, 9))}
    assert "training compute (10¹⁵ FLOP)" in figure.to_json(engine="json").encode().decode("unicode_escape")


def test_an_arm_that_goes_on_from_another_begins_there() -> None:
    told = synthetic.results()
    results = Results(told.rows, {**told.meta, "config": {"starts": {"rl": {"arm": "sft", "step": 40}}}})
    figure = splits_over_compute(results, "greedy")
    assert figure is not None
    view = Measure(1, "greedy")
    (before,) = at_step(curve(results.rows, view, "sft", "id"), 40)
    ways = {t.name: t for t in figure.data if (t.xaxis, t.yaxis, t.mode) == ("x", "y", "lines+markers")}
    assert ways["rl"].y[0] == pytest.approx(100 * before.value)
    assert ways["rl"].x[0] == pytest.approx(40 * 2.1e13 / 1e15)
    assert [told[0] for told in ways["rl"].customdata[:2]] == ["sft step 40", "step 10"]
    assert (ways["sft"].x[0], ways["sft"].customdata[0][0]) == (0, "start")
    plane = ood_against_id(results, "greedy")
    assert plane is not None
    way = next(t for t in plane.data if (t.name, t.xaxis, t.mode) == ("rl", "x", "lines+markers"))
    assert [told[0] for told in way.customdata[:2]] == ["sft step 40", "step 10"]
    bare = Results(tuple(replace(row, train_flops=None) for row in results.rows), results.meta)
    uncounted = splits_over_compute(bare, "greedy")
    assert uncounted is not None
    way = next(t for t in uncounted.data if (t.name, t.xaxis, t.yaxis, t.mode) == ("rl", "x", "y", "lines+markers"))
    assert list(way.x[:2]) == [0, 10]
    untrained = replace(curve(results.rows, view, "rl", "id")[0], steps=(0,))
    assert untrained.label(("sft", 40)) == "sft step 40"
    assert untrained.label() == "start"


def test_success_is_shown_against_recognition_on_the_same_split_where_there_are_pictures() -> None:
    told = synthetic.results(metrics=("success", "recognition"))
    assert ood_against_recognition(told, "greedy") is None
    assert recognition_over_compute(told, "greedy") is None
    rows = [
        replace(row, task="gp-vl", turns=1, value=row.value / 2 + 0.5) if row.metric == "recognition" else row
        for row in told.rows
        if row.metric == "success" or row.turns == 1
    ]
    seen = Results(tuple(replace(row, task="gp-vl") for row in rows), {})
    figure = ood_against_recognition(seen, "greedy")
    assert figure is not None
    ends = {
        (row.split, row.arm, row.seed): row
        for row in seen.rows
        if row.step == 80 and row.decoding == "greedy" and row.metric == "recognition"
    }
    success = [r for r in seen.rows if (r.step, r.decoding, r.metric, r.turns) == (80, "greedy", "success", 5)]
    for split, place in (("id", "x"), ("rule-ood", "x2")):
        for arm in ("sft", "rl"):
            wide = [100 * ends[split, arm, seed].value for seed in (1, 2, 3)]
            high = [100 * row.value for row in success if (row.split, row.arm) == (split, arm)]
            path = next(t for t in figure.data if t.name == arm and t.xaxis == place and t.mode == "lines+markers")
            assert path.x[-1] == pytest.approx(sum(wide) / 3)
            assert path.y[-1] == pytest.approx(sum(high) / 3)
    curves = recognition_over_compute(seen, "greedy")
    assert curves is not None
    assert "recognition in 1 turn" in curves.to_json()


def test_figures_do_without_what_was_not_measured() -> None:
    rows = [replace(row, kl_to_start=None, train_flops=None) for row in synthetic.results().rows]
    results = Results(tuple(rows), {})
    assert ood_against_kl(results, "greedy") is None
    assert ood_against_id(results, "greedy") is not None
    curves = splits_over_compute(results, "greedy")
    assert curves is not None
    assert "optimiser steps" in curves.to_json()
    assert ood_against_id(results, "beam") is None
    assert headline_figure(Results((), {})) is None
    assert headline_figure(results) is not None


def test_the_picture_of_a_study_shows_the_endpoint_that_it_claims_something_of() -> None:
    results = load_results(Path(__file__).parent.parent / "docs" / "results" / "headline" / "gp-l" / "results.json")
    figure, unclaimed = headline_figure(results), headline_figure(replace(results, meta={**results.meta, "claims": []}))
    for shown, how in ((figure, "1 turn, sampled"), (unclaimed, "5 turns, greedy")):
        assert shown is not None
        assert all(f"({how})" in panel.text for panel in shown.layout.annotations[:2])


def test_an_arm_that_goes_on_from_another_begins_where_that_one_was() -> None:
    results = synthetic.results()
    steps = sorted({row.step for row in results.rows if row.arm == "sft"})
    starts = {"rl": {"arm": "sft", "step": steps[0]}}
    figure = headline_figure(replace(results, meta={**results.meta, "config": {"starts": starts}}))
    usual = headline_figure(results)
    assert figure is not None
    assert usual is not None
    sft, rl, before = (_path(shown, arm) for shown, arm in ((figure, "sft"), (figure, "rl"), (usual, "rl")))
    assert rl[0] == sft[1]  # the first is the start model
    assert before[0] == sft[0]
    assert rl[1:] == before[1:]
    thin = [trace for trace in figure.data if trace.mode == "lines" and trace.legendgroup == "rl"]
    assert len(thin) > 1
    assert len({trace.x[0] for trace in thin}) > 2  # each seed from its own (two panels)


def _path(figure: go.Figure, arm: str) -> list[tuple[float, float]]:
    """Of the first panel."""
    trace = next(trace for trace in figure.data if trace.mode == "lines+markers" and trace.legendgroup == arm)
    return list(zip(trace.x, trace.y, strict=True))


# ---------------------------------------------------------------- the page


def test_the_page_holds_the_numbers(page: str) -> None:
    text = Elements(page).text
    results = synthetic.results()
    for decoding in ("greedy", "sampled"):
        for line in headline(results, synthetic.comparisons(), decoding).arms:
            for cell in line.cells.values():
                assert cell.value in text
                assert cell.interval in text
                assert cell.change.replace("-", "−") in text
    for number in ("−11.3", "[−14.0, −8.6]", "66.1 vs 65.8", "0.34 vs 0.35"):
        assert number in text
    for fact in (
        "ruleshift study headline --seeds 1 2 3",
        "0123456789abcdef",
        "9.0 minutes",
        "torch 2.13.0",
        "1, 2, 3",
    ):
        assert fact in text
    assert "sft ends at" in text.replace("\n", " ")
    assert "How to read this" in text


def test_the_page_loads_nothing(page: str) -> None:
    elements = Elements(page)
    loading = [attributes for _, attributes in elements.found if {"src", "href", "srcset", "data"} & attributes.keys()]
    assert [attributes["href"] for attributes in loading] == ["#episodes"]
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements.found}
    without_plotly = page.replace(max(elements.scripts, key=lambda script: len(script[1]))[1], "")
    assert len(without_plotly) < 1_000_000
    assert not any(word in without_plotly for word in ("http://", "https://", "@import", "url("))


def test_only_known_scripts_may_run(page: str) -> None:
    elements = Elements(page)
    policy = next(a["content"] or "" for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    running = [text for kind, text in elements.scripts if kind is None]
    assert len(running) == 2
    for script in running:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_figures_in_the_page_are_json(page: str) -> None:
    elements = Elements(page)
    told = [json.loads(text) for kind, text in elements.scripts if kind == "application/json"]
    figures = [part for part in told if isinstance(part, dict) and "data" in part]
    assert len(figures) == 7  # the first one, and three for each decoding
    assert all(figure["data"] for figure in figures)
    assert sum("data-source" in attributes for _, attributes in elements.found) == 7


def test_every_table_has_its_numbers_for_programs(page: str) -> None:
    elements = Elements(page)
    tables = [json.loads(text) for kind, text in elements.scripts if kind == "application/json"]
    tables = [part for part in tables if isinstance(part, list)]
    assert len(tables) == sum(a.get("class") == "table" for tag, a in elements.found if tag == "details") == 8
    record = next(r for r in tables[0] if (r["arm"], r["split"], r["turns"]) == ("sft", "rule-ood", 5))
    cell = headline(synthetic.results(), synthetic.comparisons(), "greedy").arms[1].cells["rule-ood", 5]
    assert (record["value"], record["change"]) == (cell.value, cell.change)


def test_the_first_figure_has_an_arrow_for_each_arm_and_a_dot_for_each_seed() -> None:
    results = synthetic.results()
    figure = arrows(results, "greedy", "rule-ood")
    assert figure is not None
    view = Measure(5, "greedy")
    for arm, arrow in zip(("sft", "rl"), figure.layout.annotations, strict=True):
        x, y = (end(results.rows, view, arm, split) for split in ("id", "rule-ood"))
        start = [end(results.rows, view, "base", split) for split in ("id", "rule-ood")]
        assert x
        assert y
        assert (arrow.x, arrow.y) == pytest.approx((100 * x.value, 100 * y.value))
        assert (arrow.ax, arrow.ay) == pytest.approx([100 * point.value for point in start if point])
        dots = next(trace for trace in figure.data if trace.name == f"{arm}, single seeds")
        assert list(dots.y) == pytest.approx([100 * value for value in y.by_seed])
    assert arrows(Results(tuple(r for r in results.rows if r.arm == "base"), {}), "greedy", "rule-ood") is None


def test_the_first_figure_shows_the_turns_in_which_something_is_claimed() -> None:
    results = synthetic.results()
    what = ("success", "rule-ood", 1, "sampled")
    claim = Claim("gp-l", "sft", "base", *what, -0.1, -0.2, 0.0, "problems", "undecided", 2)
    figure = arrows(Results(results.rows, results.meta | {"claims": [asdict(claim)]}), "greedy", "rule-ood")
    assert figure is not None
    assert "1 turn" in figure.layout.xaxis.title.text
    assert "5 turns" in arrows(results, "greedy", "rule-ood").layout.xaxis.title.text  # type: ignore[union-attr]


def test_floors_and_ceiling_are_lines_of_the_first_figure() -> None:
    rows = list(synthetic.results().rows)
    for name in ("random", "expert"):
        rows += [replace(row, arm=name, step=0) for row in rows if row.arm == "base"]
    figure = arrows(Results(tuple(rows), {}), "greedy", "rule-ood")
    assert figure is not None
    assert [shape.label.text for shape in figure.layout.shapes] == ["floor: random", "ceiling: expert"]


def test_lines_in_which_nothing_differs_are_left_out_and_counted() -> None:
    told = synthetic.comparisons()
    same = replace(told[-1], difference=0.0, ci_low=0.0, ci_high=0.0)
    close = replace(told[-1], difference=0.0, ci_low=-0.1, ci_high=0.1)
    results = synthetic.results()
    before, after = (comparison_records(results, [*told, *more], "sampled")[-1] for more in ([close], [close, same]))
    assert (len(before.lines), before.silent) == (len(after.lines), 0)
    assert after.silent == 1
    assert "1 line in which nothing differs" in render_report(results, [*told, same], {})


def test_a_measure_that_says_nothing_is_a_sentence_and_others_are_explained() -> None:
    told = synthetic.results(metrics=("success", "recognition", "validity"))
    rows = tuple(replace(row, value=1.0) if row.metric == "validity" else row for row in told.rows)
    text = " ".join(Elements(render_report(Results(rows, told.meta), [], {})).text.split())
    assert "Validity is 100.0% for all arms on all splits" in text
    assert "0 is no fault" in text


def test_the_twin_holds_what_the_page_shows() -> None:
    library = library_in_memory(synthetic.episodes())
    twin = json.loads(json.dumps(report_records(synthetic.results(), synthetic.comparisons(), library)))
    assert {(table["title"], table["decoding"]) for table in twin["tables"]} >= {("at the end", "greedy")}
    assert twin["episodes"]["count"] == 4


def test_hostile_text_stays_text() -> None:
    assert [tag for tag, _ in Elements(HOSTILE).found] == ["script", "img"]  # the control: a browser would obey
    verdict = Verdict(HOSTILE, -1.0, False, HOSTILE, found=HOSTILE)
    episodes = {HOSTILE: [synthetic.episode(HOSTILE, [(HOSTILE, verdict)])]}
    rows = [replace(row, arm="sft-" + HOSTILE) if row.arm == "sft" else row for row in synthetic.results().rows]
    rows = [replace(row, split=HOSTILE) if row.split == "fake" else row for row in rows]
    meta = dict.fromkeys(synthetic.META, HOSTILE) | {"kl_unit": HOSTILE}
    comparisons = [replace(item, title=HOSTILE, point_arm=HOSTILE) for item in synthetic.comparisons()]
    page = render_report(Results(tuple(rows), meta), comparisons, episodes)
    elements = Elements(page)
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "img" not in {tag for tag, _ in elements.found}
    assert not any("onerror" in attributes for _, attributes in elements.found)
    assert len([kind for kind, _ in elements.scripts if kind is None]) == 2
    assert not any(text.strip().startswith("alert") for _, text in elements.scripts)


def test_figures_cannot_end_their_element() -> None:
    class Raw:  # a figure whose JSON is not made safe by Plotly
        def to_json(self, engine: str) -> str:
            return json.dumps({"name": HOSTILE + "</script>&\u2028"}, ensure_ascii=False)

    text = as_json(Raw())  # type: ignore[arg-type]
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": HOSTILE + "</script>&\u2028"}


def unpacked(page: str) -> str:
    """The episodes that a page holds."""
    chunks = [text for kind, text in Elements(page).scripts if kind == "application/octet-stream"]
    return "".join(gzip.decompress(base64.b64decode(chunk, validate=True)).decode() for chunk in chunks)


def test_write_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    surrogate = synthetic.episode("gp-l/id/1/1", [("lone \ud800 surrogate", Verdict("solved", 5.0, True, "Correct."))])
    write_report(path, synthetic.results(seeds=(1,)), [], {"rl": [surrogate]})
    assert "lone \\ud800 surrogate" in unpacked(path.read_text(encoding="utf-8"))
    assert json.loads(path.with_suffix(".json").read_text())["episodes"]["count"] == 1


def with_splits(task: str, *splits: str) -> Results:
    row = synthetic.results().rows[0]
    return Results(tuple(replace(row, task=task, split=split) for split in splits), {})


def test_the_split_that_stands_for_out_of_distribution() -> None:
    every = ("fake", "id", "rule-ood", "visual-ood")
    for task in TASKS:
        assert usual_ood(with_splits(task, *every)) == ("visual-ood" if get_task(task).pictures else "rule-ood")
        assert usual_ood(with_splits(task, "id", "rule-ood")) == "rule-ood"
        assert usual_ood(with_splits(task, "mini", "id", "city-ood")) == "city-ood"
        assert usual_ood(with_splits(task, "gp-l-id", "gp-l-rule-ood", "id")) == "gp-l-rule-ood"
        assert usual_ood(with_splits(task, "id")) == "id"
    assert usual_ood(with_splits("a task of one's own", *every)) == "rule-ood"
    assert usual_ood(Results((), {})) == "rule-ood"
    trained = tuple(row for row in synthetic.results().rows if row.split == "id")
    assert "<html" in render_report(Results(trained, {}), [], {}, "id")


def test_a_page_needs_rows_of_one_task() -> None:
    with pytest.raises(RuleshiftError, match="run the study first"):
        render_report(Results((), {}), [], {})
    rows = synthetic.results().rows
    with pytest.raises(RuleshiftError, match="gp-l, virl-l"):
        render_report(Results((*rows, replace(rows[0], task="virl-l")), {}), [], {})


def test_a_page_of_an_evaluation_speaks_of_no_training() -> None:
    rows = tuple(row for row in synthetic.results().rows if row.arm == "base")
    page = render_report(Results(rows, {}), [], {})
    text = Elements(page).text
    assert "What a model answers as it comes" in text
    assert "after training" not in text.lower()
    assert "After training" in Elements(render_report(synthetic.results(), [], {})).text
    assert "Conversations" not in text
    assert 'class="plot"' not in page  # empty axes show nothing


def test_the_page_holds_what_was_said_and_seen() -> None:
    episode = synthetic.episodes()["base"][0]
    picture = picture_of(np.full((16, 16, 3), 7, np.uint8))
    seen = replace(episode, messages=(replace(episode.messages[0], pictures=(picture,)), *episode.messages[1:]))
    page = render_report(synthetic.results(), [], {"base": [seen], "rl": []})
    (kept,) = json.loads(unpacked(page))
    assert [turn["outcome"] for turn in kept["turns"]] == ["wrong_value", "illegal", "solved"]
    assert [turn["reward"] for turn in kept["turns"]] == [-1, -3, 5]
    assert [turn["right"] for turn in kept["turns"]] == [False, False, True]
    assert [message["text"] for message in kept["messages"]] == [message.content for message in episode.messages]
    (url,) = kept["messages"][0]["pictures"]
    assert read_picture(base64.b64decode(url.removeprefix("data:image/png;base64,"), validate=True)) == picture
    policy = next(a["content"] or "" for _, a in Elements(page).found if a.get("http-equiv"))
    assert "img-src data:" in policy
    assert "connect-src" not in policy


# ---------------------------------------------------------------- pictures


def test_pictures_name_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuleshiftError, match=r"end its name in \.png"):
        save_picture(go.Figure(), tmp_path / "figure.bmp")
    with pytest.raises(RuleshiftError, match="no trained arm"):
        headline_picture(Results((), {}), tmp_path / "figure.png")
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(RuleshiftError, match=r'pip install "ruleshift\[docs\]"'):
        save_picture(go.Figure(), tmp_path / "figure.png")


def test_pictures_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    class ChromeNotFoundError(Exception):
        pass

    def draw(figure: go.Figure, opts: dict[str, object], kopts: dict[str, object]) -> bytes:
        if asked:
            raise ChromeNotFoundError
        asked.update(opts, panels=len(list(figure.select_xaxes())), **kopts)
        return b"picture"

    kaleido, errors = ModuleType("kaleido"), ModuleType("kaleido.errors")
    kaleido.calc_fig_sync, errors.ChromeNotFoundError = draw, ChromeNotFoundError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kaleido", kaleido)
    monkeypatch.setitem(sys.modules, "kaleido.errors", errors)
    headline_picture(synthetic.results(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == b"picture"
    assert asked == {"format": "png", "width": 1400, "height": 560, "scale": 1, "panels": 2, "mathjax": False}
    with pytest.raises(RuleshiftError, match="Chrome or Chromium"):
        headline_picture(synthetic.results(), tmp_path / "figure.png")


def test_the_plotly_of_the_page_is_the_one_that_figures_are_made_for() -> None:
    assert f"v{get_plotlyjs_version()}" in plotly()[:200]


def test_a_table_as_text_says_all_that_it_shows() -> None:
    results = synthetic.results()
    (table,) = headline_tables(results, synthetic.comparisons(), "greedy", width=WHOLE)
    found = plain(table)
    assert found.columns == ("arm", "turns", *headline(results, [], "greedy").splits)
    assert {len(row) for row in found.rows} == {len(found.columns)}
    assert [row[0].splitlines()[0] for row in found.rows if row[0]] == ["base", "sft", "rl"]
    assert "greedy" in found.title
    assert found.caption.startswith("Below each value")
    assert not any(re.search(r"\[/?(bold|dim)", cell) for row in found.rows for cell in row)


def test_what_more_tries_solve_is_drawn_where_many_numbers_of_tries_were_measured() -> None:
    few, many = synthetic.results(), [1, 2, 3, 5]
    assert solved_within_tries(few, "greedy", "rule-ood") is None
    told = [row for row in few.rows if row.metric == "success" and row.turns == 1]
    rows = [replace(row, turns=turns, value=row.value + turns / 100) for row in told for turns in many]
    figure = solved_within_tries(Results(tuple(rows), few.meta), "greedy", "rule-ood")
    assert figure is not None
    assert {trace.name for trace in figure.data} == {"base", "sft", "rl"}
    assert len(figure.data) == 6  # two panels
    for trace in figure.data:
        assert list(trace.x) == many
        assert [b - a for a, b in zip(trace.y, trace.y[1:], strict=False)] == pytest.approx([1.0, 1.0, 2.0])


def test_a_task_is_drawn_through_both_trainings() -> None:
    folder = Path(__file__).parent.parent / "docs" / "results" / "retention" / "gp-l-virl-l"
    results = load_results(folder / "results.json")
    figure = through_both(results, ("sft", "rl", "prayer"), (("gp-l", "virl-l"),))
    assert figure is not None
    assert [panel.text for panel in figure.layout.annotations] == ["gp-l, id", "gp-l, rule-ood"]
    assert [trace.name for trace in figure.data] == ["sft", "rl"] * 2
    arms = ("base", "rl-gp-l", "rl-gp-l-then-virl-l")
    wanted = [
        [
            row.value
            for row in results.rows
            if (row.arm, row.metric, row.split, row.turns) == (arm, "decision_accuracy", "gp-l-rule-ood", 1)
        ]
        for arm in arms
    ]
    assert list(figure.data[3].y) == pytest.approx([100 * sum(values) / len(values) for values in wanted])
    assert through_both(results, ("prayer",), (("gp-l", "virl-l"),)) is None
