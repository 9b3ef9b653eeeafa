"""Readers: from what people have (photos, videos, camera files of other programs) to a ``Capture``.

One module per format; a new one is found by its file name (see ``recon.data.parts.reading.readers``). Nothing heavy is
imported before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.data.parts.prepare import prepare
    from recon.data.parts.reading import read, readers

__all__ = ["prepare", "read", "readers"]


def __getattr__(name: str) -> Any:
    if name in ("read", "readers"):
        from recon.data.parts import reading

        return getattr(reading, name)
    if name == "prepare":
        from recon.data.parts.prepare import prepare

        return prepare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
