"""Figures as files, for documents that cannot show HTML. Needs the extra `docs` and a Chrome or Chromium."""

import os
from pathlib import Path

import plotly.graph_objects as go

from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically
from ruleshift.report.plots import headline_figure
from ruleshift.results import Results

FORMATS = (".png", ".svg", ".pdf", ".jpg", ".webp")


def headline_picture(
    results: Results, path: str | os.PathLike[str], ood: str = "rule-ood", decoding: str | None = None
) -> None:
    """OOD against ID success and against KL, side by side, as a picture 1400 pixels wide and 560 high."""
    figure = headline_figure(results, decoding=decoding, ood=ood)
    if figure is None:
        raise RuleshiftError(f"no picture for {os.fspath(path)}: the results hold no trained arm on {ood} and id.")
    save_picture(figure, path, width=1400, height=560)


def save_picture(figure: go.Figure, path: str | os.PathLike[str], width: int = 1400, height: int = 560) -> None:
    """Write a figure in the format that the ending of `path` names (.png, .svg ...), whole or not at all."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise RuleshiftError(f"cannot write a picture to {os.fspath(path)}: end its name in {', '.join(FORMATS)}.")
    try:
        import kaleido
        from kaleido.errors import ChromeNotFoundError
    except ImportError as error:
        raise RuleshiftError('pictures need kaleido: pip install "ruleshift[docs]"') from error
    try:  # without MathJax, which would be fetched from the web
        options = {"format": suffix[1:], "width": width, "height": height, "scale": 1}
        content = kaleido.calc_fig_sync(figure, opts=options, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        raise RuleshiftError("pictures need Chrome or Chromium, and none was found: install one of them.") from error
    write_atomically(path, content)
