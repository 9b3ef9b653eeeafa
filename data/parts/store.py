"""PhotoStore: decoded photos under a memory budget; what does not fit is spilled to raw files.

A photo is decoded once. The budget counts the pixels kept in memory, as least recently used first out. What leaves
goes to one raw file per photo in ``folder``, written under another name and renamed, so that a half-written file is
never read; without a folder it is decoded again when needed. All methods may be called from several threads.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.types import Photo

_MAGIC = b"reconpx1"
_HEADER = struct.Struct("<8sIIII")  # magic, height, width, has alpha, has mask


class PhotoStore:
    """Photos by key. ``memory``: bytes of pixels to keep; ``folder``: for what does not fit, or None."""

    def __init__(self, memory: int, folder: Path | None = None) -> None:
        self.memory, self.folder = memory, folder
        self._kept: OrderedDict[str, Photo] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._ahead: ThreadPoolExecutor | None = None
        self._spill_failed = False

    @property
    def num_bytes(self) -> int:
        """Bytes of pixels in memory now."""
        return self._num_bytes

    def get(self, key: str, make: Callable[[], Photo]) -> Photo:
        """The photo of ``key``, from memory, from its file, or made now (once, even if several threads ask)."""
        kept = self._from_memory(key)
        if kept is not None:
            return kept
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            kept = self._from_memory(key)  # another thread may have been faster
            if kept is not None:
                return kept
            photo = self._from_file(key)
            if photo is None:
                photo = make()
            self._keep(key, photo)
        with self._lock:
            self._busy.pop(key, None)
        return photo

    def prefetch(self, key: str, make: Callable[[], Photo]) -> Future[Photo]:
        """Starts ``get`` on the store's one background thread."""
        with self._lock:
            if self._ahead is None:
                self._ahead = ThreadPoolExecutor(1, thread_name_prefix="recon-photos")
        return self._ahead.submit(self.get, key, make)

    def _from_memory(self, key: str) -> Photo | None:
        with self._lock:
            photo = self._kept.get(key)
            if photo is not None:
                self._kept.move_to_end(key)
            return photo

    def _keep(self, key: str, photo: Photo) -> None:
        leaving: list[tuple[str, Photo]] = []
        with self._lock:
            if key not in self._kept:
                self._kept[key] = photo
                self._num_bytes += photo.nbytes
            while self._num_bytes > self.memory and self._kept:
                old_key, old = self._kept.popitem(last=False)
                self._num_bytes -= old.nbytes
                leaving.append((old_key, old))
        for old_key, old in leaving:
            self._to_file(old_key, old)

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.photo"

    def _to_file(self, key: str, photo: Photo) -> None:
        path = self._path(key)
        if path is None or self._spill_failed or path.exists():
            return
        draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _, height, width = photo.rgb.shape
            with draft.open("wb") as file:
                file.write(_HEADER.pack(_MAGIC, height, width, photo.alpha is not None, photo.mask is not None))
                for plane in (photo.rgb, photo.alpha, photo.mask):
                    if plane is not None:
                        file.write(plane.contiguous().numpy().data)
            os.replace(draft, path)
        except OSError:  # disk full or read-only: go on without, decoding again what does not fit
            self._spill_failed = True
            with contextlib.suppress(OSError):
                draft.unlink()

    def _from_file(self, key: str) -> Photo | None:
        """None if there is no complete file. Read into memory rather than mapped, so that it counts once."""
        path = self._path(key)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                magic, height, width, has_alpha, has_mask = _HEADER.unpack(file.read(_HEADER.size))
                planes = 3 + bool(has_alpha) + bool(has_mask)
                expected = _HEADER.size + planes * height * width
                if magic != _MAGIC or os.fstat(file.fileno()).st_size != expected:
                    return None
                pixels = np.fromfile(file, np.uint8, planes * height * width)
        except (OSError, struct.error):
            return None
        data = torch.from_numpy(pixels).view(planes, height, width)
        rest: list[Tensor] = list(data[3:])
        alpha = rest.pop(0) if has_alpha else None
        return Photo(data[:3], alpha, rest.pop(0) if has_mask else None)
