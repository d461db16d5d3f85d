"""The content of tables: how every arm ends, and how arms compare where they match. Plain records, which the page and
the terminal show."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from ruleshift.evaluation import names
from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.comparison import Comparison, said_over
from ruleshift.evaluation.evaluate import FEW, METRICS, OF_FIRST_REPLIES
from ruleshift.outcomes import OF_REPLIES, in_words
from ruleshift.report.arms import Legend, legend_of, origins_in, references_in
from ruleshift.report.points import Mean, Measure, end, splits_in, turns_in, turns_label
from ruleshift.results import Results, fits

SHARES = (*METRICS[:3], *OF_FIRST_REPLIES, *names.SHARES)
FEW_NOTE = (
    "\u2020: judged by how problems begin, since less than half of the steps are passed that the start model passes."
)
MATCHED_LABELS = {"id": "on ID (%)", "kl": "KL to start", "flops": "training FLOPs"}


@dataclass(frozen=True)
class ShownNumber:
    """One number of the headline, ready to show. `seeds` are the values of the seeds, where there are several.

    `interval` is over problems; `excludes_0` is said of the interval of the change, and what that is `over`. `few`: it
    is of first replies, and the arm passes less than half (`FEW`) of the steps that the start model does, so that it is
    judged by how problems begin.
    """

    value: str
    interval: str
    seeds: tuple[str, ...] = ()
    change: str = ""
    change_interval: str = ""
    excludes_0: bool = False
    over: str = ""
    few: bool = False


@dataclass(frozen=True)
class ArmEnd:
    """One line of the headline: how an arm ends, by (split, turns). The label names its step, or says that it diverged;
    nothing is said of an arm of which no seed came to its end. Floors and the ceiling are labelled so. `kl` is how far
    it is from the start, where the error of that is known."""

    arm: str
    label: str
    cells: Mapping[tuple[str, int], ShownNumber]
    kl: str = ""


@dataclass(frozen=True)
class Headline:
    """Every arm at the end of its training. Shares are in percent, changes against the start model in points, with
    intervals that are `over` what it says."""

    metric: str
    decoding: str
    splits: tuple[str, ...]
    turns: tuple[int, ...]
    arms: tuple[ArmEnd, ...]
    over: str

    @property
    def flat(self) -> str:
        """The one value, with its unit, that every cell shows; "" where they differ."""
        shown = {cell.value for line in self.arms for cell in line.cells.values()}
        return "" if len(shown) != 1 else f"{shown.pop()}{'%' if is_share(self.metric) else ''}"

    @property
    def note(self) -> str:
        """What a dagger beside a value says; "" where there is none."""
        few = any(cell.few for line in self.arms for cell in line.cells.values())
        return FEW_NOTE if few else ""

    def records(self) -> list[dict[str, object]]:
        """The numbers, one a record, for programs."""
        return [
            {"arm": line.arm, "at": line.label, "split": split, "turns": turns, "metric": self.metric, **asdict(cell)}
            for line in self.arms
            for (split, turns), cell in line.cells.items()
        ]


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison, ready to show. `seeds` are the differences of the seeds, where there are several."""

    split: str
    turns: str
    point: str
    value: str
    reference: str
    reference_value: str
    change: str
    change_interval: str
    excludes_0: bool
    seeds: tuple[str, ...]
    matched: str


@dataclass(frozen=True)
class ComparisonTable:
    """Comparisons under one title. `matched_on` heads their last column; None where nothing is matched. Intervals are
    `over` what it says; `notes` say what else there is to know of single lines. `silent` lines, in which nothing
    differs, are left out."""

    title: str
    decoding: str
    matched_on: str | None
    lines: tuple[ComparisonLine, ...]
    over: str
    notes: tuple[str, ...]
    silent: int = 0

    def records(self) -> list[dict[str, object]]:
        """The lines, for programs."""
        return [asdict(line) for line in self.lines]


def headline(results: Results, comparisons: Iterable[Comparison], decoding: str, metric: str = "success") -> Headline:
    """How every arm ends. Changes come with an interval where `comparisons` hold one against the start, at the end."""
    legend, origins = legend_of(results), origins_in(results)
    rows = [row for row in results.rows if row.metric == metric and row.decoding == decoding]
    splits, turns = tuple(splits_in(rows)), tuple(turns_in(rows))
    against_start = {
        (item.arm, item.split, item.turns): item
        for item in comparisons
        if _is_in_headline(item, legend) and item.decoding == decoding and item.metric == metric
    }
    few = _few_steps(results, decoding) if metric in OF_FIRST_REPLIES else set()
    arms = []
    for arm in legend.names:
        cells: dict[tuple[str, int], ShownNumber] = {}
        label = kl = ""
        for split in splits:
            for budget in turns:
                view = Measure(budget, decoding, metric)
                point = end(rows, view, arm, split)
                if point:
                    start = end(rows, view, legend.start, split) if arm != legend.start else None
                    cells[split, budget] = replace(
                        _entry(point, start, against_start.get((arm, split, budget)), metric), few=(arm, split) in few
                    )
                    label = label or point.label(origins.get(arm))
                    if start and point.kl is not None and point.kl_error is not None:
                        kl = f"KL {with_error(point.kl, point.kl_error)}"
        lost = legend.diverged.get(arm, ())
        if cells or lost:
            arms.append(ArmEnd(arm, _with_lost(label, lost), cells, kl))
    for name, kind in references_in(rows).items():
        found = [(s, k, end(rows, Measure(k, decoding, metric), name, s)) for s in splits for k in turns]
        shown = {
            (s, k): replace(_entry(point, None, None, metric), few=(name, s) in few) for s, k, point in found if point
        }
        arms.append(ArmEnd(name, kind, shown))
    return Headline(metric, decoding, splits, turns, tuple(arms), said_over(against_start.values()))


def _few_steps(results: Results, decoding: str) -> set[tuple[str, str]]:
    """Arms and splits of problems with steps at whose end less than `FEW` of the start model's steps are passed, with
    the most tries, where that one passes any."""
    rows = [row for row in results.rows if row.metric == "steps_passed" and row.decoding == decoding]
    view, start = Measure(max(turns_in(rows), default=1), decoding, "steps_passed"), legend_of(results).start
    usual = {split: end(rows, view, start, split) for split in splits_in(rows)} if start else {}
    passed = {(arm, split): end(rows, view, arm, split) for arm in {row.arm for row in rows} for split in usual}
    return {
        (arm, split)
        for (arm, split), mine in passed.items()
        if (there := usual[split]) and mine and there.value >= 1 and mine.value < FEW * there.value
    }


def _with_lost(label: str, lost: Sequence[int]) -> str:
    """A label that says which seeds diverged; all of them where there is nothing else to say."""
    if not lost or not label:
        return "diverged" if lost else label
    return f"{label}; seed {', '.join(map(str, lost))} diverged"


def comparison_records(results: Results, comparisons: Sequence[Comparison], decoding: str) -> list[ComparisonTable]:
    """The comparisons of one decoding, by title, in the order given; without those that the headline shows."""
    legend = legend_of(results)
    groups: dict[tuple[str, str | None], list[Comparison]] = {}
    for item in comparisons:
        if item.decoding == decoding and not _is_in_headline(item, legend):
            groups.setdefault((item.title, item.matched_on), []).append(item)
    return [
        ComparisonTable(
            title,
            decoding,
            MATCHED_LABELS[matched] if matched else None,
            tuple(_comparison_line(item) for item in items if not _says_nothing(item)),
            said_over(items),
            _notes(items),
            sum(map(_says_nothing, items)),
        )
        for (title, matched), items in groups.items()
    ]


def _says_nothing(item: Comparison) -> bool:
    """Whether nothing differs in any problem: the difference and both ends of its interval are 0."""
    return item.range == (0, 0) and item.ci_low == 0 and item.ci_high == 0


def _notes(items: Sequence[Comparison]) -> tuple[str, ...]:
    """What there is to know of a table's lines; files of earlier versions have no differences of single seeds."""
    old = "Read off straight lines between evaluated steps, however far apart these are."
    places: dict[tuple[str, int], list[str]] = {}
    for item in items:
        if item.note:
            places.setdefault((item.note, item.turns), []).append(item.split)
    said = [f"{', '.join(splits)}, {turns_label(turns)}: {note}" for (note, turns), splits in places.items()]
    apart = "Ranges: the evaluated steps are too far apart to be read between (see --further)."
    general = [
        *([old] if any(item.matched_on and not item.by_seed for item in items) else []),
        *([apart] if any(item.spread or item.reference_spread for item in items) else []),
    ]
    return (*general, *said)


def _entry(point: Mean, start: Mean | None, comparison: Comparison | None, metric: str) -> ShownNumber:
    seeds = tuple(number(value, metric) for value in point.by_seed) if len(point.by_seed) > 1 else ()
    interval = f"[{number(point.low, metric)}, {number(point.high, metric)}]"
    value = number(point.value, metric)
    if comparison:
        between = interval_of(comparison, metric)
        return ShownNumber(
            value,
            interval,
            seeds,
            signed(comparison.difference, metric),
            between,
            comparison.excludes_0,
            said_over([comparison]),
        )
    change = signed(point.value - start.value, metric) if start else ""
    return ShownNumber(value, interval, seeds, change)


def _comparison_line(item: Comparison) -> ComparisonLine:
    return ComparisonLine(
        split=item.split,
        turns=str(item.turns),
        point=item.point_arm,
        value=_between(item.value - item.spread, item.value + item.spread),
        reference=item.point_reference or item.reference,
        reference_value=_between(
            item.reference_value - item.reference_spread, item.reference_value + item.reference_spread
        ),
        change=_between(*item.range, signed, " to "),
        change_interval=interval_of(item),
        excludes_0=item.excludes_0,
        seeds=tuple(map(signed, item.by_seed)) if len(item.by_seed) > 1 else (),
        matched=" vs ".join(
            dict.fromkeys(_matched(value, item) for value in (item.matched_value, item.matched_reference_value))
        ),
    )


def _matched(value: float | None, item: Comparison) -> str:
    if value is None:
        return "-"
    if item.matched_on == "kl":
        return with_error(value, item.matched_error)
    return number(value) if item.matched_on == "id" else f"{value:.3g}"


@dataclass(frozen=True)
class FailureLine:
    """What all replies of an arm to a split were, where it solves next to nothing."""

    arm: str
    split: str
    replies: str


FAILURES = "what all replies were, where next to nothing is solved"


def failure_lines(results: Results, decoding: str) -> tuple[FailureLine, ...]:
    """By arm and split, means over the seeds that solve next to nothing."""
    rows = [row for row in results.rows if row.decoding == decoding and row.metric.startswith(OF_REPLIES)]
    lines = []
    for arm in legend_of(results).arms_in(rows):
        for split in splits_in(rows):
            mine = [row for row in rows if (row.arm, row.split) == (arm, split)]
            seeds = {row.seed for row in mine}
            if seeds:
                names = dict.fromkeys(row.metric for row in mine)
                shares = {name: sum(row.value for row in mine if row.metric == name) / len(seeds) for name in names}
                lines.append(FailureLine(arm, split, in_words(shares)))
    return tuple(lines)


def _is_in_headline(comparison: Comparison, legend: Legend) -> bool:
    return comparison.matched_on is None and comparison.reference == legend.start


def number(value: float, metric: str = "success") -> str:
    """A value as tables show it: shares in percent."""
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3g}"


def with_error(value: float, error: float | None) -> str:
    """A value with its standard error, where that is known, both to the first digit of the error: 0.31 \u00b1 0.01."""
    if error is None:
        return f"{value:.3g}"
    if error <= 0:
        return f"{value:.3g} \u00b1 0"
    decimals = max(0, -math.floor(math.log10(error)))
    return f"{value:.{decimals}f} \u00b1 {error:.{decimals}f}"


def signed(value: float, metric: str = "success") -> str:
    """A difference as tables show it, always with its sign: shares in percentage points."""
    text = f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3g}"
    return "+0.0" if text == "-0.0" else text


def is_share(metric: str) -> bool:
    return metric in SHARES or metric.startswith((OF_REPLIES, "pass@"))


def endpoint_in_words(claim: Claim) -> str:
    return f"{claim.metric.replace('_', ' ')}, {claim.split}, {turns_label(claim.turns)}, {claim.decoding}"


def claims_of(results: Results) -> list[Claim]:
    """The claims in `meta`, as a study writes them; those that cannot be read are passed over."""
    entries = results.meta.get("claims")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            claim = Claim(**entry)
        except TypeError:
            continue
        if all(
            fits(getattr(claim, field.name), str if field.name == "word" else field.type) for field in fields(Claim)
        ):
            found.append(claim)
    return found


def claimed_turns(results: Results, there: Sequence[int]) -> int:
    """Those in which the study claims something; the most of all where it does not."""
    claimed = {claim.turns for claim in claims_of(results)} & set(there)
    return max(claimed or there, default=1)


def interval_of(comparison: Comparison | Claim, metric: str = "success") -> str:
    """The interval of a difference; "" where it is endless."""
    if comparison.ci_low is None or comparison.ci_high is None:
        return ""
    return f"[{signed(comparison.ci_low, metric)}, {signed(comparison.ci_high, metric)}]"


def _between(low: float, high: float, shown: Callable[[float], str] = number, to: str = "\u2013") -> str:
    """One value, or the two that it lies between."""
    return shown(low) if shown(low) == shown(high) else f"{shown(low)}{to}{shown(high)}"
