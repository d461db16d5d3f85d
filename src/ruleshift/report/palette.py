"""How figures and the page look: one colour per arm everywhere, the first six safe for colour-blind readers (Okabe
and Ito); of more arms names stand beside the points."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruleshift.report.arms import Legend

INK, SOFT_INK, GRID = "#1f2328", "#656d76", "#e7e9ec"
FONT = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', system-ui, sans-serif"
START_COLOUR = "#4b5159"
COLOURS = (  # of trained arms, in their order
    *("#d55e00", "#0072b2", "#009e73", "#b8609a", "#b27d00", "#3d8fc0"),
    *("#8672c4", "#7a8500", "#a87045", "#d6336c", "#758694"),
)
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


def arm_styles(legend: Legend) -> Mapping[str, ArmStyle]:
    """A style for every arm, the same in all figures: variants share the colour of their family, and of more families
    than there are colours the further ones have a symbol of their own."""
    families = [name for name in legend.families() if name != legend.start]
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(families)}
    symbols = {name: SYMBOLS[(index // len(COLOURS)) % len(SYMBOLS)] for index, name in enumerate(families)}
    styles, variants = {}, dict.fromkeys(families, 0)
    for arm in legend.names:
        family = legend.family(arm)
        if arm == legend.start:
            styles[arm] = ArmStyle(START_COLOUR, DASHES[0], "diamond", False)
            continue
        variants[family] += legend.is_variant(arm)
        index = variants[family] if legend.is_variant(arm) else 0
        colour = _lighter(colours[family], min(0.25 + 0.12 * index, 0.6) if index else 0)
        symbol = SYMBOLS[index % len(SYMBOLS)] if index else symbols[family]
        styles[arm] = ArmStyle(colour, DASHES[index % len(DASHES)], symbol, index > 0)
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
