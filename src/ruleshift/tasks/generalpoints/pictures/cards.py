"""One card face, from its drawing to pixels ready to be laid on a table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ruleshift.tasks.generalpoints.pictures.blur import blurred, steps_for
from ruleshift.tasks.generalpoints.pictures.courts import COURTS, EMBLEM, HEIGHT, LINE, WIDTH
from ruleshift.tasks.generalpoints.pictures.paths import Pen, Shape, outline, place, rectangle, stroke
from ruleshift.tasks.generalpoints.pictures.ranks import write
from ruleshift.tasks.generalpoints.pictures.raster import TURN, Mask, Viewport, coverage, turn
from ruleshift.tasks.generalpoints.pictures.styles import CardStyle, Colour
from ruleshift.tasks.generalpoints.pictures.suits import emblem

WIDE, HIGH = 630, 880  # a card in tenths of a millimetre
MARGIN = 18  # the least distance of a rank from the side
FRAME = 10  # and farther from it within a frame
TOP_PIPS = 168  # the height of the top row of pips
LEAST_INDEX = 9  # pixels that the ranks in the corners are high, but for
LARGEST_INDEX = 190
SOFTNESS = 45  # width of the edge of a shadow, in thousandths of the card's width

Pixels = NDArray[np.uint16]  # (H, 3 W)

PIPS = {
    "2": ((0, 0), (0, 12)),
    "3": ((0, 0), (0, 6), (0, 12)),
    "4": ((-1, 0), (1, 0), (-1, 12), (1, 12)),
    "5": ((-1, 0), (1, 0), (0, 6), (-1, 12), (1, 12)),
    "6": ((-1, 0), (1, 0), (-1, 6), (1, 6), (-1, 12), (1, 12)),
    "7": ((-1, 0), (1, 0), (0, 3), (-1, 6), (1, 6), (-1, 12), (1, 12)),
    "8": ((-1, 0), (1, 0), (0, 3), (-1, 6), (1, 6), (0, 9), (-1, 12), (1, 12)),
    "9": ((-1, 0), (1, 0), (-1, 4), (1, 4), (0, 6), (-1, 8), (1, 8), (-1, 12), (1, 12)),
    "10": ((-1, 0), (1, 0), (0, 2), (-1, 4), (1, 4), (-1, 8), (1, 8), (0, 10), (-1, 12), (1, 12)),
}
"""Column and twelfths of the height between the top and the bottom row; below the middle, pips are turned."""


@dataclass(frozen=True)
class Face:
    """What is printed on a card."""

    rank: str
    emblem: str
    ink: Colour
    style: CardStyle


def layers(face: Face) -> Iterator[tuple[Shape, Colour]]:
    """Areas and their colours, in the order of painting, on a card that is covered with the colour of its edge."""
    style = face.style
    yield outline(rectangle(4, 4, WIDE - 4, HIGH - 4, style.radius - 3)), style.paper
    if style.frame:
        yield stroke(rectangle(15, 15, WIDE - 15, HIGH - 15, style.radius - 10), Pen(2.5, 2.5)), style.frame
    if face.rank in COURTS and style.centre != "rank":
        yield from _court(face)
    yield _twice(_index(face)) + _centre(face), face.ink


def legible(style: CardStyle, width: int) -> CardStyle:
    """The style for cards this many pixels wide: on small ones the corners grow, and the pips make room for them."""
    index = min(LEAST_INDEX * WIDE // width, LARGEST_INDEX)
    if index <= style.index:
        return style
    inset = max(style.inset, index // 2)
    pip = min(style.pip, 88)
    return replace(
        style,
        lettering=replace(style.lettering, feet=False, thin=max(style.lettering.thin, 12)),
        index=index,
        inset=inset,
        index_emblem=max(style.index_emblem, index * 5 // 8),
        pip=pip,
        spread=min(style.spread, WIDE // 2 - 2 * inset - pip // 2),
    )


def _twice(shape: Shape) -> Shape:
    """The shape, and itself turned around the middle of the card."""
    return shape + place(shape, WIDE, HIGH, -1, -1)


def _index(face: Face) -> Shape:
    style = face.style
    top = 34 + style.index / 2
    below = 34 + style.index + 14 + style.index_emblem / 2
    widest = 2 * (style.inset - MARGIN - (FRAME if style.frame else 0))
    rank = write(face.rank, style.lettering, style.inset, top, style.index, widest)
    return rank + _emblem(face, style.inset, below, style.index_emblem)


def _emblem(face: Face, x: float, y: float, height: float) -> Shape:
    """The suit's emblem with its middle at (x, y); turned where the height is below 0."""
    return place(emblem(face.emblem), x, y, height / 100, height / 100)


def _centre(face: Face) -> Shape:
    style, x, y = face.style, WIDE / 2, HIGH / 2
    if style.centre == "rank":
        return write(face.rank, style.lettering, x, y, 330, 300)
    if face.rank in COURTS:
        return ()
    if face.rank == "A" or style.centre == "emblem":
        return _emblem(face, x, y, 250)
    shape: Shape = ()
    for column, twelfths in PIPS[face.rank]:
        height = style.pip if twelfths <= 6 else -style.pip
        row = TOP_PIPS + (HIGH - 2 * TOP_PIPS) * twelfths / 12
        shape += _emblem(face, x + column * style.spread, row, height)
    return shape


def _court(face: Face) -> Iterator[tuple[Shape, Colour]]:
    style = face.style
    clothes = style.clothes
    colours = {"ink": face.ink, "paper": style.paper, "robe": clothes.robe or face.ink}
    colours |= {"sleeve": clothes.sleeve, "gold": clothes.gold, "hair": clothes.hair, "skin": clothes.skin}
    half = WIDE / 2 - max(2 * style.inset - MARGIN + 6, 124)
    across, down = half / WIDTH, 0.96
    for part in COURTS[face.rank]:
        yield _both(outline(part.path), across, down), colours[part.colour]
        if part.line:
            yield _both(stroke(part.path, Pen(LINE / 2, LINE / 2)), across, down), face.ink
    x, y, size = EMBLEM
    yield _both(place(emblem(face.emblem), x, y, size / 100 / across * down, size / 100), across, down), face.ink
    frame = rectangle(WIDE / 2 - half, HIGH / 2 - HEIGHT * down, WIDE / 2 + half, HIGH / 2 + HEIGHT * down)
    yield stroke(frame, Pen(2.5, 2.5)), face.ink


def _both(half: Shape, across: float, down: float) -> Shape:
    return _twice(place(half, WIDE / 2, HIGH / 2, across, down))


def turned_size(width: int, angle: int) -> tuple[int, int]:
    """Height and width in pixels of the box around a card of this width, turned by whole degrees."""
    cosine, sine = map(abs, turn(angle))
    height = width * HIGH // WIDE
    return (height * cosine + width * sine) // TURN + 2, (width * cosine + height * sine) // TURN + 2


def bake(face: Face, width: int, angle: int) -> Pixels:
    """A card `width` pixels wide, turned clockwise by whole degrees: (H, 3 W), colours times how much of each pixel the
    card covers (0..256), and a half to round with. Laid on others: (below * `left_over` + this) / 256."""
    view = _view(width, angle)
    colour = np.empty((3, view.height, view.width), np.uint32)
    colour[:] = _channels(face.style.edge)
    for shape, ink in layers(replace(face, style=legible(face.style, width))):
        mask, top, left = coverage(shape, view)
        box = colour[:, top : top + mask.shape[0], left : left + mask.shape[1]]
        share = mask.astype(np.uint32)
        box[:] = (box * (256 - share) + _channels(ink) * share + 128) >> 8
    covered = silhouette(face.style.radius, width, angle)
    return _flat(colour * covered.astype(np.uint32) + 128)


def _view(width: int, angle: int) -> Viewport:
    return Viewport(*turned_size(width, angle), (width, WIDE), angle, (WIDE // 2, HIGH // 2))


def _channels(colour: Colour) -> NDArray[np.uint32]:
    return np.array(colour, np.uint32).reshape(3, 1, 1)


def _flat(pixels: NDArray[np.uint32]) -> Pixels:
    """(3, H, W) to (H, 3 W), the channels of a pixel side by side."""
    return np.moveaxis(pixels, 0, 2).astype(np.uint16).reshape(pixels.shape[1], -1)


def silhouette(radius: int, width: int, angle: int) -> Mask:
    """How much of each pixel of its box a card covers, (H, W), 0..256."""
    view = _view(width, angle)
    mask, top, left = coverage(outline(rectangle(0, 0, WIDE, HIGH, radius)), view)
    full = np.zeros((view.height, view.width), np.uint16)
    full[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return full


def left_over(radius: int, width: int, angle: int) -> Pixels:
    """What a card leaves of each pixel below its box, (H, 3 W), 0..256."""
    return np.repeat(256 - silhouette(radius, width, angle), 3, axis=1)


def shadow(radius: int, width: int, angle: int, depth: int) -> Pixels:
    """What a card's soft shadow leaves of each pixel, (H, 3 W), 0..256. Its box is wider by `shadow_rim` all around."""
    mask = np.pad(silhouette(radius, width, angle), shadow_rim(width))
    keep = 256 - (blurred(mask, steps_for(SOFTNESS, width), 1) * depth >> 8)
    return np.repeat(keep, 3, axis=1)


def shadow_rim(width: int) -> int:
    """How many pixels a shadow reaches beyond its card on each side."""
    return 2 << steps_for(SOFTNESS, width)
