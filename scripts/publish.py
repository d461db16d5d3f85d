#!/usr/bin/env python3
"""Put a study's numbers, tables and figures into docs: what docs/results and the pages that are written of it show.

    python scripts/publish.py runs/horizon                 # all tasks of the study in this folder
    python scripts/publish.py runs/horizon --task virl-l   # one of them
    python scripts/publish.py --draw                       # draw what is out of date of the figures of docs/results

Then run scripts/update_readme.py. Figures carry a digest of what they show, which `update_readme.py --check` compares
with the published numbers, as far as those are there (insights.json was not always published). Drawing needs the extra
`docs` and a Chrome or Chromium.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from published import PUBLISHED, ROOT, results_in

from ruleshift.report.arms import legend_of, usual_ood
from ruleshift.report.insights import insights_in, risk_against_coverage, through_the_layers
from ruleshift.report.phase import cells_in, phase_map
from ruleshift.report.pictures import save_picture
from ruleshift.report.plots import headline_figure
from ruleshift.report.points import decodings_in
from ruleshift.report.verification import solved_within_tries
from ruleshift.results import load_results

NUMBERS = tuple(
    f"{name}.json" for name in ("results", "comparisons", "changes", "tables", "profiles", "phase", "insights")
)
SHOWS = "shows"  # the text in a picture that says what it shows
WIDTH, HEIGHT = 1400, 560


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="the folder that a study was given as --out")
    parser.add_argument("--task", help="of this task alone")
    parser.add_argument("--name", help="the folder in docs/results, where that is not the study's name")
    parser.add_argument("--draw", action="store_true", help="draw the figures that are out of date")
    arguments = parser.parse_args(words)
    if not arguments.study and not arguments.draw:
        parser.error("name the folder of a study, or give --draw")
    if arguments.study:
        found = sorted(arguments.study.glob(f"{arguments.task or '*'}/results.json"))
        if not found:
            parser.error(f"{arguments.study} holds no {arguments.task or 'TASK'}/results.json")
        for path in found:
            publish(path.parent, arguments.name)
    if arguments.draw:
        for path, figure in stale_pictures().items():
            draw(figure, path)


def publish(source: Path, name: str | None = None) -> None:
    """Copy the numbers of a task's study, with the folders of its command under runs/, and draw its figures."""
    results = load_results(source / "results.json")
    name = name or str(results.meta["study"])
    target = PUBLISHED / name / source.name
    target.mkdir(parents=True, exist_ok=True)
    there = re.compile(re.escape(f"{source.resolve().parent.parent}{os.sep}"))
    for file in NUMBERS:
        if (source / file).is_file():
            text = (source / file).read_text(encoding="utf-8")
            (target / file).write_text(there.sub("runs/", text), encoding="utf-8")
    for kind, figure in figures_of(target).items():
        draw(figure, picture_of(target, kind))
    print(f"{target}: now run scripts/update_readme.py")


def picture_of(folder: Path, kind: str = "") -> Path:
    """Where the picture of a published folder lies: docs/STUDY-TASK.png, or docs/STUDY-TASK-KIND.png."""
    return ROOT / "docs" / f"{folder.parent.name}-{folder.name}{f'-{kind}' if kind else ''}.png"


def figures_of(folder: Path) -> dict[str, go.Figure]:
    """The figures of published numbers, by kind; the first is of none."""
    results, insights = results_in(folder), insights_in(folder)
    legend = legend_of(results)
    first = headline_figure(results, ood=usual_ood(results))
    drawn = {
        "": first and first.update_layout(width=WIDTH, height=HEIGHT),
        "tries": solved_within_tries(results, decodings_in(results.rows)[-1], usual_ood(results)),
        "map": phase_map(cells_in(folder)),
        "layers": insights and through_the_layers(insights, legend),
        "risk": insights and risk_against_coverage(insights, legend),
    }
    return {kind: figure for kind, figure in drawn.items() if figure is not None}


def draw(figure: go.Figure, path: Path) -> None:
    """Draw a figure, with its digest as text in the picture."""
    save_picture(figure, path, width=WIDTH, height=int(figure.layout.height or HEIGHT))
    told = PngInfo()
    told.add_text(SHOWS, digest(figure))
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, pnginfo=told, optimize=True)


def digest(figure: go.Figure) -> str:
    """Of all that is drawn: numbers, names and colours."""
    content = json.loads(figure.to_json(engine="json"))
    content["layout"].pop("template", None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def published_folders() -> list[Path]:
    return sorted(path.parent for path in PUBLISHED.glob("*/*/results.json"))


def stale_pictures() -> dict[Path, go.Figure]:
    """Of the pictures that are there and do not show the numbers of their folder, what they should show."""
    wanted = [
        (picture_of(folder, kind), figure)
        for folder in published_folders()
        if picture_of(folder).is_file()
        for kind, figure in figures_of(folder).items()
    ]
    return {path: figure for path, figure in wanted if not path.is_file() or _shown(path) != digest(figure)}


def _shown(path: Path) -> str:
    with Image.open(path) as picture:
        return str(picture.info.get(SHOWS, ""))


if __name__ == "__main__":
    main()
