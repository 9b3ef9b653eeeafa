"""The panels of the page, one file each; a new one is found by being here.

A module has ``ORDER`` (panels are built in that order) and ``Panel(viewer)``, which adds its controls for everybody. It
may have ``connect(watcher)`` and ``disconnect(watcher)`` for what each browser has of its own, and ``tick(news)``,
called a few times per second while somebody is there. What a panel raises becomes a warning.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.viewer.server import Viewer


def build(viewer: Viewer) -> list[Any]:
    """All panels in their order."""
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [m.Panel(viewer) for m in sorted(modules, key=lambda m: m.ORDER)]
