"""One offline HTML page about a study: numbers, figures, whole conversations.

What models wrote is untrusted. The template escapes every value, figures travel as JSON that cannot end a script
element, and the page's own policy (CSP) lets nothing load from anywhere and no script run but its two, known by hash.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.comparison import Comparison
from ruleshift.files import write_atomically
from ruleshift.records import Episode
from ruleshift.report import tables
from ruleshift.report.arms import Legend, legend_of, trained_split
from ruleshift.report.arrows import arrows
from ruleshift.report.curves import recognition_over_compute, splits_over_compute
from ruleshift.report.insights import (
    along_the_training,
    insights_in,
    risk_against_coverage,
    through_the_layers,
    words_of,
)
from ruleshift.report.library import Library, library_in_memory
from ruleshift.report.measures import meaning
from ruleshift.report.palette import FONT, arm_styles
from ruleshift.report.phase import cells_in, phase_map, what_explains
from ruleshift.report.plots import (
    OOD,
    metric_of,
    ood_against_id,
    ood_against_kl,
    ood_against_recognition,
)
from ruleshift.report.points import decodings_in, splits_in, turns_label
from ruleshift.report.training import Curves, training_curves
from ruleshift.report.verification import gain_of_verification
from ruleshift.results import Results
from ruleshift.tasks import TASKS, get_task

NO_CURVES: Curves = {}
_CAPTIONS = {
    "first": "An arrow from the start model (diamond) to the end of each arm, mean over seeds; small marks are single "
    "seeds, dotted lines what no skill earns (floors) and all of it (ceiling) on the shifted rule. Up and right is a "
    "rule that transfers, down and right is learning at the expense of transfer.",
    "gain": "At the end of each arm, sampled: a dot for each number of replies that a problem may take, from one on. "
    "Of the episodes that were kept; steep is verification that pays.",
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
class Section:
    """Everything that the page shows for one decoding. `findings` are about `turns` turns."""

    decoding: str
    turns: int
    findings: tuple[Finding, ...]
    headline: tables.Headline
    others: tuple[tables.Headline, ...]
    comparisons: tuple[tables.ComparisonTable, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Shelf:
    """The episodes that a page holds, `shown` of `total`: their index, and their content in chunks, packed. A page that
    is served asks for each episode instead, and has no chunks."""

    index: Markup
    chunks: tuple[str, ...]
    shown: int
    total: int


def write_report(
    path: str | os.PathLike[str],
    results: Results,
    comparisons: Sequence[Comparison],
    episodes: Mapping[str, Sequence[Episode]] | Library,
    ood: str = OOD,
    curves: Curves = NO_CURVES,
    folder: Path | None = None,
) -> None:
    """Write the page, and beside it the same for programs, as JSON. `episodes` are the library of a study, or a few
    conversations by arm (any label), shown in the order given; `folder` is where
    further files of the study lie, if any, which have figures of their own.

    Raises RuleshiftError for results without rows or of several tasks, and if the file cannot be written.
    """
    library = episodes if isinstance(episodes, Library) else library_in_memory(episodes)
    page = render_report(results, comparisons, library, ood, curves, folder=folder)
    write_atomically(path, page.encode("utf-8", "replace"))  # lone surrogates, which APIs can return, become "?"
    twin = json.dumps(report_records(results, comparisons, library, curves), indent=1)
    write_atomically(Path(path).with_suffix(".json"), twin)


def report_records(
    results: Results, comparisons: Sequence[Comparison], library: Library, curves: Curves = NO_CURVES
) -> dict[str, object]:
    """What the page shows, for programs: claims, tables, curves of training, and the index of the episodes."""
    _only_task(results)
    tables_of = [_section(results, comparisons, decoding, "") for decoding in decodings_in(results.rows)]
    return {
        "title": results.meta.get("title"),
        "about": _about(results),
        "claims": [asdict(claim) for claim in tables.claims_of(results)],
        "tables": [
            {"title": title, "decoding": section.decoding, "rows": rows}
            for section in tables_of
            for title, rows in [
                ("at the end", section.headline.records()),
                *((table.metric, table.records()) for table in section.others),
                *((table.title, table.records()) for table in section.comparisons),
            ]
        ],
        "training": [{"arm": arm, "seed": seed, "metrics": list(lines)} for (arm, seed), lines in curves.items()],
        "episodes": library.index(),
    }


def render_report(
    results: Results,
    comparisons: Sequence[Comparison],
    episodes: Mapping[str, Sequence[Episode]] | Library,
    ood: str = OOD,
    curves: Curves = NO_CURVES,
    served: bool = False,
    folder: Path | None = None,
) -> str:
    """The page as text. One that is served may ask where it comes from for episodes, and holds none itself."""
    task, legend = _only_task(results), legend_of(results)
    library = episodes if isinstance(episodes, Library) else library_in_memory(episodes)
    environment = Environment(
        loader=PackageLoader("ruleshift.report", "web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"typeset": _typeset, "in_words": _in_words, "csp_hash": _csp_hash, "turns": turns_label}
    environment.filters |= {"meaning": meaning, "as_json": safe_json}
    training = training_curves(curves, legend)
    return environment.get_template("page.html").render(
        title=results.meta.get("title", f"What post-training taught on {task}"),
        task=task,
        about=_about(results),
        legend=legend,
        claims=[
            (claim, tables.endpoint_in_words(claim), tables.signed(claim.difference), tables.interval_of(claim))
            for claim in tables.claims_of(results)
        ],
        trained=legend.trained(),
        diverged=_diverged(results),
        models=len({(row.arm, row.seed, row.step) for row in results.rows if row.arm in legend.names}),
        problems=_range(row.n for row in results.rows),
        sections=[_section(results, comparisons, decoding, ood) for decoding in decodings_in(results.rows)],
        ood=ood,
        colours={arm: style.colour for arm, style in arm_styles(legend).items()},
        splits=_split_descriptions(results),
        beside=_beside(folder, legend) if folder else (),
        training=training and Figure("curves", "Along the training", _CAPTIONS["training"], *_drawn(training)),
        published=_published(results),
        library=_shelf(library, served),
        served=served,
        trained_on=trained_split(results),
        first=_first(results, ood),
        verification=_verification(library, results, ood),
        font=Markup(FONT),
        style=Markup(_web("*.css")),
        plotly=Markup(get_plotlyjs()),
        script=Markup('"use strict";\n' + _web("*.js")),
    )


def _shelf(library: Library, served: bool) -> Shelf | None:
    if not len(library):
        return None
    if served:
        return Shelf(Markup("null"), (), len(library), len(library))
    part, chunks = library.part().chunks()
    return Shelf(safe_json(part.index()), tuple(chunks), len(part), len(library))


def _web(pattern: str) -> str:
    """The parts of the page of one kind, by name."""
    parts = [part for part in files("ruleshift.report").joinpath("web").iterdir() if fnmatch(part.name, pattern)]
    return "\n".join(part.read_text(encoding="utf-8") for part in sorted(parts, key=lambda part: part.name))


def _published(results: Results) -> str:
    """What the paper found on the task, where that is known."""
    told = results.meta.get("published")
    if told is None:
        tasks = {row.task for row in results.rows}
        told = next((get_task(task).recipe.published for task in tasks if task in TASKS), "")
    return str(told)


def _only_task(results: Results) -> str:
    tasks = sorted({row.task for row in results.rows})
    if not tasks:
        raise RuleshiftError("no report: the results hold no rows; run the study first.")
    if len(tasks) > 1:
        raise RuleshiftError(
            f"no report: the results are of several tasks ({', '.join(tasks)}); save one file for each."
        )
    return tasks[0]


def _section(results: Results, comparisons: Sequence[Comparison], decoding: str, ood: str) -> Section:
    main, legend, trained_on = metric_of(results), legend_of(results), trained_split(results)
    headline = tables.headline(results, comparisons, decoding, main)
    metrics = sorted({row.metric for row in results.rows if row.decoding == decoding} - {main})
    turns = max(headline.turns, default=1)
    trained = [line for line in headline.arms if line.arm in legend.trained() and (ood, turns) in line.cells]
    chosen = [line for line in trained if not legend.is_variant(line.arm)] or trained
    return Section(
        decoding=decoding,
        turns=turns,
        findings=tuple(
            Finding(line.arm, line.cells[ood, turns], line.cells.get((trained_on, turns))) for line in chosen
        ),
        headline=headline,
        others=tuple(tables.headline(results, comparisons, decoding, metric) for metric in metrics),
        comparisons=tuple(tables.comparison_records(results, [c for c in comparisons if c.metric == main], decoding)),
        figures=_figures(results, decoding, ood),
    )


def _verification(library: Library, results: Results, ood: str) -> Figure | None:
    drawn = gain_of_verification(library, legend_of(results), ood)
    return drawn and Figure("gain", "What verification gains, and costs", _CAPTIONS["gain"], *_drawn(drawn))


def _first(results: Results, ood: str) -> Figure | None:
    """The first figure, with the decoding that the study claims something about."""
    claimed = [claim.decoding for claim in tables.claims_of(results)]
    decodings = [*claimed, *decodings_in(results.rows)]
    drawn = arrows(results, decodings[0], ood)
    return drawn and Figure("first", "Where training led", _CAPTIONS["first"], *_drawn(drawn))


def _beside(folder: Path, legend: Legend) -> tuple[Figure, ...]:
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
        "compute": ("Every split over training", splits_over_compute(results, decoding)),
        "seen": ("What is done right against what is seen right", ood_against_recognition(results, decoding, ood)),
        "recognition": ("Recognition on every split over training", recognition_over_compute(results, decoding)),
    }
    return tuple(
        Figure(f"{name}-{index}", title, _CAPTIONS[name], as_json(figure), figure.layout.height)
        for index, (name, (title, figure)) in enumerate(drawn.items())
        if figure is not None and (not isinstance(wanted, list | tuple) or name in wanted)
    )


def _diverged(results: Results) -> list[str]:
    """A line for each run that diverged."""
    entries = results.meta.get("diverged")
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [f"{entry.get('arm')}, seed {entry.get('seed')}: {entry.get('why')}" for entry in found]


def _about(results: Results) -> dict[str, str]:
    """Where the numbers come from, in words; empty where `meta` does not say."""
    meta = results.meta
    seeds = meta.get("seeds") or sorted({row.seed for row in results.rows})
    versions = meta.get("versions")
    seconds = meta.get("duration_s")
    about = {
        "command": meta.get("command"),
        "seeds": ", ".join(map(str, seeds)) if isinstance(seeds, list | tuple) else seeds,
        "commit": meta.get("commit"),
        "time": meta.get("time"),
        "duration": f"{seconds / 60:.1f} minutes" if isinstance(seconds, int | float) else None,
        "machine": meta.get("machine"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else versions,
    }
    return {name: "" if value is None else str(value) for name, value in about.items()}


def _split_descriptions(results: Results) -> dict[str, str]:
    described = results.meta.get("splits")
    known = described if isinstance(described, dict) else {}
    return {split: str(known[split]) for split in splits_in(results.rows) if split in known}


def _range(numbers: Iterable[int]) -> str:
    values = sorted(set(numbers))
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def as_json(figure: go.Figure) -> Markup:
    """Plotly's JSON without any character that could end the element it stands in."""
    return _inert(figure.to_json(engine="json"))


def safe_json(content: object) -> Markup:
    """JSON without any character that could end the element it stands in."""
    return _inert(json.dumps(content, separators=(",", ":"), allow_nan=False))


def _inert(text: str) -> Markup:
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _csp_hash(script: str) -> str:
    """The name by which a content security policy allows an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _typeset(number: str) -> str:
    """A number with a true minus sign."""
    return number.replace("-", "\u2212")


def _in_words(interval: str) -> str:
    """ "[-3.0, 1.0]" as it stands in a sentence."""
    return _typeset(interval.strip("[]").replace(", ", " to "))
