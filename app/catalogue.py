"""The methods there are: one file in recon/configs each. Names and titles are read without importing anything."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.command_line import choose
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.fit.system import System

DEFAULT_METHOD = "gaussians"
DEFAULT_PRESET = "balanced"
CONVERSION = "conversion"  # preset of methods that learn better from another scene than by a short fit from photos


@dataclass(frozen=True)
class Method:
    """A method by name, with what the docstring of its file says.

    title    first line        reference  the line with the arXiv id or DOI (authors, venue), "" where there is none
    """

    name: str
    title: str
    reference: str
    text: str


def folder() -> Path:
    """Where the preset files live."""
    spec = importlib.util.find_spec("recon.configs")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("recon.configs is not installed")
    return Path(spec.origin).parent


def names() -> list[str]:
    """Names of all methods; the default one first, then alphabetical."""
    found = sorted(p.stem for p in folder().glob("*.py") if not p.name.startswith("_"))
    return sorted(found, key=lambda n: n != DEFAULT_METHOD)


def method(name: str) -> Method:
    """What the file of a method says about itself. Raises InputError with the closest name."""
    choose("method", name, names(), "All methods: recon methods")
    text = ast.get_docstring(ast.parse((folder() / f"{name}.py").read_text(encoding="utf-8"))) or name
    lines = [line.strip() for line in text.splitlines()]
    reference = next((line for line in lines[1:] if re.search(r"arxiv|doi", line, re.I)), "")
    paragraphs = [p.replace("\n", " ") for p in text.split("\n\n")]
    if reference:
        reference = next(p for p in paragraphs if reference in p) if reference not in paragraphs[0] else reference
    return Method(name, lines[0].rstrip("."), reference, text)


def presets(name: str) -> dict[str, System]:
    """All presets of a method, or of a module given as ``package.module:NAME``."""
    if ":" in name or "." in name:
        return _foreign(name)
    choose("method", name, names(), "All methods: recon methods")
    module = importlib.import_module(f"recon.configs.{name}")
    return dict(module.PRESETS)


def _foreign(name: str) -> dict[str, System]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise InputError(f'no module "{module_name}" for --method {name}',
                             fix="Write package.module:PRESET; the module must be importable.") from None
        raise
    found: Any = getattr(module, attribute or "PRESETS", None)
    if found is None:
        raise InputError(f'module "{module_name}" has no "{attribute or "PRESETS"}"')
    return dict(found) if isinstance(found, dict) else {DEFAULT_PRESET: found}


def load(name: str, preset: str) -> System:
    """The System of a preset. Raises InputError with the closest name for unknown methods and presets."""
    known = presets(name)
    if list(known) == [DEFAULT_PRESET] and ":" in name:
        return known[DEFAULT_PRESET]
    choose("preset", preset, list(known), f"Presets of {name}: {', '.join(known)}")
    return known[preset]


def conversion_preset(name: str) -> str:
    """The preset that ``recon convert`` uses when none is said."""
    return CONVERSION if CONVERSION in presets(name) else DEFAULT_PRESET


def losses() -> dict[str, str]:
    """Every loss and regularizer by its name on the command line -> "module:Class"; nothing is imported.

    A class ``TotalVariation`` in recon/losses is called total_variation.
    """
    spec = importlib.util.find_spec("recon.losses")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("recon.losses is not installed")
    found = {}
    for path in sorted(Path(spec.origin).parent.glob("[a-z]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower()
                found[name] = f"recon.losses.{path.stem}:{node.name}"
    return found
