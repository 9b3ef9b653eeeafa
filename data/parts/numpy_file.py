"""Small arrays from .npy and .npz files that may be damaged or hostile."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from recon.errors import InputError

_LARGEST_MEMBER = 1 << 16  # a camera matrix has 128 bytes
_LARGEST_MEMBERS = 200_000


def read_npy(file: Path) -> np.ndarray:
    """The array of a .npy file as float64. Raises ``InputError``; the header is believed only if the size fits."""
    try:
        return _array(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file) from None
    except ValueError as error:
        raise InputError(str(error), file=file, fix="It looks truncated or damaged: copy it again") from None


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file as float64; members that are not numbers are left out. Raises ``InputError``."""
    out: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _LARGEST_MEMBERS:
                raise InputError(f"holds {len(members)} arrays: not a camera file", file=file)
            for member in members:
                if member.file_size > _LARGEST_MEMBER or not member.filename.endswith(".npy"):
                    continue
                try:
                    with archive.open(member) as stream:
                        out[member.filename[:-4]] = _array(stream.read(_LARGEST_MEMBER + 1))
                except Exception:  # a damaged member: zlib, zipfile and struct each raise their own kind
                    continue
    except InputError:
        raise
    except Exception as error:  # zipfile raises a dozen unrelated kinds for damaged archives
        raise InputError("is not a readable .npz file", file=file, fix="It looks truncated: copy it again") from error
    return out


def _array(data: bytes) -> np.ndarray:
    """Raises ``ValueError`` with a readable clause."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(version, np.lib.format.read_array_header_2_0)
        shape, fortran, dtype = read_header(stream)
    except Exception:  # the header is a Python literal: its parser raises SyntaxError, TokenError, TypeError, ...
        raise ValueError("is not a readable numpy file") from None
    if dtype.hasobject or dtype.kind not in "fiu":
        raise ValueError("does not hold numbers")
    count = 1
    for n in shape:
        if n < 0:
            raise ValueError("has an impossible shape")
        count *= n  # Python integers: no overflow
    if count * dtype.itemsize > len(data) - stream.tell():
        raise ValueError(f"ends early: shape {'x'.join(map(str, shape))} needs {count * dtype.itemsize} bytes")
    values = np.frombuffer(data, dtype, count=count, offset=stream.tell())
    with np.errstate(all="ignore"):
        return values.reshape(shape, order="F" if fortran else "C").astype(np.float64)
