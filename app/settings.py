"""Settings as plain values and back: what config.yaml holds, and the table that `recon methods NAME` prints.

A dataclass becomes a mapping with its class under "class"; everything else is what YAML knows. Reading it back gives
an equal System, bit for bit (floats are written with repr).
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recon.errors import InputError


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings, sequences and scalars -> what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        out: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
        return out | {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a setting of type {type(value).__name__} cannot be written to config.yaml")


def from_plain(plain: Any, *, packages: tuple[str, ...] = ("recon",), where: str = "system") -> Any:
    """The inverse of ``to_plain``. Classes are looked up in ``packages`` only, so a file cannot name any other code.

    Raises InputError that names the setting (``where``) for unknown classes, unknown names and wrong types.
    """
    if isinstance(plain, dict) and "class" in plain:
        kind = _load_class(plain["class"], packages, where)
        hints = _hints(kind)
        known = {f.name for f in dataclasses.fields(kind) if f.init}
        given = {}
        for name, value in plain.items():
            if name == "class":
                continue
            if name not in known:
                raise InputError(f'unknown setting "{where}.{name}"', fix=f"Known here: {', '.join(sorted(known))}.")
            built = from_plain(value, packages=packages, where=f"{where}.{name}")
            given[name] = _fit_to(hints.get(name, Any), built, f"{where}.{name}")
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise InputError(f"cannot build {where}: {error}") from None
    if isinstance(plain, dict):
        return {k: from_plain(v, packages=packages, where=f"{where}.{k}") for k, v in plain.items()}
    if isinstance(plain, list):
        return tuple(from_plain(v, packages=packages, where=f"{where}[{i}]") for i, v in enumerate(plain))
    return plain


def _load_class(name: Any, packages: tuple[str, ...], where: str) -> type:
    module_name, _, class_name = str(name).rpartition(".")
    if module_name.split(".")[0] not in packages:
        raise InputError(f'{where}: class "{name}" is not part of {" or ".join(packages)}')
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError):
        raise InputError(f'{where}: there is no class "{name}"',
                         fix="The file may come from another version of Recon.") from None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise InputError(f'{where}: "{name}" is not a class of settings')
    return kind


@cache
def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # annotations under TYPE_CHECKING cannot be looked up; values are then taken as they are
        return {}


def _fit_to(hint: Any, value: Any, where: str) -> Any:
    """Small repairs for hand-edited files: 1 where a float is meant, 1e-3 (text to YAML), lists. Else InputError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    options = arguments if origin in (typing.Union, types.UnionType) else (hint,)
    if value is None or hint is Any or any(not _is_scalar(option) for option in options):
        return list(value) if origin is list and isinstance(value, tuple) else value
    if float in options and isinstance(value, (int, str)) and not isinstance(value, bool):
        if isinstance(value, int) and int in options:
            return value
        try:
            return float(value)
        except ValueError:
            pass
    allowed = tuple(o for o in options if isinstance(o, type))
    literals = [a for o in options if typing.get_origin(o) is typing.Literal for a in typing.get_args(o)]
    if value in literals or (allowed and isinstance(value, allowed) and not (isinstance(value, bool)
                                                                             and bool not in allowed)):
        return value
    meant = " or ".join([*(o.__name__ for o in allowed), *map(str, literals)])
    raise InputError(f"{where} is {value!r}, but must be {meant}")


def _is_scalar(option: Any) -> bool:
    return option in (int, float, str, bool, type(None)) or typing.get_origin(option) is typing.Literal


@dataclass(frozen=True)
class Setting:
    """One row of the table: dotted name, type and default as text, and the comment in the source."""

    name: str
    kind: str
    default: str
    help: str


def describe(system: Any, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a preset, depth first, as it can be given on the command line."""
    notes = comments(type(system))
    for f in dataclasses.fields(system):
        value = getattr(system, f.name)
        yield from _rows(prefix + f.name, value, f.type, notes.get(f.name, ""))


def _rows(name: str, value: Any, kind: Any, help: str) -> Iterator[Setting]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from describe(value, name + ".")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _rows(f"{name}.{key}", item, type(item).__name__, help)
    else:
        text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        shown = " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
        yield Setting(name, text, shown, help)


def comments(kind: type) -> dict[str, str]:
    """Field name -> the comment above it or behind it in the source, base classes included."""
    out: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):
            continue
        lines = source.splitlines()
        for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            above: list[str] = []
            i = node.lineno - 2
            while i >= 0 and lines[i].strip().startswith("#"):
                above.insert(0, lines[i].strip().lstrip("# "))
                i -= 1
            last = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0:]
            behind = last.partition("#")[2].strip()
            out[node.target.id] = " ".join(filter(None, [*above, behind]))
    return out
