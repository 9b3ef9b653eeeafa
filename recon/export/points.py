"""Point clouds in and out of the export layer; the codec itself knows nothing of the engine (``recon.formats``)."""

from __future__ import annotations

from recon.formats.points import read_points

__all__ = ["read_points"]
