"""Our own jack, queen and king: the upper half of a figure, which the card shows twice, once turned.

Half a figure lives in a box from -190 to 190 and from -345 to 0, its lower side on the middle of the card. Parts are
painted in this order; each names a colour of `styles.Clothes`, or `paper`, `ink`.
"""

from dataclasses import dataclass

from ruleshift.tasks.generalpoints.pictures.paths import ellipse, rectangle

WIDTH, HEIGHT = 190, 345
EMBLEM = (-134, -280, 92)  # middle and height of the suit's emblem beside the head
LINE = 7  # width of the ink around a part


@dataclass(frozen=True)
class Area:
    """An area in one colour, with a line of ink around it (`line`)."""

    colour: str
    path: str
    line: bool = True


def _mirrored(path: str) -> str:
    """A path of absolute points, with its mirror image beside it."""
    words, is_x = [], True
    for word in path.split():
        if word.isalpha():
            words.append(word)
            is_x = True
        else:
            words.append(repr(-float(word)) if is_x else word)
            is_x = not is_x
    return f"{path} {' '.join(words)}"


FACE = (
    Area("ink", f"{_mirrored(ellipse(-18, -212, 5.5, 6))}", line=False),
    Area("ink", _mirrored("M -30 -228 C -26 -235 -12 -235 -7 -228 C -12 -231 -26 -231 -30 -228 Z"), line=False),
    Area("ink", "M -1 -212 C 2 -204 8 -196 8 -190 C 5 -186 -4 -186 -7 -189 C -3 -190 2 -189 4 -192 Z", line=False),
)
MOUTH = Area("ink", "M -14 -172 C -6 -176 6 -176 14 -172 C 6 -165 -6 -165 -14 -172 Z", line=False)
HAND = Area("skin", ellipse(132, -60, 24, 21))
ROBE = "M -178 0 L -172 -58 C -166 -104 -122 -126 -46 -142 L 46 -142 C 122 -126 166 -104 172 -58 L 178 0 Z"
SLEEVES = _mirrored("M 178 0 L 172 -58 C 168 -92 142 -112 108 -124 C 98 -84 96 -40 100 0 Z")

JACK = (
    Area("sleeve", "M 127 0 L 127 -236 L 137 -236 L 137 0 Z"),
    Area(
        "gold",
        "M 132 -326 C 150 -296 160 -276 160 -262 C 150 -250 142 -240 132 -230 C 122 -240 114 -250 104 -262 "
        "C 104 -276 114 -296 132 -326 Z",
    ),
    Area("hair", _mirrored("M 0 -252 L 60 -250 C 70 -212 76 -176 66 -152 C 52 -146 38 -150 0 -150 Z")),
    Area("robe", ROBE),
    Area("sleeve", SLEEVES),
    Area("gold", _mirrored("M 30 0 L 58 0 L 34 -138 L 14 -138 Z")),
    Area("skin", "M -20 -172 L 20 -172 L 30 -138 C 14 -120 -14 -120 -30 -138 Z"),
    Area("skin", "M -44 -236 C -48 -190 -36 -152 0 -148 C 36 -152 48 -190 44 -236 Z"),
    *FACE,
    MOUTH,
    Area("robe", "M -68 -240 C -84 -292 -40 -318 6 -312 C 58 -308 84 -276 68 -240 Z"),
    Area("gold", "M -72 -236 C -30 -246 30 -246 72 -236 L 70 -258 C 30 -268 -30 -268 -70 -258 Z"),
    Area("paper", "M -46 -262 C -84 -284 -92 -320 -70 -338 C -62 -316 -44 -300 -28 -266 Z"),
    HAND,
)

QUEEN = (
    Area("sleeve", "M 129 -60 L 129 -226 L 136 -226 L 136 -60 Z"),
    Area(
        "gold",
        "M 132 -216 C 104 -222 96 -252 104 -280 C 116 -276 122 -270 126 -262 L 132 -290 L 138 -262 "
        "C 142 -270 148 -276 160 -280 C 168 -252 160 -222 132 -216 Z",
    ),
    Area("hair", _mirrored("M 0 -268 C 40 -270 62 -246 66 -214 C 70 -176 98 -150 92 -96 C 64 -84 30 -92 0 -96 Z")),
    Area(
        "robe",
        "M -178 0 L -170 -52 C -160 -96 -112 -112 -50 -128 C -34 -86 34 -86 50 -128 C 112 -112 160 -96 170 -52 "
        "L 178 0 Z",
    ),
    Area("sleeve", _mirrored("M 178 0 L 170 -52 C 166 -82 142 -98 112 -110 C 100 -74 98 -36 102 0 Z")),
    Area("gold", "M -40 0 C -34 -46 -20 -76 0 -96 C 20 -76 34 -46 40 0 Z"),
    Area("robe", "M -18 0 C -16 -30 -8 -52 0 -64 C 8 -52 16 -30 18 0 Z"),
    Area(
        "skin",
        "M -18 -170 L 18 -170 C 20 -142 34 -134 50 -128 C 34 -86 -34 -86 -50 -128 C -34 -134 -20 -142 -18 -170 Z",
    ),
    Area(
        "gold",
        " ".join(ellipse(x, y, 6, 6) for x, y in ((-28, -121), (-15, -112), (0, -108), (15, -112), (28, -121))),
        line=False,
    ),
    Area("skin", "M -42 -240 C -46 -190 -34 -154 0 -148 C 34 -154 46 -190 42 -240 Z"),
    Area("hair", _mirrored("M 0 -250 C 12 -236 28 -228 46 -206 C 54 -230 44 -254 0 -258 Z")),
    *FACE,
    MOUTH,
    Area(
        "gold",
        "M -50 -250 L -64 -300 L -36 -280 L -22 -318 L 0 -286 L 22 -318 L 36 -280 L 64 -300 L 50 -250 "
        "C 24 -262 -24 -262 -50 -250 Z",
    ),
    Area("paper", " ".join(ellipse(x, y, 8, 8) for x, y in ((-64, -304), (-22, -324), (22, -324), (64, -304)))),
    HAND,
)

KING = (
    Area("paper", "M 122 -60 L 122 -296 L 132 -326 L 142 -296 L 142 -60 Z"),
    Area("hair", _mirrored("M 0 -250 L 54 -250 C 60 -206 66 -180 80 -160 C 70 -142 40 -140 0 -140 Z")),
    Area("robe", ROBE),
    Area("sleeve", SLEEVES),
    Area("paper", _mirrored("M 0 -86 L 40 -140 L 78 -134 C 62 -92 58 -46 60 0 L 32 0 C 32 -34 22 -66 0 -86 Z")),
    Area(
        "ink",
        " ".join(ellipse(x * side, y, 4, 7) for side in (1, -1) for x, y in ((50, -116), (46, -78), (44, -36))),
        line=False,
    ),
    Area("skin", "M -44 -244 C -48 -190 -36 -152 0 -148 C 36 -152 48 -190 44 -244 Z"),
    Area("hair", _mirrored("M 0 -180 C 16 -190 32 -186 48 -216 C 56 -150 34 -112 0 -92 Z")),
    Area("skin", "M -14 -166 C -6 -170 6 -170 14 -166 C 6 -158 -6 -158 -14 -166 Z", line=False),
    *FACE,
    Area(
        "gold",
        "M -54 -244 L -70 -318 L -38 -288 L -24 -330 L 0 -296 L 24 -330 L 38 -288 L 70 -318 L 54 -244 "
        "C 24 -254 -24 -254 -54 -244 Z",
    ),
    Area("robe", _mirrored("M 0 -250 C 24 -250 40 -248 54 -244 L 58 -262 C 40 -267 24 -269 0 -269 Z"), line=False),
    Area("gold", rectangle(98, -92, 166, -78)),
    HAND,
)

COURTS = {"J": JACK, "Q": QUEEN, "K": KING}
