"""Losses that a command line adds to a method: ``--losses.s3im.weight 0.5`` where the preset has no s3im."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recon.app import catalogue

if TYPE_CHECKING:
    from recon.fit.system import System

_PREFIX = "--losses."


def named_losses(words: Sequence[str]) -> list[str]:
    """Names of the losses whose settings are among ``words``, each once, in the order they are met."""
    names = [w.removeprefix(_PREFIX).split("=")[0].split(".")[0].replace("-", "_") for w in words
             if w.startswith(_PREFIX)]
    return list(dict.fromkeys(names))


def with_losses(system: System, names: Sequence[str]) -> System:
    """``system`` with those of ``names`` that it lacks and that exist; others are left to the parser."""
    known = catalogue.losses()
    added: dict[str, Any] = {}
    for name in names:
        if name not in system.losses and name in known:
            module, _, kind = known[name].partition(":")
            added[name] = getattr(importlib.import_module(module), kind)()
    return dataclasses.replace(system, losses=system.losses | added) if added else system
