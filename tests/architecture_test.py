"""The structure that docs/architecture.md promises: who may import whom, what loads for `recon --help`, file habits.

Modules are parsed and never imported, so this runs in a second and needs no compiled kernels.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"recon": "recon", "app": "recon.app", "data": "recon.data", "configs": "recon.configs",
            "viewer": "recon.viewer"}

_PART = {"types", "errors", "protocols", "params", "ops"}
# Part of the program -> parts it may import besides itself.
ARROWS = {
    "errors": set(),
    "types": {"errors"},
    "params": {"types"},
    "protocols": {"types", "params"},
    "formats": {"errors"},
    "ops": {"types", "errors"},
    "fields": _PART, "renderers": _PART, "samplers": _PART, "losses": _PART, "optim": _PART, "strategies": _PART,
    "mesh": _PART, "edit": _PART,
    "export": _PART | {"formats"},
    "fit": _PART,
    "data": {"types", "errors", "formats"},
    "configs": {"fields", "renderers", "samplers", "losses", "optim", "strategies", "fit", "protocols", "types"},
    "viewer": _PART | {"fit", "export"},
}  # fmt: skip
# The viewer sees a fit through its events, its session and the looks it asks for.
VIEWER_OF_FIT = {"recon.fit.events", "recon.fit.session", "recon.fit.looks"}
# Rivals and heavy helpers that are chosen by name where they are installed.
OPTIONAL = {"gsplat", "nerfacc", "tinycudann", "open3d", "pxr", "viser", "pillow_heif", "lpips", "xatlas",
            "fast_simplification"}
MAY_USE_OPTIONAL = {"ops", "mesh", "export", "viewer", "data"}
IMPORT_NAMES = {"pillow": "PIL", "pillow-heif": "pillow_heif", "pyyaml": "yaml",
                "fast-simplification": "fast_simplification"}
HEAVY = {"torch", "numpy", "rich", "PIL", "av", "pycolmap", "yaml", "psutil", "zstandard"}
MOST_LINES = 600


@cache
def modules() -> dict[str, Path]:
    """Every Python module that is shipped, by the name it is imported under."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "data" / "sample"):  # scripts that made the sample scene; not in the wheel
                continue
            inner = [p for p in path.relative_to(ROOT / folder).with_suffix("").parts if p != "__init__"]
            found[".".join([package, *inner])] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(module: str) -> str:
    """recon.fit.loop -> fit; the package itself is "recon"."""
    return module.split(".")[1] if "." in module else module


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Full names of what a tree imports, `from a import b` as a.b where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else str(node.module)


def loaded(tree: ast.Module) -> ast.Module:
    """What runs when the module is imported: no function bodies, nothing under TYPE_CHECKING."""

    class Drop(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Drop().visit(ast.parse(ast.unparse(tree)))


def test_the_walk_finds_the_program() -> None:
    assert {"recon", "recon.fit.loop", "recon.app.main", "recon.data.colmap"} <= set(modules())
    assert "recon.ops.native" in set(imports("x", parsed(modules()["recon.ops.splat"])))


@pytest.mark.parametrize("module", sorted(modules()))
def test_arrows(module: str) -> None:
    part = part_of(module)
    if part in ("app", "recon"):
        allowed = None if part == "app" else {"errors"}
    else:
        assert part in ARROWS, f"{module}: a new part of the engine; say in ARROWS what it may import"
        allowed = ARROWS[part] | {part}
    for name in imports(module, parsed(modules()[module])):
        top = name.split(".")[0]
        if top in OPTIONAL:
            assert part in MAY_USE_OPTIONAL, f"{module} imports the optional package {top}"
        if top == "recon" and allowed is not None:
            assert part_of(name) in allowed, f"{module} imports {name}: not an arrow of docs/architecture.md"
            if part == "viewer" and part_of(name) == "fit":
                assert name in VIEWER_OF_FIT, f"{module} imports {name}: the viewer sees events, session and looks only"


def test_formats_do_not_know_torch() -> None:
    for module, path in modules().items():
        if part_of(module) == "formats":
            assert "torch" not in {n.split(".")[0] for n in imports(module, parsed(path))}, module


def test_third_party_imports_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~ \[]", d)[0] for d in project["dependencies"]}
    known = {IMPORT_NAMES.get(d, d) for d in declared} | {"recon"} | set(sys.stdlib_module_names) | OPTIONAL
    for module, path in modules().items():
        unknown = {n.split(".")[0] for n in imports(module, parsed(path))} - known
        assert not unknown, f"{module} imports {unknown}, which pyproject.toml does not name"


def test_dependencies_have_their_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in wanted:
        name, bound = re.match(r"([A-Za-z0-9_-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        rows = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        assert rows, f"docs/dependencies.md has no row for {name}"
        assert bound in rows[0], f"docs/dependencies.md states another bound than {requirement}"


def test_help_loads_nothing_heavy() -> None:
    """Everything that `recon --help`, `recon fit --help` and the other commands' help import, found by reading."""
    start = ["recon.app.main", *(m for m in modules() if m.startswith("recon.app.commands."))]
    seen: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module in seen or module not in modules():
            continue
        seen.add(module)
        parents = [module.rsplit(".", i)[0] for i in range(1, module.count(".") + 1)]
        found = list(imports(module, loaded(parsed(modules()[module]))))
        for name in found:
            assert name.split(".")[0] not in HEAVY, f"{module} imports {name} at its top: recon --help gets slow"
        waiting += [*found, *parents]
    assert {"recon.app.command_line", "recon.errors", "recon"} <= seen


def test_fit_is_a_function_and_a_package() -> None:
    """Importing recon.fit.loop binds recon.fit to the package; the second `recon.fit(...)` must work like the first."""
    code = """
import recon, recon.fit.events
from recon.errors import InputError
assert recon.fit.events.Event
for _ in range(2):
    try:
        recon.fit("no such folder", steps=1)
    except InputError as error:
        assert "no such" in str(error), error
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_engine_prints_nothing() -> None:
    for module, path in modules().items():
        if part_of(module) == "app":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "input"), f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_docstrings(module: str) -> None:
    tree = parsed(modules()[module])
    if tree.body:  # an empty __init__.py only marks a folder
        assert ast.get_docstring(tree), "a module says in its first line what it is"
    if not tree.body or part_of(module) == "app":
        return
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and part_of(module) == "ops":
            assert ast.get_docstring(node), f"{node.name} is public and has no docstring"


def kernel_folders() -> list[Path]:
    return sorted(p for p in (ROOT / "cuda").iterdir() if p.is_dir() and p.name not in ("core", "check"))


@pytest.mark.parametrize("folder", kernel_folders(), ids=lambda p: p.name)
def test_kernel_folders(folder: Path) -> None:
    for name in (f"{folder.name}.h", f"{folder.name}.cpp", "bind.cpp"):
        assert (folder / name).is_file(), f"every kernel folder has {name}"
    assert f"bind_{folder.name}(m)" in (ROOT / "cuda" / "module.cpp").read_text()


def test_kernels_know_nothing_of_torch() -> None:
    for path in (ROOT / "cuda").rglob("*.*"):
        text = path.read_text()
        assert "torch/" not in text, path
        assert "-march=native" not in text, path
        speaks = path.stem.split("_")[0] in ("bind", "module")
        speaks = speaks or path.name in ("arrays.h", "arrays_cuda.h", "compile.py")
        if not speaks:
            assert "nanobind" not in text, f"{path}: only bind.cpp and bind.cu speak to Python"
    assert "-march=native" not in (ROOT / "CMakeLists.txt").read_text()


def source_files() -> list[Path]:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode == 0:
        files = [ROOT / line for line in tracked.stdout.splitlines()]
    else:
        files = [p for folder in (*PACKAGES, "cuda", "tests") for p in (ROOT / folder).rglob("*")]
    return [p for p in files if p.suffix in (".py", ".h", ".cpp", ".cu", ".cuh") and p.is_file()]


def test_files_stay_small() -> None:
    files = source_files()
    assert len(files) > 100
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > MOST_LINES}
    assert not long, f"longer than {MOST_LINES} lines, so it wants to be several files: {long}"
