"""Compiles every CUDA source for sm_80 and sm_90, compares registers and spills of each kernel with the committed list,
and links the drivers into the Python module, which must load without a GPU.

    python cuda/check/compile.py [--write]

`registers.txt` holds a line per architecture and kernel: registers, bytes spilled, bytes of shared memory. With the
compiler it was written by, every number must be the same; with another one no kernel may spill more or need over 16
registers more. `--write` makes the list anew. Objects are kept under build/cuda.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUDA, LIST, OUT = ROOT / "cuda", Path(__file__).with_name("registers.txt"), ROOT / "build" / "cuda"
ARCHITECTURES = ("80", "90")
TWICE = ("splat/lists.cu", "march/sample.cu")  # find a list twice, to count and to write, and must round alike
SPARE = 16  # registers that another compiler version may take
MODULE = "_native_cuda"

Numbers = tuple[int, int, int]  # registers, spill bytes, shared bytes
Table = dict[tuple[str, str], Numbers]


def nvcc() -> str | None:
    """The CUDA compiler: on PATH or from its wheel."""
    wheels = sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/bin/nvcc"))
    return shutil.which("nvcc") or (str(wheels[-1]) if wheels else None)


def version(compiler: str) -> str:
    """As `release 13.0, V13.0.88` in what nvcc says of itself."""
    text = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"V(\d+\.\d+)", text)
    return found[1] if found else "unknown"


def include_flags() -> list[str]:
    """Where CUDA's, Python's and nanobind's headers are; the last only where nanobind is installed."""
    flags = [f"-I{CUDA}", f"-I{sysconfig.get_paths()['include']}"]
    try:
        import nanobind
    except ImportError:
        return flags
    return [*flags, f"-I{nanobind.include_dir()}"]


def sources() -> list[Path]:
    """Every .cu; those that speak to Python only where nanobind is installed."""
    found = sorted(CUDA.rglob("*.cu"))
    if any("nanobind" in f for f in include_flags()):
        return found
    print("nanobind is not installed: the bindings are not compiled")
    return [f for f in found if f.stem.split("_")[0] not in ("bind", "module")]


def readable(names: list[str]) -> list[str]:
    """Mangled kernel names -> as written, without arguments and the compiler's file hashes."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    out = []
    for line in text.splitlines():
        plain = line.replace("(anonymous namespace)::", "")
        plain = re.sub(r"_GLOBAL__N__\w+::", "", plain)
        plain = re.sub(r"^void ", "", plain)
        depth, end = 0, len(plain)
        for i, c in enumerate(plain):  # up to the argument list, which is the first bracket outside < >
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                end = i
                break
        out.append(re.sub(r"\((?:int|bool)\)", "", plain[:end]))
    return out


def parse(text: str) -> Table:
    """What ptxas -v says -> numbers of this project's own kernels."""
    table: Table = {}
    entry = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
    keys: list[tuple[str, str]] = []
    numbers: list[Numbers] = []
    spill, current = 0, None
    for line in text.splitlines():
        if found := entry.search(line):
            current, spill = (found[2], found[1]), 0
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spill = int(found[1]) + int(found[2])
        elif current and (found := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            keys.append(current)
            numbers.append((int(found[1]), spill, int(shared[1]) if shared else 0))
            current = None
    for (arch, _), name, n in zip(keys, readable([k[1] for k in keys]), numbers):
        if name.startswith("recon::"):
            table[arch, name] = n
    return table


def compile_one(compiler: str, source: Path) -> tuple[Path, str]:
    """Object and ptxas' words of one file, for all architectures."""
    target = OUT / ("_".join(source.relative_to(CUDA).parts) + ".o")
    flags = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    if source.relative_to(CUDA).as_posix() in TWICE:
        flags.append("-fmad=false")
    ran = subprocess.run([compiler, "-std=c++17", "-O3", *flags, "-Xptxas", "-v", "-Xcompiler",
                          "-fPIC,-fvisibility=hidden", f"-DRECON_MODULE={MODULE}", *include_flags(), "-c", str(source),
                          "-o", str(target)], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{source.relative_to(ROOT)} does not compile:\n{ran.stderr}")
    for line in ran.stderr.splitlines():
        if "warning" in line:
            raise SystemExit(f"{source.relative_to(ROOT)}: {line}")
    return target, ran.stdout + ran.stderr


def link_and_load(compiler: str, objects: list[Path]) -> None:
    """The module loads where there is no GPU: nothing of CUDA is touched before it is used."""
    import nanobind

    core = OUT / "nanobind.o"
    folder = Path(nanobind.source_dir())
    if not core.exists():
        subprocess.run(["c++", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-DNDEBUG",
                        "-w", *include_flags()[1:], f"-I{folder.parent / 'ext' / 'robin_map' / 'include'}", "-c",
                        str(folder / "nb_combined.cpp"), "-o", str(core)], check=True)
    library = OUT / (MODULE + sysconfig.get_config_var("EXT_SUFFIX"))
    subprocess.run([compiler, "-shared", *map(str, objects), str(core), "-o", str(library)], check=True)
    code = f"import sys; sys.path.insert(0, {str(OUT)!r}); import {MODULE} as m; print(m.device)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if ran.stdout.strip() != "cuda":
        raise SystemExit(f"the CUDA module does not load:\n{ran.stderr}")


def read_list() -> tuple[str, Table]:
    """nvcc's version and the committed numbers."""
    if not LIST.exists():
        return "none", {}
    lines = LIST.read_text().splitlines()
    table: Table = {}
    for line in lines:
        if not line.startswith("#") and line.strip():
            arch, registers, spill, shared, name = line.split(maxsplit=4)
            table[arch, name] = (int(registers), int(spill), int(shared))
    found = re.search(r"nvcc (\S+)", lines[0])
    return (found[1] if found else "none"), table


def write_list(release: str, table: Table) -> None:
    """Writes the list anew."""
    rows = [f"# nvcc {release}: architecture, registers, bytes spilled, bytes of shared memory, kernel"]
    rows += [f"{arch} {n[0]:4} {n[1]:4} {n[2]:6} {name}" for (arch, name), n in sorted(table.items())]
    LIST.write_text("\n".join(rows) + "\n")


def differences(release: str, table: Table) -> list[str]:
    """How the compiled kernels differ from the list, a line each."""
    listed_release, listed = read_list()
    out = [f"sm_{a} {k}: not in the list" for a, k in sorted(table.keys() - listed.keys())]
    out += [f"sm_{a} {k}: in the list, but no longer there" for a, k in sorted(listed.keys() - table.keys())]
    for key in sorted(table.keys() & listed.keys()):
        now, then = table[key], listed[key]
        worse = now != then if release == listed_release else now[1] > then[1] or now[0] > then[0] + SPARE
        if worse:
            out.append(f"sm_{key[0]} {key[1]}: registers, spilled, shared {now}, listed {then}")
    return out


def main() -> None:
    """See the top of the file."""
    compiler = nvcc()
    if compiler is None:
        print("cuda-check skipped: no nvcc, neither on PATH nor as a wheel")
        return
    OUT.mkdir(parents=True, exist_ok=True)
    release, files = version(compiler), sources()
    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(lambda f: compile_one(compiler, f), files))
    table: Table = {}
    for _, text in built:
        table |= parse(text)
    if any(f.stem == "module" for f in files):
        link_and_load(compiler, [o for (o, _), f in zip(built, files) if f.parent.name != "check"])
    if "--write" in sys.argv:
        write_list(release, table)
    wrong = differences(release, table)
    if wrong:
        raise SystemExit("\n".join([*wrong, "if that is meant: python cuda/check/compile.py --write"]))
    spilled = sum(n[1] > 0 for n in table.values())
    print(f"cuda-check: {len(files)} files, {len(table)} kernels as listed, {spilled} of them spill")


if __name__ == "__main__":
    main()
