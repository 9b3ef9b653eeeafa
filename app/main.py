"""The program `recon`: finds the command, runs it, and says what went wrong so that a person can act on it.

Exit codes: 0 done, 1 our own fault (with a report file), 2 something the user can mend, 130 after Ctrl-C.
Commands are the files of app/commands: each has ``Arguments`` (a dataclass: purpose and example in its docstring)
and ``run(argv) -> int``. Nothing heavy is imported before one is chosen.
"""

from __future__ import annotations

import ast
import errno
import os
import sys
import tempfile
import textwrap
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from recon.errors import InputError

_ORDER = ("fit", "view", "eval", "render", "mesh", "export", "convert", "info", "methods", "bench", "doctor")


def commands() -> dict[str, str]:
    """Command name -> its purpose (first line of its docstring), in the order of the help. Imports nothing."""
    found = {}
    for path in (Path(__file__).parent / "commands").glob("*.py"):
        if not path.name.startswith("_"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            kinds = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Arguments"]
            text = ast.get_docstring(kinds[0]) if kinds else None
            found[path.stem] = (text or "").split("\n", 1)[0].rstrip(".")
    return dict(sorted(found.items(), key=lambda c: (_ORDER.index(c[0]) if c[0] in _ORDER else 99, c[0])))


def overview() -> str:
    """What `recon --help` prints."""
    rows = "\n".join(f"  {name:<10}{purpose}" for name, purpose in commands().items())
    return f"""\
recon: photos in, 3D scene out, on an ordinary computer.

  recon fit photos/          turns a folder of photos into runs/photos-gaussians-01/
  recon render runs/...      makes pictures and videos of it

Commands
{rows}

recon COMMAND --help shows the options of one. recon --version; --debug shows tracebacks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    if not debug:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for worker processes
    try:
        return _dispatch(words)
    except SystemExit as stop:  # help was shown
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:  # `recon info x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        mendable = as_input_error(error)
        if mendable is not None:
            print(error_text(mendable), file=sys.stderr)
            return 2
        print(f"error: Recon failed: {type(error).__name__}: {_one_line(error)}", file=sys.stderr)
        if not debug:
            print(f"       This is our fault, not yours. Please send us this report: {_write_report(words)}",
                  file=sys.stderr)
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("--version", "-V"):
        from recon import __version__

        print(f"recon {__version__}")
        return 0
    known = commands()
    name = words[0]
    if name in ("--tyro-print-completion", "--tyro-write-completion"):
        return _completion(words, list(known))
    if name not in known:
        if name.startswith("-"):
            raise InputError(f'no option "{name}" before the command', fix="Write it behind: recon fit SCENE ...")
        if Path(name).exists():
            raise InputError(f'no command "{name}", but it is a path', fix=f"To fit it: recon fit {name}")
        from recon.app.command_line import choose

        choose("command", name, list(known), f"Commands: {', '.join(known)}")
    import importlib

    return importlib.import_module(f"recon.app.commands.{name}").run(words[1:])


def _completion(words: list[str], known: list[str]) -> int:
    """Shell completion comes from tyro; it wants all commands as one parser."""
    import importlib

    import tyro

    kinds = {n: importlib.import_module(f"recon.app.commands.{n}").Arguments for n in known}
    tyro.extras.subcommand_cli_from_dict(kinds, prog="recon", args=words)
    return 0


def as_input_error(error: Exception) -> InputError | None:
    """Errors of the machine and of libraries that a person can mend, in our words; None for our own faults."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return InputError("this machine has too little free memory",
                          fix="Close other programs, or use smaller photos: --resolution 1/2")
    if isinstance(error, OSError):
        file = error.filename if isinstance(error.filename, (str, bytes)) else None
        name = os.fsdecode(file) if file else None
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return InputError("the disk is full", file=name, fix="Free some space and run the command again.")
        if error.errno in (errno.EACCES, errno.EPERM):
            return InputError("no permission", file=name, fix="Check the owner and mode of the file or folder.")
        if error.errno == errno.EROFS:
            return InputError("is on a read-only disk", file=name, fix="Choose another place to write to.")
    return None


def error_text(error: InputError) -> str:
    """``error: file: what.`` and the fix, indented, on the next line."""
    head = f"{error.file}: {error.what}" if error.file is not None else error.what
    lines = [f"error: {_one_line(head).rstrip('.')}."]
    if error.fix:
        lines.append(textwrap.indent(error.fix, "       "))
    return "\n".join(lines)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _write_report(words: list[str]) -> Path:
    """A short file with the traceback and what is known about the machine; in the temp folder if need be."""
    import platform
    import shlex

    from recon import __version__

    text = "\n".join([
        f"recon {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"command: recon {shlex.join(words)}", f"when: {time.strftime('%Y-%m-%d %H:%M:%S')}",
        "", traceback.format_exc(),
    ])
    name = f"recon-error-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    for place in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (place / name).write_text(text, encoding="utf-8")
            return place / name
        except OSError:
            continue
    print(text, file=sys.stderr)
    return Path(name)


if __name__ == "__main__":
    sys.exit(main())
