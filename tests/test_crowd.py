"""Figures of many arms: what is seen of them, and where their names stand."""

import itertools
import random
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from ruleshift.report.arrows import arrows
from ruleshift.report.crowd import MANY, show, spread, ticks, view_of
from ruleshift.report.palette import COLOURS
from ruleshift.report.plots import headline_figure
from ruleshift.results import Results, Row

LOST = "lost"


def results(arms: int) -> Results:
    """Arms that end near each other, and one that loses everything."""

    def rows(arm: str, step: int, kl: float, **shares: float) -> list[Row]:
        return [
            Row(
                "gp-l", arm, 0, step, split.replace("_", "-"), "success", 1, "sampled", value, 50, value, value, kl, 1e9
            )
            for split, value in shares.items()
        ]

    ends = {f"arm{index}": (0.5 + index / 100, 0.6 - index / 100) for index in range(arms - 1)} | {LOST: (0.02, 0.01)}
    trained = [
        row for arm, (x, y) in ends.items() for row in rows(arm, 9, 20 if arm == LOST else 1 + x, id=x, rule_ood=y)
    ]
    return Results((*rows("base", 0, 0.0, id=0.45, rule_ood=0.58), *trained), {"start": "base"})


def names_of(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations if note.text and note.text.startswith(("arm", LOST))]


def drawn(kind: str, arms: int) -> go.Figure:
    found = results(arms)
    figure = headline_figure(found) if kind == "planes" else arrows(found, "sampled", "rule-ood")
    assert figure is not None
    return figure


@pytest.mark.parametrize(("kind", "panels"), [("planes", 2), ("arrows", 1)])
def test_many_arms_are_named_in_a_column_and_one_far_away_is_told_below(kind: str, panels: int) -> None:
    figure = drawn(kind, MANY + 4)
    assert sorted(names_of(figure)) == sorted([f"arm{index}" for index in range(MANY + 3)] * panels)
    told = [note.text for note in figure.layout.annotations if note.text and note.text.startswith("outside")]
    assert told[0] == "outside: lost (2, 1)"
    assert len(told) == panels
    low, high = figure.layout.yaxis.range
    assert 40 < low < 46 < 60 < high < 62  # 1% would have stretched it
    assert all(low <= note.ay <= high for note in figure.layout.annotations if note.text in names_of(figure))
    assert not any("text" in (trace.mode or "") and "arm" in trace.name for trace in figure.data)


def test_a_panel_of_what_was_not_measured_stays_empty() -> None:
    found = results(MANY + 2)
    unknown = replace(found, rows=tuple(replace(row, kl_to_start=None) for row in found.rows))
    figure = headline_figure(unknown)
    assert names_of(figure) == [f"arm{index}" for index in range(MANY + 1)]  # of the other panel


def test_few_arms_have_their_names_at_their_points() -> None:
    figure = headline_figure(results(MANY))
    assert names_of(figure) == []
    assert sum("text" in trace.mode for trace in figure.data) == 2 * MANY
    assert min(figure.data[-1].y) > 0


def test_further_arms_of_one_colour_have_another_symbol() -> None:
    looks = {
        trace.name: (trace.marker.color, trace.marker.symbol)
        for trace in headline_figure(results(len(COLOURS) + 3)).data
        if trace.name in {"arm0", f"arm{len(COLOURS)}"}
    }
    first, further = looks["arm0"], looks[f"arm{len(COLOURS)}"]
    assert first[0] == further[0]
    assert first[1] != further[1]


def test_names_keep_their_order_and_their_distance() -> None:
    assert spread([5, 1, 5.5], 0, 10, 1) == [5, 1, 6]
    assert spread([9.8, 10], 0, 10, 2) == pytest.approx([8, 10])
    assert spread([], 0, 1, 1) == []
    assert spread([3], 0, 1, 1) == [1]
    rng = random.Random(0)
    for count in range(2, 40):
        wanted = [rng.uniform(-3, 13) for _ in range(count)]
        found = spread(wanted, 0, 10, 0.5)
        order = sorted(range(count), key=lambda index: wanted[index])
        steps = [found[b] - found[a] for a, b in itertools.pairwise(order)]
        assert min(steps) >= min(0.5, 10 / (count - 1)) - 1e-9
        assert min(found) >= -1e-9
        assert max(found) <= 10 + 1e-9


def test_the_view_holds_the_start_and_all_but_what_lies_far_away() -> None:
    ends = [(x, 10.0 + x) for x in range(10)]
    seen = view_of([*ends, (5.0, 900.0), (-70.0, 15.0)], [(30.0, 12.0)])
    assert all(seen.holds(*end) for end in [*ends, (30.0, 12.0)])
    assert not seen.holds(5.0, 900.0)
    assert not seen.holds(-70.0, 15.0)
    assert seen.y[1] < 25
    assert seen.across[1] > seen.x[1] > 30
    same = view_of([(1.0, 1.0)] * 3, [])  # a range, where all are alike
    assert same.holds(1.0, 1.0)
    assert same.x[0] < 1 < same.x[1]


@pytest.mark.parametrize(("low", "high"), [(85, 101), (-0.1, 2.6), (0, 1e-6), (3, 4000), (-1, 1)])
def test_ticks_are_round_and_lie_in_the_view(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 8
    assert low <= found[0]
    assert found[-1] <= high
    assert len({round(b - a, 12) for a, b in itertools.pairwise(found)}) == 1


def test_nothing_is_told_below_where_all_are_seen() -> None:
    figure = go.Figure()
    show(figure, view_of([(0, 0), (1, 1)], []), {"a": (0, 0), "b": (1, 1)}, {"a": "red", "b": "blue"})
    assert [note.text for note in figure.layout.annotations] == ["a", "b"]
