#!/usr/bin/env python3
"""Put a study's numbers, tables and figures into docs: what docs/results and the pages that are written of it show.

    python scripts/publish.py runs/horizon                 # all tasks of the study in this folder
    python scripts/publish.py runs/horizon --task virl-l   # one of them
    python scripts/publish.py --draw                       # draw the figures of docs/results anew, of those out of date

Then run scripts/update_readme.py. Each figure carries a digest of what it shows, which `update_readme.py --check`
compares with the numbers. Drawing needs the extra `docs` and a Chrome or Chromium.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterator
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

NUMBERS = ("results.json", "comparisons.json", "changes.json", "tables.json", "phase.json")
SHOWS = "shows"  # the text in a picture that says what it shows
WIDTH, HEIGHT = 1400, 560


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", help="the folder that a study was given as --out")
    parser.add_argument("--task", help="of this task alone")
    parser.add_argument("--name", help="the folder in docs/results, where that is not the study's name")
    parser.add_argument("--draw", action="store_true", help="draw the figures that are out of date")
    arguments = parser.parse_args()
    if arguments.study:
        for path in sorted(arguments.study.glob(f"{arguments.task or '*'}/results.json")):
            publish(path.parent, arguments.name)
    if arguments.draw:
        for path in stale_pictures():
            draw(headline_of(path), path)


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
    draw(headline_of(picture_of(target)), picture_of(target))
    for kind, figure in further_figures(source):
        draw(figure, picture_of(target, kind))
    print(f"{target}: now run scripts/update_readme.py")


def picture_of(folder: Path, kind: str = "") -> Path:
    """Where the picture of a published folder lies: docs/STUDY-TASK.png, or docs/STUDY-TASK-KIND.png."""
    return ROOT / "docs" / f"{folder.parent.name}-{folder.name}{f'-{kind}' if kind else ''}.png"


def headline_of(picture: Path) -> go.Figure:
    """What the first picture of a published folder shows."""
    folder = next(path for path in published_folders() if picture_of(path) == picture)
    results = results_in(folder)
    figure = headline_figure(results, ood=usual_ood(results))
    assert figure is not None, f"{folder} holds no trained arm"
    return figure.update_layout(width=WIDTH, height=HEIGHT)


def further_figures(source: Path) -> Iterator[tuple[str, go.Figure]]:
    """The other figures of a study, of files that lie in its own folder alone."""
    results = load_results(source / "results.json")
    legend, ood, insights = legend_of(results), usual_ood(results), insights_in(source)
    yield "tries", solved_within_tries(results, decodings_in(results.rows)[-1], ood)
    yield "map", phase_map(cells_in(source))
    if insights is not None:
        yield "layers", through_the_layers(insights, legend)
        yield "risk", risk_against_coverage(insights, legend)


def draw(figure: go.Figure | None, path: Path) -> None:
    """Draw a figure, with its digest as text in the picture; nothing where there is none."""
    if figure is None:
        return
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


def stale_pictures() -> list[Path]:
    """The first pictures that are there and do not show the numbers of their folder."""
    return [
        path
        for path in map(picture_of, published_folders())
        if path.is_file() and Image.open(path).info.get(SHOWS) != digest(headline_of(path))
    ]


if __name__ == "__main__":
    main()
