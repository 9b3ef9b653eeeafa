"""Compiles the CUDA drivers for the executor: a Python module that runs them on the processor. For tests only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanobind

ROOT = Path(__file__).resolve().parents[2]
CUDA, HERE = ROOT / "cuda", ROOT / "tests" / "executor"
MODULE = "recon_executor"


def compiler() -> str | None:
    """The C++ compiler that is there, if any."""
    return next((found for name in (os.environ.get("CXX", ""), "g++", "c++") if name and (found := shutil.which(name))),
                None)


def _newer(source: Path, target: Path) -> bool:
    """Whether the object of ``source`` is missing or older than what it is made from."""
    if not target.exists():
        return True
    folders = [CUDA / "core", CUDA / "adam", source.parent, HERE]  # splat takes the update from adam
    made = target.stat().st_mtime
    headers = [h for d in dict.fromkeys(folders) for pattern in ("*.h", "*.cuh") for h in d.glob(pattern)]
    return any(f.stat().st_mtime > made for f in [source, *headers])


def build(*, sanitize: bool = False) -> Path:
    """The folder that holds the module, up to date; objects are kept under build/ between runs."""
    out = ROOT / "build" / ("executor_asan" if sanitize else "executor")
    out.mkdir(parents=True, exist_ok=True)
    cxx = compiler()
    if cxx is None:
        raise RuntimeError("no C++ compiler")
    includes = [CUDA, HERE, Path(nanobind.include_dir()), Path(sysconfig.get_paths()["include"])]
    common = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", *(f"-I{i}" for i in includes),
              *(["-fsanitize=address", "-fno-omit-frame-pointer", "-g1"] if sanitize else [])]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered"]
    drivers = sorted(f for f in CUDA.rglob("*.cu") if f.parent.name != "check")
    jobs = [(f, ["-O1", *warnings, f"-DRECON_MODULE={MODULE}", "-x", "c++"]) for f in drivers]
    jobs += [(f, ["-O1", *warnings]) for f in sorted(HERE.glob("*.cpp"))]
    jobs += [(Path(nanobind.source_dir()) / "nb_combined.cpp",
              ["-O1", "-DNDEBUG", "-fno-strict-aliasing", "-w",
               f"-I{Path(nanobind.source_dir()).parent / 'ext' / 'robin_map' / 'include'}"])]
    objects = [out / ("_".join((f.parent.name, f.name)) + ".o") for f, _ in jobs]

    def compile_one(job: tuple[Path, list[str]], target: Path) -> None:
        if _newer(job[0], target):
            subprocess.run([cxx, *common, *job[1], "-c", str(job[0]), "-o", str(target)], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, jobs, objects))
    library = out / (MODULE + sysconfig.get_config_var("EXT_SUFFIX"))
    if not library.exists() or any(o.stat().st_mtime > library.stat().st_mtime for o in objects):
        part = library.with_suffix(f".{os.getpid()}")
        subprocess.run([cxx, "-shared", *(["-fsanitize=address"] if sanitize else []), *map(str, objects), "-o",
                        str(part)], check=True)
        part.replace(library)
    return out


if __name__ == "__main__":
    import sys

    print(build(sanitize="--asan" in sys.argv))
