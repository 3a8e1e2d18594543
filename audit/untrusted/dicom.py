"""Pixels of a DICOM file, where pydicom is installed.

Gray: stored values are rescaled by slope and intercept; then the first window of the file maps to 0 ... 255 (PS3.3 C.11.2),
or, where it has none, the whole range that its stored bits can hold. MONOCHROME1, in which high values are dark, is inverted.
Colors are RGB of 8 bits. Pixels lie there as they are, or as one JPEG of 8 bits.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .files import FilePath, UntrustedFileError, refusal, shown

INSTALL = "DICOM where pydicom is installed: pip install 'seethrough[dicom]'"

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_JPEG = "1.2.840.10008.1.2.4.50"
_PLAIN = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.2": ">"}
_GRAY = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(data: bytes) -> bool:
    """Whether the file says that it is one."""
    return data[128:132] == b"DICM"


def pixels_of(path: FilePath, data: bytes, max_pixels: int, decoded: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """The pixels of the one picture in the file, uint8 [height, width, 1 or 3]; `decoded` reads a JPEG.

    Raises: UntrustedFileError.
    """
    if _DEFLATED in data:  # pydicom would inflate it whatever its size
        raise refusal(path, "a deflated DICOM file", "pixels as they are, or as one JPEG of 8 bits")
    try:
        import pydicom
    except ImportError as error:
        raise refusal(path, "a DICOM file", INSTALL) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that nobody reads
        try:
            return _pixels(path, pydicom.dcmread(io.BytesIO(data)), max_pixels, decoded)
        except UntrustedFileError:
            raise
        except Exception as error:  # pydicom raises whatever its parser meets
            raise refusal(path, f"a damaged DICOM file ({shown(str(error))})", "DICOM files of one picture") from error


def _pixels(path: FilePath, told: Any, max_pixels: int, decoded: Callable[[bytes], np.ndarray]) -> np.ndarray:
    height, width, samples = int(told.Rows), int(told.Columns), int(told.get("SamplesPerPixel", 1))
    kind, frames = str(told.PhotometricInterpretation), int(told.get("NumberOfFrames", None) or 1)
    syntax = str(told.file_meta.TransferSyntaxUID)
    if not 0 < height * width <= max_pixels or frames != 1:
        raise refusal(path, f"{frames} frames of {width} x {height} pixels", f"one of at most {max_pixels}")
    packed = syntax == _JPEG
    if not packed and syntax not in _PLAIN:
        allowed = "pixels as they are, or as one JPEG of 8 bits (dcmdjpeg and gdcmconv --raw unpack others)"
        raise refusal(path, f"pixels packed by {shown(syntax)}", allowed)
    if (samples, kind) not in {*((1, gray) for gray in _GRAY), (3, "RGB")} and not (packed and samples == 3):
        raise refusal(
            path, f"{samples} values a pixel of {shown(kind)}", f"one of {' or '.join(_GRAY)}, or three of RGB"
        )
    if "ModalityLUTSequence" in told:
        raise refusal(path, "values that a table translates", "values with a slope and an intercept")
    if packed:
        stored = decoded(_one_frame(told.PixelData))
        if stored.shape != (height, width, samples):
            raise refusal(
                path, f"a JPEG of shape {list(stored.shape)}", f"[{height}, {width}, {samples}], as is claimed"
            )
    else:
        stored = _plain(path, told, (height, width, samples), _PLAIN[syntax])
    return _windowed(path, told, stored, kind) if samples == 1 else stored.astype(np.uint8)


def _one_frame(data: bytes) -> bytes:
    from pydicom.encaps import generate_frames

    return next(generate_frames(data, number_of_frames=1))


def _plain(path: FilePath, told: Any, shape: tuple[int, int, int], order: str) -> np.ndarray:
    """The stored values, [height, width, samples], without what stands in bits that are not theirs."""
    height, width, samples = shape
    allocated, bits, signed = int(told.BitsAllocated), _bits(told), _signed(told)
    size = height * width * samples * allocated // 8
    if allocated not in ((8, 16) if samples == 1 else (8,)) or not 0 < bits <= allocated or len(told.PixelData) < size:
        found = f"{bits} of {allocated} bits a value, {len(told.PixelData)} bytes for {width} x {height} pixels"
        raise refusal(path, found, "8 or 16 bits of gray, or 8 of a color, for each pixel")
    flat = np.frombuffer(told.PixelData[:size], f"{order}{'i' if signed else 'u'}{allocated // 8}").astype(np.int32)
    flat &= 2**bits - 1
    if signed:
        flat -= (flat >> (bits - 1)) << bits
    if samples == 3 and int(told.get("PlanarConfiguration", 0)):
        return flat.reshape(samples, height, width).transpose(1, 2, 0)
    return flat.reshape(shape)


def _windowed(path: FilePath, told: Any, stored: np.ndarray, kind: str) -> np.ndarray:
    slope, intercept = _number(told, "RescaleSlope", 1.0), _number(told, "RescaleIntercept", 0.0)
    values = stored * slope + intercept
    center, width = _number(told, "WindowCenter", np.nan), _number(told, "WindowWidth", np.nan)
    function = str(told.get("VOILUTFunction", None) or "LINEAR")
    if np.isnan(center) or np.isnan(width):
        least = -(2 ** (_bits(told) - 1)) if _signed(told) else 0
        ends = np.array([least, least + 2 ** _bits(told) - 1]) * slope + intercept
        low, high = ends.min(), ends.max()
    elif function == "LINEAR" and width >= 1:
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    elif function == "LINEAR_EXACT" and width > 0:
        low, high = center - width / 2, center + width / 2
    else:
        raise refusal(path, f"a window {shown(function)} of width {width}", "LINEAR or LINEAR_EXACT ones with a width")
    if not np.isfinite([slope, intercept, low, high]).all():
        raise refusal(path, "a slope, an intercept or a window that is not finite", "finite ones")
    # a window of width 1 is a threshold, as the standard has it
    share = (values > low).astype(np.float64) if high <= low else ((values - low) / (high - low)).clip(0, 1)
    gray = np.rint(share * 255).astype(np.uint8)
    return 255 - gray if kind == "MONOCHROME1" else gray


def _bits(told: Any) -> int:
    return int(told.get("BitsStored", told.BitsAllocated))


def _signed(told: Any) -> bool:
    return bool(int(told.get("PixelRepresentation", 0)))


def _number(told: Any, name: str, default: float) -> float:
    """The value of that name, the first where there are several."""
    value = told.get(name, None)
    if value is None or value == "":
        return default
    return float(value if isinstance(value, int | float | str) else value[0])
