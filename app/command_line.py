"""Command lines to dataclasses, through tyro, with our own way of saying what is wrong."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import tyro

from recon.errors import InputError

T = TypeVar("T")


def option(metavar: str, default: str = "") -> Any:
    """Annotation of an optional argument: how its value is called, and in words what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})" if default else "")


def flag() -> Any:
    """Annotation of a switch that is off unless given."""
    return tyro.conf.arg(help_behavior_hint="")


def parse(kind: type[T], argv: Sequence[str], *, prog: str, default: T | None = None, description: str | None = None
          ) -> T:
    """Builds ``kind`` (a dataclass) from ``argv``. Raises InputError for what cannot be parsed, SystemExit(0) for help.

    tyro draws its errors as boxes; they are read here and said in our form: one cause, and what to do.
    """
    if description is None:
        description = inspect.getdoc(kind) or ""
    options: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about annotations narrowed to a preset's concrete classes
            return tyro.cli(kind, args=list(argv), prog=prog, description=description, use_underscores=True,
                            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff), **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _explained(said.getvalue(), prog) from None


def _explained(box: str, prog: str) -> InputError:
    """Our error from the text of tyro's error box."""
    lines = [re.sub(r"^[+|]|[+|]$|[│╭╮╰╯]", " ", line.strip()).strip() for line in box.splitlines()]
    lines = [line for line in lines if not re.fullmatch(r"[-─ ]*", line)]
    title = lines[0].strip("-─ ") if lines else "Unclear"
    body = lines[1:]
    help_line = f"All options: {prog} --help"
    for i, line in enumerate(body):
        if line.startswith("Unrecognized options:"):
            words = " ".join(body[i:]).partition(":")[2].split("Perhaps you meant")[0].split("For full helptext")[0]
            tokens = [t.strip() for t in words.split(",") if t.strip()]
            first = tokens[0].split("=")[0]
            near = [w.split()[0].rstrip(",") for w in body[i + 1:] if w.startswith("--")]
            closest = difflib.get_close_matches(first, near, 1, 0.5) or near[:1]
            if not first.startswith("-"):
                return InputError(f'"{first}" is one word too many here', fix=help_line)
            hint = f"Closest: {closest[0]}. " if closest else ""
            return InputError(f'no option "{first}"', fix=hint + help_line)
    number = re.search(r"Error parsing (\S+?):.*(INT|int|FLOAT|float)\b.*'([^']*)'", " ".join(body))
    if number:
        kind = "whole number" if number[2].lower() == "int" else "number"
        return InputError(f'{number[1]} "{number[3]}" is not a {kind}', fix=help_line)
    choice = re.search(r"invalid choice '(.*?)' for argument '(.*?)'.*?\((.*?)\)", " ".join(body))
    if choice:
        known = [c for c in re.findall(r"'(.*?)'", choice[3]) if c != "None"]
        return InputError(f'{choice[2]} "{choice[1]}" is not known', fix=f"Choose from: {', '.join(sorted(known))}")
    if "Missing value for argument" in " ".join(body):
        name = re.search(r"'(.*?)'", " ".join(body))
        return InputError(f"{name[1] if name else 'an option'} needs a value", fix=help_line)
    message = " ".join(_until(body, ("Argument helptext", "For full helptext")))
    if title.startswith("Required"):
        missing = [w for w in body if w and not w.startswith(("Missing", "For full"))]
        return InputError(f"{missing[0].split('  ')[0]} is missing" if missing else "an argument is missing",
                          fix=f"See {prog} --help")
    return InputError(message.rstrip(".") or title, fix=help_line)


def _until(lines: Iterable[str], stops: tuple[str, ...]) -> list[str]:
    """The lines before the first one that starts with one of ``stops``."""
    out: list[str] = []
    for line in lines:
        if line.startswith(stops):
            break
        out.append(line)
    return out


def choose(kind: str, wanted: str, known: Sequence[str], all_of_them: str) -> str:
    """``wanted`` if it is known, else an InputError that names the closest one; ``all_of_them`` says where to look."""
    if wanted in known:
        return wanted
    close = difflib.get_close_matches(wanted, known, 1, 0.5)
    hint = f"Closest: {close[0]}. " if close else ""
    raise InputError(f'no {kind} "{wanted}"', fix=f"{hint}{all_of_them}")


def pluck(argv: Sequence[str], option: str) -> str | None:
    """The value of ``--option value`` or ``--option=value`` in a raw command line, the last one wins."""
    found = None
    for i, token in enumerate(argv):
        if token == option and i + 1 < len(argv):
            found = argv[i + 1]
        elif token.startswith(option + "="):
            found = token.partition("=")[2]
    return found
