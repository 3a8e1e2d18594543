"""Pixels of a picture's file."""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import dicom
from .files import FilePath, read_whole, refusal, shown

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 2**24

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
_ALLOWED = "PNG, JPEG, BMP, WebP, TIFF and DICOM files"
_GRAY, _DEEP = ("L", "1"), ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_COLORS = ("RGB", "RGBX", "P", "CMYK", "YCbCr")
_PNG_END = b"IEND\xaeB`\x82"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TILE = (322, 323)  # TIFF's tags of a tile's width and length
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, OverflowError, LookupError, TypeError, struct.error, zlib.error)


def read_image(path: FilePath) -> np.ndarray:
    """The pixels as they are meant to be seen, uint8 [height, width, 1 or 3], of a PNG, JPEG, BMP, WebP, TIFF or DICOM file.

    Turned as EXIF says. What is transparent is laid over white. Black-and-white and gray pictures have one channel; palettes
    and CMYK become RGB, without their color profile. Of 16 bits the upper 8 are kept, so that 65535 is 255. Of DICOM, what
    its window shows, as in `dicom`. Files of several pictures are refused, but for the previews in a camera's JPEG, of which
    the first picture is read.

    Raises: UntrustedFileError, for more than MAX_PIXELS before any pixel is decoded.
    """
    data = read_whole(path, MAX_FILE_BYTES)
    if dicom.is_dicom(data):
        return dicom.pixels_of(path, data, MAX_PIXELS, lambda frame: _decoded(path, frame, ("JPEG",)))
    return _decoded(path, data, _FORMATS)


def _decoded(path: FilePath, data: bytes, formats: tuple[str, ...]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes refused below, or of metadata that nobody reads
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                _check(path, image, data)
                pixels = _seen(image)
        except Image.DecompressionBombError as error:
            raise refusal(path, f"a bomb ({shown(str(error))})", f"at most {MAX_PIXELS} pixels") from error
        except UnidentifiedImageError as error:
            raise refusal(path, "no image of a known kind", _ALLOWED) from error
        except _BROKEN as error:
            raise refusal(path, f"no whole image ({shown(str(error))})", _ALLOWED) from error
    return pixels.reshape(*pixels.shape[:2], -1)


def _check(path: FilePath, image: Image.Image, data: bytes) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS or _tile(image) > MAX_PIXELS:
        raise refusal(path, f"{width} x {height} pixels, or tiles of more", f"at most {MAX_PIXELS}")
    frames = _frames(image)
    if frames != 1:
        raise refusal(path, f"{image.format} with {frames} frames or more", "files of one picture")
    if image.mode not in (*_GRAY, *_DEEP, *_ALPHA, *_COLORS):
        raise refusal(
            path, f"colors of mode {image.mode}", "gray, RGB, CMYK or a palette, of 8 bits, or 16 bits of gray"
        )
    if image.format == "PNG" and _PNG_END not in data:
        raise refusal(path, "a PNG without its end", "whole files")


def _tile(image: Image.Image) -> int:
    """Pixels in a tile of a TIFF, for which its decoder takes memory at once."""
    tags = getattr(image, "tag_v2", {})
    width, length = (int(tags.get(tag, 1)) for tag in _TILE)
    return width * length


def _frames(image: Image.Image) -> int:
    """Pictures in the file, 2 meaning two or more in a TIFF: to count them takes long where there are millions."""
    if image.format == "MPO":
        return 1
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1)
    try:
        image.seek(1)
    except EOFError:
        return 1
    return 2


def _seen(image: Image.Image) -> np.ndarray:
    """The pixels, of a picture whose size and mode were found sound."""
    image.load()  # of a TIFF, turned already
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    turned = image if turn is None else image.transpose(turn)
    if turned.mode in _DEEP:
        return (np.array(turned) >> 8).astype(np.uint8)
    gray = turned.mode in (*_GRAY, "LA", "La")
    if turned.mode in _ALPHA or "transparency" in turned.info:
        straight = turned.convert({"La": "LA", "RGBa": "RGBA"}.get(turned.mode, turned.mode)).convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", straight.size, "white"), straight)
    return np.array(turned.convert("L" if gray else "RGB"), dtype=np.uint8)
