"""How figures and the page look: one colour per arm everywhere, safe for colour-blind readers (Okabe and Ito)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruleshift.report.points import family

INK, SOFT_INK, GRID = "#1f2328", "#656d76", "#e7e9ec"
FONT = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', system-ui, sans-serif"
FAMILY_COLOURS = {"base": "#4b5159", "sft": "#d55e00", "rl": "#0072b2"}
OTHER_COLOURS = ("#009e73", "#b8609a", "#b27d00", "#3d8fc0")
DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "triangle-up", "cross", "x", "pentagon")


@dataclass(frozen=True)
class ArmStyle:
    """An arm's family gives the colour; variants of it are lighter, with their own dash and symbol."""

    colour: str
    dash: str
    symbol: str
    is_variant: bool

    def transparent(self, alpha: float) -> str:
        red, green, blue = _channels(self.colour)
        return f"rgba({red},{green},{blue},{alpha:g})"


def arm_styles(arms: Sequence[str]) -> Mapping[str, ArmStyle]:
    """A style for every arm; `arms` in the order in which they are shown."""
    families = list(dict.fromkeys(family(arm) for arm in arms))
    others = [name for name in families if name not in FAMILY_COLOURS]
    colours = {name: OTHER_COLOURS[index % len(OTHER_COLOURS)] for index, name in enumerate(others)} | FAMILY_COLOURS
    styles = {}
    for arm in arms:
        variants = [name for name in arms if family(name) == family(arm) and name != family(arm)]
        index = variants.index(arm) + 1 if arm in variants else 0
        colour = _lighter(colours[family(arm)], min(0.25 + 0.12 * index, 0.6) if index else 0)
        dash, symbol = DASHES[index % len(DASHES)], SYMBOLS[index % len(SYMBOLS)]
        styles[arm] = ArmStyle(colour, dash, "diamond" if arm == "base" else symbol, index > 0)
    return styles


def layout(**changes: Any) -> dict[str, Any]:
    """The layout all figures share: white, thin grid, legend on top."""
    shared = {
        "template": "none",
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 64, "r": 24, "t": 68, "b": 60},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "itemwidth": 40},
        "hoverlabel": {"bgcolor": "white", "bordercolor": GRID, "font": {"family": FONT, "size": 12, "color": INK}},
    }
    return shared | changes


def axis(**changes: Any) -> dict[str, Any]:
    """The axis all figures share."""
    shared = {
        "gridcolor": GRID,
        "linecolor": "#b6bcc4",
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#b6bcc4",
        "tickfont": {"color": SOFT_INK, "size": 12},
        "title_font": {"size": 14},
        "title_standoff": 10,
        "nticks": 6,
    }
    return shared | changes


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _lighter(colour: str, share: float) -> str:
    """The colour mixed with white."""
    mixed = (round(channel + (255 - channel) * share) for channel in _channels(colour))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
