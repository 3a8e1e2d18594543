"""Pixels of a PNG or JPEG file."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from .files import FilePath, read_whole, refusal, shown

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 2**24

_PNG_END = b"IEND\xaeB`\x82"
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, OverflowError, LookupError, TypeError, struct.error, zlib.error)


def read_image(path: FilePath) -> np.ndarray:
    """The pixels as stored, uint8 [height, width, 1 or 3]; what EXIF says of orientation is not applied.

    Raises: UntrustedFileError, for more than MAX_PIXELS before any pixel is decoded.
    """
    data = read_whole(path, MAX_FILE_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes refused below, or of metadata that nobody reads
        try:
            with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
                _check(path, image, data)
                pixels = np.array(image, dtype=np.uint8)
        except Image.DecompressionBombError as error:
            raise refusal(path, f"a bomb ({shown(str(error))})", f"at most {MAX_PIXELS} pixels") from error
        except UnidentifiedImageError as error:
            raise refusal(path, "no image of a known kind", "PNG and JPEG files") from error
        except _BROKEN as error:
            raise refusal(path, f"no whole image ({shown(str(error))})", "PNG and JPEG files") from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _check(path: FilePath, image: Image.Image, data: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise refusal(path, f"{width} x {height} pixels", f"at most {MAX_PIXELS}")
    frames = getattr(image, "n_frames", 1)
    if image.format not in ("PNG", "JPEG") or frames != 1:
        raise refusal(path, f"{image.format} with {frames} frames", "PNG and JPEG with one")
    if image.mode not in ("L", "RGB"):
        raise refusal(path, f"colors of mode {image.mode}", "8-bit gray (L) or RGB")
    if image.format == "PNG" and _PNG_END not in data:
        raise refusal(path, "a PNG without its end", "whole files")
