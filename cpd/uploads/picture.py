"""One image, decoded once to see that it can be, within limits that are read off its header first."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from cpd.errors import DataError
from cpd.uploads import limits

# What Pillow calls the formats that we take -> the ending that we write. None of them needs another program.
SUFFIXES = {
    "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "GIF": ".gif", "PPM": ".ppm",
    WebPImagePlugin.WebPImageFile.format: ".webp", TiffImagePlugin.TiffImageFile.format: ".tif",
}  # fmt: skip
_OPENED = [name for name in SUFFIXES if name != "MPO"]  # a JPEG of several pictures: its reader finds out by itself
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)  # fmt: skip  Pillow's readers let through whatever a forged header makes them stumble over


def check_picture(data: bytes) -> str:
    """The ending that fits the image's true format.

    Raises:
        DataError: without the image's name: no image, damaged, or too large.
    """
    if not data:
        raise DataError("is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; sizes are checked below
            with Image.open(io.BytesIO(data), formats=_OPENED) as image:
                width, height = image.size
                if width * height > limits.PIXELS or max(width, height) > limits.SIDE:
                    raise DataError(f"has {width:,} x {height:,} pixels; at most {limits.PIXELS // 1_000_000} million are taken.")  # fmt: skip
                image.load()
                return SUFFIXES[image.format or ""]
    except UnidentifiedImageError as error:
        raise DataError("is no image of a kind that is taken (JPEG, PNG, BMP, WebP, TIFF, GIF, PPM).") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"has more pixels than the {limits.PIXELS // 1_000_000} million that are taken at most."
        ) from error
    except _BROKEN as error:
        raise DataError(f"cannot be decoded ({str(error)[:100] or type(error).__name__}).") from error
