"""The figure of README.md, as SVG: from the start model to SFT and to PPO, under the shifted rule, on four tasks.

Written by hand rather than by a plotting library, so that a check needs no browser and finds the same bytes everywhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from published import ARMS, TASKS, measured, primary, published

from ruleshift.report.palette import FONT, GRID, INK, SOFT_INK, START_COLOUR, arm_styles
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

PANEL, GAP, LEFT, TOP, HEIGHT, BETWEEN, BOTTOM = 205, 24, 64, 78, 190, 34, 64  # pixels
WIDTH = LEFT + 4 * PANEL + 3 * GAP + 14
PLACES = {"sft": 0.5, "rl": 0.8}
START_AT = 0.17
HALO = 'stroke="white" stroke-width="4" paint-order="stroke"'
TICKS = (0, 0.25, 0.5, 0.75, 1)
DECODINGS = ("sampled", "greedy")
NAMES = {"sft": "SFT", "rl": "PPO"}


def figure() -> str:
    """The whole picture."""
    total = _top(len(DECODINGS)) - BETWEEN + BOTTOM
    lines = [*_legend()]
    for row, decoding in enumerate(DECODINGS):
        lines += _scale(row, decoding)
        for column, task in enumerate(TASKS):
            lines += _panel(row, column, task, replace(primary(task), decoding=decoding))
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" height="{total}" '
        f'font-family="{FONT}" font-size="13" fill="{INK}" role="img">\n'
        "<title>Score under the shifted rule, from the start model to SFT and to PPO</title>\n"
        f'<rect width="{WIDTH}" height="{total}" fill="white"/>\n{body}\n</svg>\n'
    )


def _top(row: int) -> int:
    return TOP + row * (HEIGHT + BETWEEN)


def _y(row: int, value: float) -> float:
    """Of a share, cut off a little outside of 0 and 1."""
    return _top(row) + HEIGHT * (1 - min(max(value, -0.03), 1.03))


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{text}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, more: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}" {more}/>'


def _legend() -> list[str]:
    first = "Score under the shifted rule (%): the start model, and what training under another rule makes of it."
    second = (
        "Large: mean, and the 95% interval of its difference to the start model over seeds and problems (uncorrected, "
        "cut off at 0 and 100). Small: single seeds."
    )
    return [_text(LEFT, 20, first), _text(LEFT, 39, second, f'fill="{SOFT_INK}"')]


def _scale(row: int, decoding: str) -> Iterator[str]:
    for share in TICKS:
        more = f'text-anchor="end" font-size="12" fill="{SOFT_INK}"'
        yield _text(LEFT - 8, _y(row, share) + 4, f"{100 * share:.0f}", more)
    x, y = 18, _y(row, 0.5)
    yield _text(x, y, decoding, f'text-anchor="middle" transform="rotate(-90 {x} {y:.1f})"')


def _panel(row: int, column: int, task: str, what: Endpoint) -> Iterator[str]:
    """One task under one decoding: the start model and its line, then mean, interval and seeds of each arm."""
    left, found = LEFT + column * (PANEL + GAP), published(task)
    styles, (start,) = arm_styles(published(TASKS[0]).legend), found.values(found.legend.start, what)
    for share in TICKS:
        yield _line(left, _y(row, share), left + PANEL, _y(row, share), GRID)
    if row == 0:
        yield _text(left, TOP - 12, get_task(task).recipe.title, 'font-weight="600"')
    yield _line(left, _y(row, start), left + PANEL, _y(row, start), START_COLOUR, 1.5, 'stroke-dasharray="3 3"')
    x = left + START_AT * PANEL
    yield f'<path d="M{x:.1f} {_y(row, start) - 6:.1f} l6 6 -6 6 -6 -6z" fill="{START_COLOUR}"/>'
    yield _text(x, _y(row, start) - 11, f"{100 * start:.0f}", 'text-anchor="middle"')
    for arm in ARMS:
        change = found.change(arm, what)
        ends = (_y(row, start + change.low), _y(row, start + change.high))
        seeds = [_y(row, value) for value in found.values(arm, what)]
        label = f"{100 * fmean(found.values(arm, what)):.0f}"
        yield from _arm(left + PLACES[arm] * PANEL, seeds, ends, label, styles[arm].colour)
    if row < len(DECODINGS) - 1:
        return
    bottom = _top(row) + HEIGHT
    for name, place in (("start", START_AT), *((NAMES[arm], PLACES[arm]) for arm in ARMS)):
        yield _text(left + place * PANEL, bottom + 22, name, 'text-anchor="middle"')
    more = f'text-anchor="middle" fill="{SOFT_INK}" font-size="12"'
    yield _text(left + PANEL / 2, bottom + 44, measured(task), more)


def _arm(x: float, seeds: Sequence[float], ends: tuple[float, float], label: str, colour: str) -> Iterator[str]:
    """Mean, interval and single seeds, at these heights."""
    yield _line(x, ends[0], x, ends[1], colour, 2)
    for end in ends:
        yield _line(x - 5, end, x + 5, end, colour, 2)
    yield f'<circle cx="{x:.1f}" cy="{fmean(seeds):.1f}" r="6" fill="{colour}"/>'
    for number, seed in enumerate(seeds):
        beside = x - 15 - 4 * (number % 2)
        yield f'<circle cx="{beside:.1f}" cy="{seed:.1f}" r="3" fill="{colour}" fill-opacity="0.55"/>'
    yield _text(x + 11, fmean(seeds) + 4, label, f'fill="{colour}" font-weight="600" {HALO}')
