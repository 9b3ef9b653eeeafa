"""Opening and writing files with errors that say what to do, and without ever leaving half a file behind."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recon.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def open_input(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a regular file for reading; anything that goes wrong with the file itself becomes an ``InputError``.

    Pipes and devices are refused: opening one may wait for ever, and a device has no end.
    """
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError("is a folder, not a file", file=path, fix="Name a file inside it.")
        if not stat.S_ISREG(mode):
            raise InputError("is not a regular file", file=path, fix="Save it to a file first.")
        with open(path, "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("no such file", file=path, fix="Check the path.") from None
    except OSError as e:
        raise InputError(f"cannot be read ({e.strerror or e})", file=path, fix="Check the file and its rights.") from e
    except ValueError as e:
        if isinstance(e, InputError) or "null" not in str(e):
            raise
        raise InputError("no such file (the name holds a NUL)", fix="Check the path.") from None


def file_size(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


@contextmanager
def atomic_output(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that appears under ``path`` only when the block ends well; missing folders are made.

    The bytes go to a hidden file in the same folder, are flushed to the disk and renamed over ``path``, so that at any
    moment ``path`` is either the old file or the whole new one. When the block raises, nothing is left behind.
    Raises ``InputError`` where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("is a folder, not a file", file=path, fix="Give the name of a file to write.")
    target = path.resolve()  # so that a link to a file stays a link
    temporary = target.parent / f".recon-{secrets.token_hex(6)}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as e:
        raise _explained(e, path) from e


def _explained(e: OSError, path: Path) -> InputError:
    if e.errno in _FULL:
        return InputError("could not be written: the disk is full", file=path,
                          fix="Free some space or write to another disk; no partial file was left.")
    if e.errno in _FORBIDDEN:
        return InputError("could not be written: the folder is read-only", file=path,
                          fix="Choose a folder that you may write to.")
    if isinstance(e, (NotADirectoryError, FileExistsError)):
        return InputError("could not be written: part of its path is a file, not a folder", file=path,
                          fix="Choose another folder.")
    return InputError(f"could not be written ({e.strerror or e})", file=path, fix="Choose another path.")
