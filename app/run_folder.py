"""RunFolder: what a fit leaves behind, and how it is found again. Every file is written atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recon.app import atomic
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.fit.events import Event
    from recon.types import Camera, Capture, Similarity, View

CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run; nothing is read before it is asked for."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def scene(self) -> Path:
        return self.path / "scene.ply"

    @property
    def compare(self) -> Path:
        return self.path / "compare"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.json"

    def lock(self) -> IO[str]:
        """Keeps other processes from working on this run, as long as the returned file is open (or we live).

        Raises InputError when another process holds it.
        """
        handle = open(self.path / ".lock", "a")  # noqa: SIM115
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: no lock, and no harm for a single user
            pass
        except BlockingIOError:
            handle.close()
            raise InputError("another process is working on this run", file=self.path,
                             fix="Wait for it to end, or stop it.") from None
        except OSError:  # a file system without locks
            pass
        return handle

    def discard(self) -> None:
        """Takes back a run that never began: removes what was just written, and the folder if that empties it."""
        for name in (CONFIG, "cameras.json", "README.txt", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def write_config(self, config: dict[str, Any]) -> None:
        import yaml

        head = "# Everything this run was made with. `recon fit --config config.yaml` repeats it.\n"
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        atomic.write_text(self.path / CONFIG, head + text)

    def config(self) -> dict[str, Any]:
        return read_config(self.path / CONFIG)

    def append(self, event: Event) -> None:
        """Adds one line to log.jsonl. A line that a crash tore in half is ended first, so only it is lost."""
        with open(self.path / "log.jsonl", "ab+") as log:
            if log.tell() > 0:
                log.seek(-1, 2)
                if log.read(1) != b"\n":
                    log.write(b"\n")
            log.write(json.dumps(event_to_plain(event)).encode() + b"\n")

    def log(self) -> Iterator[dict[str, Any]]:
        """The events so far as plain mappings; torn lines are left out."""
        path = self.path / "log.jsonl"
        if not path.exists():
            return
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                yield entry

    def metrics(self) -> dict[str, Any]:
        """Contents of metrics.json, {} before the first one is written."""
        if not self.metrics_file.exists():
            return {}
        return _read_json(self.metrics_file)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        atomic.write_json(self.metrics_file, metrics)

    def write_cameras(self, capture: Capture) -> None:
        """cameras.json: enough to render every view when the photos are gone. World frame, float64 in full."""
        content = {
            "world_from_source": capture.world_from_source.to_dict(),
            "has_alpha": capture.has_alpha,
            "views": [{"name": v.name, "split": v.split, **camera_to_plain(v.camera)} for v in capture.views],
        }
        atomic.write_json(self.path / "cameras.json", content)

    def cameras(self) -> SavedCameras:
        """Reads cameras.json. Raises InputError where it is missing or damaged."""
        from recon.types import Similarity

        path = self.path / "cameras.json"
        if not path.exists():
            raise InputError("is missing", file=path, fix="This run stopped before its first step; fit again.")
        content = _read_json(path)
        try:
            views = tuple(
                SavedView(str(v["name"]), str(v["split"]), camera_from_plain(v)) for v in content["views"]
            )
            similarity = Similarity.from_dict(content["world_from_source"])
            return SavedCameras(views, similarity, bool(content.get("has_alpha", False)))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"is damaged ({error})", file=path, fix="Fit again.") from None

    def write_readme(self, command: str, made: str) -> None:
        name = shlex.quote(str(self.path))
        atomic.write_text(self.path / "README.txt", f"""\
A 3D scene made by Recon from photos.

Made by     {command}
From        {made}

scene.ply       the scene: Gaussians in the coordinates of the source, opens in any splat viewer
compare/        photo | render | error for each held-out view, worst first
metrics.json    quality, time and memory
config.yaml     every setting, versions, seed, machine: recon fit --config config.yaml repeats the run
cameras.json    the cameras of all views at working size
log.jsonl       one line per event of the fit
checkpoint/     the last two saved states; only needed to go on

Go on for longer     recon fit --resume {name} --steps N
Measure again        recon eval {name}
Make pictures        recon render {name} --path orbit
Export               recon export {name} scene.spz
""")


@dataclass(frozen=True)
class SavedView:
    """One view of cameras.json."""

    name: str
    split: str
    camera: Camera


@dataclass(frozen=True)
class SavedCameras:
    """Contents of cameras.json; cameras are in the world frame of the fit."""

    views: tuple[SavedView, ...]
    world_from_source: Similarity
    has_alpha: bool

    def subset(self, split: str) -> tuple[SavedView, ...]:
        return tuple(v for v in self.views if v.split == split)


def view_names(views: tuple[View, ...]) -> str:
    """A short list of view names for messages."""
    names = [v.name for v in views]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def camera_to_plain(camera: Camera) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "intrinsics": camera.intrinsics.tolist(),
        "world_from_camera": camera.world_from_camera.tolist(),
        "lens": {"model": camera.lens.model, "coefficients": list(camera.lens.coefficients)},
        "time": camera.time,
    }


def camera_from_plain(plain: dict[str, Any]) -> Camera:
    """The inverse of ``camera_to_plain``, bit for bit. Raises KeyError, TypeError or ValueError for damaged input."""
    from recon.types import Camera, Lens

    lens = plain.get("lens") or {"model": "PINHOLE", "coefficients": []}
    return Camera(int(plain["width"]), int(plain["height"]), plain["intrinsics"], plain["world_from_camera"],
                  Lens(lens["model"], tuple(map(float, lens["coefficients"]))), float(plain.get("time", 0.0)))


def event_to_plain(event: Event) -> dict[str, Any]:
    """An event as JSON can hold it: its name under "event", paths as text, numbers that are not finite as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return value if value - value == 0 else None
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return {"event": type(event).__name__.lower(), **plain({f.name: getattr(event, f.name)
                                                            for f in dataclasses.fields(event)})}


def read_config(path: Path) -> dict[str, Any]:
    """A config.yaml as a mapping. Raises InputError for missing, broken or foreign files."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=path) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"is not valid YAML{line}", file=path, fix="Copy it again from the run folder.") from None
    if not isinstance(content, dict) or "system" not in content or "scene" not in content:
        raise InputError("is not the config.yaml of a run", file=path)
    return content


def is_run(path: Path) -> bool:
    return (path / CONFIG).is_file()


def open_run(path: Path) -> RunFolder:
    """The run at ``path``. Raises InputError with a suggestion where there is none."""
    if is_run(path):
        return RunFolder(path)
    if not path.exists():
        raise InputError("no such run", file=path, fix=_suggest(path))
    raise InputError("is not a run folder (no config.yaml)", file=path, fix=_suggest(path))


def _suggest(path: Path) -> str:
    newest = latest(Path("runs"))
    return f"The newest run is {newest}." if newest else "Make one with: recon fit SCENE"


def latest(parent: Path) -> Path | None:
    """The run in ``parent`` that was worked on last."""
    runs = [p for p in parent.glob("*") if is_run(p)] if parent.is_dir() else []
    return max(runs, key=lambda p: max(f.stat().st_mtime for f in (p / CONFIG, p / "log.jsonl") if f.exists()),
               default=None)


def create(path: Path | None, scene: str, method: str) -> RunFolder:
    """Makes the folder of a new run: ``path``, or runs/<scene>-<method>-NN with the next free number.

    Raises InputError where the folder already holds something, or cannot be written.
    """
    try:
        if path is not None:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                fix = (f"Go on with: recon fit --resume {path}  or choose another --out." if is_run(path)
                       else "Choose another --out.")
                raise InputError("already exists and is not empty", file=path, fix=fix)
            path.mkdir(parents=True, exist_ok=True)
            return RunFolder(path)
        safe = re.sub(r"[^\w.-]+", "_", scene).strip("._") or "scene"
        stem = f"{safe}-{method.rpartition(':')[2].rpartition('.')[2]}"
        Path("runs").mkdir(exist_ok=True)
        for number in range(1, 10_000):
            candidate = Path("runs") / f"{stem}-{number:02d}"
            try:
                candidate.mkdir()
            except FileExistsError:
                continue
            return RunFolder(candidate)
    except OSError as error:
        raise InputError(f"cannot be made ({error.strerror or error})", file=path or Path("runs"),
                         fix="Choose another folder with --out.") from None
    raise InputError("9,999 runs of this scene already", file=Path("runs"), fix="Name one with --out.")


def _read_json(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=path) from None
    if not isinstance(content, dict):
        raise InputError("does not hold a JSON object", file=path)
    return content
