"""One offline HTML page about a study: numbers, figures, whole conversations.

What models wrote is untrusted. The template escapes every value, figures travel as JSON that cannot end a script
element, and the page's own policy (CSP) lets nothing load from anywhere and no script run but its two, known by hash.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.comparison import Comparison
from ruleshift.files import write_atomically
from ruleshift.records import Episode
from ruleshift.report import tables
from ruleshift.report.about import about_of, described_splits, diverged, published, spread
from ruleshift.report.arms import legend_of, trained_split
from ruleshift.report.inert import csp_hash, interval_in_words, safe_json, typeset
from ruleshift.report.library import Library, library_in_memory
from ruleshift.report.measures import meaning
from ruleshift.report.palette import FONT, arm_styles
from ruleshift.report.plots import OOD
from ruleshift.report.points import decodings_in, turns_label
from ruleshift.report.sections import (
    first_figure,
    further_figures,
    numbers_of,
    section_of,
    training_figure,
    verification_figure,
)
from ruleshift.report.training import Curves
from ruleshift.results import Results

NO_CURVES: Curves = {}
PLOTLY = "plotly-cartesian.min.js"  # a third of the whole: npm's plotly.js-cartesian-dist-min


@dataclass(frozen=True)
class Shelf:
    """The episodes that a page holds, `shown` of `total`: their index, and in chunks, packed, their content and the
    maps of the first ones. A page that is served asks for each episode instead, and has no chunks. `shows` says whether
    there are pictures or maps."""

    index: Markup
    chunks: tuple[str, ...]
    maps: tuple[str, ...]
    shows: bool
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
    conversations by arm (any label), shown in the order given; `folder` is where further files of
    the study lie, if any, which have figures of their own.

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
    return {
        "title": results.meta.get("title"),
        "about": about_of(results),
        "claims": [asdict(claim) for claim in tables.claims_of(results)],
        "tables": [
            {"title": title, "decoding": decoding, "rows": rows}
            for decoding in decodings_in(results.rows)
            for title, rows in numbers_of(results, comparisons, decoding).records()
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
    environment.filters |= {"typeset": typeset, "in_words": interval_in_words, "turns": turns_label}
    environment.filters |= {"meaning": meaning, "as_json": safe_json, "csp_hash": csp_hash}
    return environment.get_template("page.html").render(
        title=results.meta.get("title", f"What post-training taught on {task}"),
        task=task,
        about=about_of(results),
        legend=legend,
        claims=[
            (claim, tables.endpoint_in_words(claim), tables.signed(claim.difference), tables.interval_of(claim))
            for claim in tables.claims_of(results)
        ],
        trained=legend.trained(),
        diverged=diverged(results),
        models=len({(row.arm, row.seed, row.step) for row in results.rows if row.arm in legend.names}),
        problems=spread(row.n for row in results.rows),
        sections=[section_of(results, comparisons, decoding, ood) for decoding in decodings_in(results.rows)],
        ood=ood,
        colours={arm: style.colour for arm, style in arm_styles(legend).items()},
        splits=described_splits(results),
        beside=further_figures(folder, legend) if folder else (),
        training=training_figure(curves, results),
        published=published(results),
        library=_shelf(library, served),
        served=served,
        trained_on=trained_split(results),
        first=first_figure(results, ood),
        verification=verification_figure(library, results, ood),
        font=Markup(FONT),
        style=Markup(_web("*.css")),
        plotly=Markup(plotly()),
        script=Markup('"use strict";\n' + _web("*.js")),
    )


def _shelf(library: Library, served: bool) -> Shelf | None:
    if not len(library):
        return None
    if served:
        return Shelf(Markup("null"), (), (), library.shows, len(library), len(library))
    part, chunks = library.part().chunks()
    return Shelf(safe_json(part.index()), tuple(chunks), tuple(part.maps()), part.shows, len(part), len(library))


@cache
def plotly() -> str:
    """The script that draws figures."""
    return files("ruleshift.report").joinpath("bundled", PLOTLY).read_text(encoding="utf-8")


@cache
def _web(pattern: str) -> str:
    """The parts of the page of one kind, by name."""
    parts = [part for part in files("ruleshift.report").joinpath("web").iterdir() if fnmatch(part.name, pattern)]
    return "\n".join(part.read_text(encoding="utf-8") for part in sorted(parts, key=lambda part: part.name))


def _only_task(results: Results) -> str:
    tasks = sorted({row.task for row in results.rows})
    if not tasks:
        raise RuleshiftError("no report: the results hold no rows; run the study first.")
    if len(tasks) > 1:
        raise RuleshiftError(
            f"no report: the results are of several tasks ({', '.join(tasks)}); save one file for each."
        )
    return tasks[0]
