"""Pictures of hands of cards: our own drawings, the same to the last bit on every machine.

    from ruleshift.tasks.generalpoints.pictures import draw, look
    pixels = draw(deal("id", 0, 7).cards, look("id", 0, 7), 224)  # (224, 224, 3), uint8

`looks` draws the factors of a picture from ranges that are data (`LOOKS`); `styles` holds what the factors can be.
Glyphs (`ranks`, `suits`, `courts`) are paths written for this package and under its licence; no font and no card art is
used. `paths` turns them into polygons and `raster` into pixels. `cards` and `tables` make the parts of a picture,
`layout` says where they lie, and `drawing` puts them together; `kept` holds the parts, so that most pictures are only
put together.
"""

from ruleshift.tasks.generalpoints.pictures.drawing import draw
from ruleshift.tasks.generalpoints.pictures.looks import LOOKS, Look, LookRule, look, look_of

__all__ = ["LOOKS", "Look", "LookRule", "draw", "look", "look_of"]
