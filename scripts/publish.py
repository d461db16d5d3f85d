#!/usr/bin/env python3
"""Put a study's numbers, tables and figures into docs: what docs/results and the pages that are written of it show.

    python scripts/publish.py runs/horizon                 # all tasks of the study in this folder
    python scripts/publish.py runs/horizon --task virl-l   # one of them
    python scripts/publish.py --draw                       # draw what is out of date of the figures of docs/results

Then run scripts/update_readme.py. Each study has a first figure and those that its file names (`Study.pictures`), all
drawn of published numbers. They carry a digest of what they show, which `update_readme.py --check` compares with these;
it also tells of figures that cannot be drawn, unless `note.md` beside the numbers names them (`layers`), with the
reason. What is in note.md stands on the page of the study. Drawing needs the extra `docs` and a Chrome or Chromium.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from published import PUBLISHED, ROOT, results_in

from ruleshift.report.pictures import save_picture
from ruleshift.report.plots import headline_figure
from ruleshift.results import load_results
from ruleshift.studies import STUDIES
from ruleshift.studies.study import Study

NUMBERS = ("results.json", "comparisons.json", "tables.json", "profiles.json", "insights.json")  # and those of a study
NOTE = "note.md"  # beside them: what they do not tell
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
        publish(*(path.parent for path in found), name=arguments.name)
    if arguments.draw:
        for path, figure in stale_pictures(drawn()).items():
            draw(figure, path)


def publish(*sources: Path, name: str | None = None) -> None:
    """Copy the numbers of a study on each task (or from each start model), then draw: some figures are of several."""
    targets = [copy(source, name) for source in sources]
    for target in targets:
        for kind, figure in figures_of(target).items():
            if figure is not None:
                draw(figure, picture_of(target, kind))
        print(f"{target}: now run scripts/update_readme.py")


def copy(source: Path, name: str | None = None) -> Path:
    """Copy the numbers of one, with the folders of its command under runs/. Returns where they are now."""
    results = load_results(source / "results.json")
    name = name or str(results.meta["study"])
    target = PUBLISHED / name / source.name
    target.mkdir(parents=True, exist_ok=True)
    there = re.compile(re.escape(f"{source.resolve().parent.parent}{os.sep}"))
    for file in (*NUMBERS, *study_of(source).files):
        if (source / file).is_file():
            text = (source / file).read_text(encoding="utf-8")
            (target / file).write_text(there.sub("runs/", text), encoding="utf-8")
    return target


def picture_of(folder: Path, kind: str = "") -> Path:
    """Where the picture of a published folder lies: docs/STUDY-TASK.png, or docs/STUDY-TASK-KIND.png."""
    return ROOT / "docs" / f"{folder.parent.name}-{folder.name}{f'-{kind}' if kind else ''}.png"


def study_of(folder: Path) -> Study:
    """The study whose results are in a folder, whatever that is called."""
    return STUDIES[results_in(folder).meta["study"]]


def pictures_of(folder: Path) -> list[Path]:
    """Where the pictures lie that a published folder should have."""
    return [picture_of(folder, kind) for kind in ("", *study_of(folder).pictures)]


def figures_of(folder: Path) -> dict[str, go.Figure | None]:
    """The figures of published numbers, by kind, the first of none; None where these do not tell it."""
    results = results_in(folder)
    first = headline_figure(results)
    further = {kind: drawn(results, folder) for kind, drawn in study_of(folder).pictures.items()}
    return {"": first and first.update_layout(width=WIDTH, height=HEIGHT), **further}


def note_of(folder: Path) -> str:
    path = folder / NOTE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


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


Figures = Mapping[Path, Mapping[str, go.Figure | None]]  # by folder and kind


def drawn() -> Figures:
    """The figures of all that is published."""
    return {folder: figures_of(folder) for folder in published_folders()}


def stale_pictures(figures: Figures) -> dict[Path, go.Figure]:
    """Of the pictures that can be drawn and do not show the numbers of their folder, what they should show."""
    wanted = [(picture_of(folder, kind), f) for folder, kinds in figures.items() for kind, f in kinds.items()]
    return {path: f for path, f in wanted if f is not None and (not path.is_file() or _shown(path) != digest(f))}


def faults(figures: Figures) -> list[str]:
    """What is wrong with pictures that cannot be drawn, in words: one is there all the same, or no note says why it is
    not, or one says so of a picture that can be drawn."""
    found = []
    for folder, kinds in figures.items():
        note = note_of(folder)
        for kind, figure in kinds.items():
            path, said = picture_of(folder, kind), f"`{kind}`" in note
            if figure is None and path.is_file():
                found.append(f"{_in_root(path)} shows numbers that are not published: delete it")
            if figure is None and not said:
                told = f"publish it again, or say in its {NOTE} why `{kind}` is not there"
                found.append(f"{_in_root(path)} cannot be drawn of {_in_root(folder)}: {told}")
            if figure is not None and kind and said:
                found.append(f"{_in_root(folder / NOTE)} says that {_in_root(path)} is not there: it can be drawn")
    return found


def _in_root(path: Path) -> Path:
    return path.relative_to(ROOT)


def _shown(path: Path) -> str:
    with Image.open(path) as picture:
        return str(picture.info.get(SHOWS, ""))


if __name__ == "__main__":
    main()
