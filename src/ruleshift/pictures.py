"""Pictures as arrays and as image files."""

import io

import numpy as np
from numpy.typing import NDArray

from ruleshift.errors import RuleshiftError
from ruleshift.records import Picture

MOST_PIXELS = 1 << 26  # of an image file; Pillow warns of more than it expects and refuses twice as many


def picture_of(pixels: NDArray[np.uint8]) -> Picture:
    """A record of an array (height, width, 3) uint8. Raises ValueError for any other shape or type."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a picture is (height, width, 3) uint8, not {pixels.shape} {pixels.dtype}")
    return Picture(pixels.shape[0], pixels.shape[1], pixels.tobytes())


def pixels_of(picture: Picture) -> NDArray[np.uint8]:
    """The array (height, width, 3) uint8 of a picture, not to be written to."""
    return np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, which keeps every pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels_of(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def read_picture(data: bytes, name: str = "the picture") -> Picture:
    """The picture in a PNG or JPEG file. Raises RuleshiftError for one that is broken, of another kind or too large."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise RuleshiftError(f"{name} has more than {MOST_PIXELS:,} pixels: make it smaller")
            return picture_of(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RuleshiftError(f"{name} is not read as a PNG or JPEG picture ({error}): write it again") from error
