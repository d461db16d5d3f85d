"""The parts of a page: what it shows of each decoding, and its figures, each with what is said about it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from ruleshift.evaluation.comparison import Comparison
from ruleshift.outcomes import OF_REPLIES
from ruleshift.report import tables
from ruleshift.report.arms import Legend, legend_of, trained_split
from ruleshift.report.arrows import arrows
from ruleshift.report.curves import recognition_over_compute, splits_over_compute
from ruleshift.report.inert import as_json
from ruleshift.report.insights import (
    along_the_training,
    insights_in,
    risk_against_coverage,
    through_the_layers,
    words_of,
)
from ruleshift.report.library import Library
from ruleshift.report.phase import cells_in, phase_map, what_explains
from ruleshift.report.plots import metric_of, ood_against_id, ood_against_kl, ood_against_recognition
from ruleshift.report.points import decodings_in
from ruleshift.report.training import Curves, training_curves
from ruleshift.report.verification import gain_of_verification, solved_within_tries
from ruleshift.results import Results

_CAPTIONS = {
    "first": "An arrow from the start model (diamond) to the end of each arm, mean over seeds; small marks are single "
    "seeds, dotted lines what no skill earns (floors) and all of it (ceiling) on the shifted rule. Up and right is a "
    "rule that transfers, down and right is learning at the expense of transfer.",
    "gain": "At the end of each arm, sampled: a dot for each number of replies that a problem may take, from one on. "
    "Of the episodes that were kept; steep is verification that pays.",
    "tries": "At the end of each arm, mean over seeds: what is solved within so many tries. An arm named for the "
    "feedback that it is given (none: drawn anew) is measured with that.",
    "map": "Each field is a dose at a learning rate: by how many points it changed what is right under the shifted "
    "rule, mean over seeds. Blue gains, red loses; hover for the gain under the training rule and the KL.",
    "insights": "A line for each arm, from the start model on, over the KL to it; mean over seeds, shares in percent.",
    "layers": "The prompt states the training rule; after a layer, what the model carries at the words of the rule is "
    "replaced by what it carries there where another rule is stated. Up: the share of the whole exchange that this "
    "brings about in the answer's log-odds. Where it falls, other places have read the rule.",
    "risk": "At the end of each arm, replies in the order of their mean probability per token: how many of those given "
    "are wrong when only the surest are given. A falling line to the left is confidence that can be trusted.",
    "training": "What the runs logged, a line for each seed, over steps or updates.",
    "plane": "Each path is an arm over training: it begins at the start model (diamond) and ends at the large mark, "
    "whose bars are 95% intervals over problems; thin lines are single seeds. Above the dotted line a model does "
    "better out of distribution than the start model. Up and right is a rule that transfers, down and right is "
    "learning at the expense of transfer.",
    "kl": "The same paths; further right is further from the start model. Arms that fall on one curve here differ in "
    "how far they moved rather than in how they learn.",
    "seen": "The same paths, on each split against the share of its first replies that state rightly what is shown.",
    "recognition": "Of first replies. Lines, bands and dotted lines as above.",
    "compute": "Lines are means over seeds, bands 95% intervals over problems, dotted lines the start model. Scales "
    "differ between panels; on fake, higher means that the trained rule is applied although another one is stated.",
}


@dataclass(frozen=True)
class Figure:
    """A figure with what is said about it. `content` is Plotly's JSON."""

    id: str
    title: str
    caption: str
    content: Markup
    height: int


@dataclass(frozen=True)
class Finding:
    """How one arm ends in distribution and out of it, for a sentence."""

    arm: str
    ood: tables.ShownNumber
    id: tables.ShownNumber | None


@dataclass(frozen=True)
class Numbers:
    """The tables of one decoding: what the study is measured by, its other metrics, and the comparisons."""

    headline: tables.Headline
    others: tuple[tables.Headline, ...]
    comparisons: tuple[tables.ComparisonTable, ...]
    failures: tuple[tables.FailureLine, ...]

    def records(self) -> list[tuple[str, list[dict[str, object]]]]:
        """The title and the lines of each table, for programs."""
        return [
            ("at the end", self.headline.records()),
            *((table.metric, table.records()) for table in self.others),
            *((table.title, table.records()) for table in self.comparisons),
            *([(tables.FAILURES, self.failed())] if self.failures else []),
        ]

    def failed(self) -> list[dict[str, object]]:
        """What replies were, for programs."""
        return [asdict(line) for line in self.failures]


@dataclass(frozen=True)
class Section:
    """Everything that the page shows for one decoding. `findings` are about `turns` turns."""

    decoding: str
    turns: int
    findings: tuple[Finding, ...]
    numbers: Numbers
    figures: tuple[Figure, ...]


def numbers_of(results: Results, comparisons: Sequence[Comparison], decoding: str) -> Numbers:
    main = metric_of(results)
    there = {row.metric for row in results.rows if row.decoding == decoding}
    metrics = sorted(metric for metric in there - {main} if not metric.startswith(OF_REPLIES))
    compared = [comparison for comparison in comparisons if comparison.metric == main]
    return Numbers(
        headline=tables.headline(results, comparisons, decoding, main),
        others=tuple(tables.headline(results, comparisons, decoding, metric) for metric in metrics),
        comparisons=tuple(tables.comparison_records(results, compared, decoding)),
        failures=tables.failure_lines(results, decoding),
    )


def section_of(results: Results, comparisons: Sequence[Comparison], decoding: str, ood: str) -> Section:
    numbers, legend, trained_on = numbers_of(results, comparisons, decoding), legend_of(results), trained_split(results)
    turns = max(numbers.headline.turns, default=1)
    trained = [line for line in numbers.headline.arms if line.arm in legend.trained() and (ood, turns) in line.cells]
    chosen = [line for line in trained if not legend.is_variant(line.arm)] or trained
    findings = [Finding(line.arm, line.cells[ood, turns], line.cells.get((trained_on, turns))) for line in chosen]
    return Section(decoding, turns, tuple(findings), numbers, _figures(results, decoding, ood))


def verification_figure(library: Library, results: Results, ood: str) -> Figure | None:
    drawn = gain_of_verification(library, legend_of(results), ood)
    return drawn and Figure("gain", "What verification gains, and costs", _CAPTIONS["gain"], *_drawn(drawn))


def first_figure(results: Results, ood: str) -> Figure | None:
    """The first figure, with the decoding that the study claims something about."""
    claimed = [claim.decoding for claim in tables.claims_of(results)]
    decodings = [*claimed, *decodings_in(results.rows)]
    drawn = arrows(results, decodings[0], ood)
    return drawn and Figure("first", "Where training led", _CAPTIONS["first"], *_drawn(drawn))


def training_figure(curves: Curves, results: Results) -> Figure | None:
    drawn = training_curves(curves, legend_of(results))
    return drawn and Figure("curves", "Along the training", _CAPTIONS["training"], *_drawn(drawn))


def further_figures(folder: Path, legend: Legend) -> tuple[Figure, ...]:
    """The figures of files that a study wrote beside its results."""
    found, cells = insights_in(folder), cells_in(folder)
    drawn = {"map": ("Where either way memorises", phase_map(cells))}
    if found is not None:
        drawn["insights"] = ("Beside the scores, over training", along_the_training(found, legend))
        drawn["layers"] = ("Where the rule is read", through_the_layers(found, legend))
        drawn["risk"] = ("Wrong among the surest replies", risk_against_coverage(found, legend))
    more = {"map": what_explains(cells), "insights": words_of(found) if found else ""}
    return tuple(
        Figure(name, title, f"{_CAPTIONS[name]} {more.get(name, '')}".rstrip(), *_drawn(figure))
        for name, (title, figure) in drawn.items()
        if figure
    )


def _drawn(figure: go.Figure) -> tuple[Markup, int]:
    return as_json(figure), figure.layout.height


def _figures(results: Results, decoding: str, ood: str) -> tuple[Figure, ...]:
    """The figures of training that the study asks for: none where nothing was trained (yet)."""
    if not legend_of(results).trained():
        return ()
    wanted = results.meta.get("figures")
    drawn = {
        "plane": ("Out of distribution against in distribution", ood_against_id(results, decoding, ood)),
        "kl": ("Out of distribution against distance moved", ood_against_kl(results, decoding, ood)),
        "tries": ("What more tries solve", solved_within_tries(results, decoding, ood)),
        "compute": ("Every split over training", splits_over_compute(results, decoding)),
        "seen": ("What is done right against what is seen right", ood_against_recognition(results, decoding, ood)),
        "recognition": ("Recognition on every split over training", recognition_over_compute(results, decoding)),
    }
    return tuple(
        Figure(f"{name}-{index}", title, _CAPTIONS[name], *_drawn(figure))
        for index, (name, (title, figure)) in enumerate(drawn.items())
        if figure is not None and (not isinstance(wanted, list | tuple) or name in wanted)
    )
