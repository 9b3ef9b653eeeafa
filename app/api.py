"""The Python face: ``recon.fit``, ``recon.load``, ``recon.run`` and ``Run``.

    import recon
    run = recon.fit("photos/fox", time="3m")
    image = run.render(run.cameras[0]).rgb      # [height, width, 3], 0..1
    run.export("fox.spz")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.app import catalogue, reporters, run_folder, sizes
from recon.app.fitting import FitJob, FitRequest, follow, saved_system
from recon.app.run_folder import RunFolder
from recon.errors import InputError
from recon.protocols import Meshed, Splats
from recon.types import Camera, Gaussians, Mesh, Render, Similarity
from recon.types.render import CHANNELS

if TYPE_CHECKING:
    from recon.fit.events import Event


@dataclass(frozen=True)
class FixedSplats:
    """A field that is not optimised: Gaussians as they are."""

    fixed: Gaussians

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return self.fixed


@dataclass(frozen=True)
class Run:
    """A finished (or stopped) run, or a bare splat file. Everything is read when first asked for.

    Cameras, depth and Gaussians are in the coordinates of the source: those of the scene's own camera file, and of
    the exported files.
    """

    path: Path

    @property
    def folder(self) -> RunFolder | None:
        """The run folder, None for a bare splat file."""
        return RunFolder(self.path) if self.path.is_dir() else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything the run was made with, {} for a bare splat file."""
        return self.folder.config() if self.folder else {}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """psnr, ssim, views, seconds, steps, primitives, peak_memory_bytes; {} before the fit ends."""
        return self.folder.metrics() if self.folder else {}

    @cached_property
    def saved(self) -> run_folder.SavedCameras | None:
        """Cameras of all views in the world frame of the fit, None for a bare splat file."""
        return self.folder.cameras() if self.folder else None

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Cameras of all views at working size, held-out ones first, so that ``cameras[0]`` shows an honest view."""
        if self.saved is None:
            return ()
        source_from_world = self.world_from_source.inverse()
        views = (*self.saved.subset("test"), *self.saved.subset("train"))
        return tuple(source_from_world.camera(v.camera) for v in views)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What was repaired while reading the splats."""
        return self._file.warnings if self.holds_splats else ()

    @cached_property
    def holds_splats(self) -> bool:
        """Whether the scene is Gaussians, and not another representation that only the run folder holds."""
        if self.folder is None or self.folder.scene.exists():
            return True
        return isinstance(saved_system(self.config).field.build(), Splats)

    @property
    def contents(self) -> str:
        """What the scene is made of, in words."""
        if self.holds_splats:
            return f"{len(self.gaussians):,} Gaussians"
        return f"{self.field.num_primitives:,} primitives of {self.config['fit'].get('method')}"

    @cached_property
    def gaussians(self) -> Gaussians:
        """The scene, n Gaussians in the coordinates of the source."""
        return self._file.gaussians

    @cached_property
    def _file(self) -> Any:
        from recon.export import read_splats

        if not self.holds_splats:
            raise InputError("this scene is not made of Gaussians", file=self.path,
                             fix=f"Make Gaussians of it: recon convert {self.path} --to gaussians. recon mesh makes "
                                 "triangles; recon view and recon render show it.")
        file = self.folder.scene if self.folder else self.path
        if self.folder and not file.exists():
            raise InputError("is missing", file=file, fix=f"Finish the fit first: recon fit --resume {self.path}")
        return read_splats(file)

    @cached_property
    def world_from_source(self) -> Similarity:
        """To the frame of the fit; for a bare file to one of about unit size, which the renderer's limits suit."""
        if self.saved is not None:
            return self.saved.world_from_source
        x = self.gaussians.means.double()
        if not len(x):
            return Similarity()
        x = x[:: len(x) // 200_000 + 1]
        centre = x.median(0).values
        radius = max(float(torch.quantile((x - centre).norm(dim=1), 0.9)), 1e-12)
        return Similarity(1.0 / radius, torch.eye(3, dtype=torch.float64), -centre / radius)

    @property
    def surface_field(self) -> Any:
        """What may have a surface of its own: the fitted field, where it is a mesh with Gaussians on it."""
        if not self.holds_splats or self.folder is None:
            return self.field
        return self._fitted() if isinstance(saved_system(self.config).field.build(), Meshed) else self.field

    @cached_property
    def field(self) -> Any:
        """The scene in the world frame of the fit (about unit size), as the renderer wants it."""
        if not self.holds_splats:
            return self._fitted()
        return FixedSplats(self.gaussians.transformed(self.world_from_source))

    def _fitted(self) -> Any:
        """The field of the newest checkpoint."""
        from recon.fit import checkpoint

        assert self.folder is not None
        state, _ = checkpoint.load_latest(self.folder.checkpoint)
        if state is None:
            raise InputError("has no checkpoint", file=self.path,
                             fix=f"Finish the fit first: recon fit --resume {self.path}")
        field = saved_system(self.config).field.build()
        field.params.load_state(state["params"])
        field.load_state(state["field"])
        return field

    @cached_property
    def renderer(self) -> Any:
        """The renderer the scene was fitted with."""
        if self.config:
            return saved_system(self.config).renderer
        return catalogue.load(catalogue.DEFAULT_METHOD, catalogue.DEFAULT_PRESET).renderer

    @property
    def background(self) -> Tensor:
        """[3] colour behind everything in pictures: white for captures with alpha, else black."""
        return torch.full((3,), 1.0 if self.saved and self.saved.has_alpha else 0.0)

    def render(self, camera: Camera, size: tuple[int, int] | None = None, want: Collection[str] = ("rgb",),
               background: Tensor | None = None) -> Render:
        """Pictures of the scene.

        camera      pinhole, in the coordinates of the source
        size        (width, height), the camera's own by default
        want        any of "rgb", "depth" (scene units of the source), "normal" (in the source frame), "opacity"
        background  [3] colour, see ``background``

        rgb comes clamped to 0..1, [height, width, 3] float32. Raises InputError for unknown channels.
        """
        for name in want:
            if name not in CHANNELS:
                from recon.app.command_line import choose

                choose("channel", name, CHANNELS, f"Channels: {', '.join(CHANNELS)}")
        similarity = self.world_from_source
        world_camera = similarity.camera(camera.scaled(*size) if size else camera)
        with torch.no_grad():
            shown = self.renderer.render(self.field, world_camera, want=tuple(want),
                                         background=self.background if background is None else background)
        return dataclasses.replace(
            shown, trace=None, rgb=None if shown.rgb is None else shown.rgb.clamp(0, 1),
            depth=None if shown.depth is None else shown.depth / similarity.scale,
            normal=None if shown.normal is None else shown.normal @ similarity.rotation.to(shown.normal.dtype),
        )

    def image(self, camera: Camera, size: tuple[int, int] | None = None) -> Any:
        """A PIL picture, which a notebook shows by itself."""
        from recon.app.pictures import as_pil

        return as_pil(self.render(camera, size).rgb)

    def export(self, path: str | Path, mesh: Mesh | None = None) -> tuple[str, ...]:
        """Writes the scene to .ply, .splat, .spz or .html (a page to look at it), in the coordinates of the source; to
        .glb (KHR_gaussian_splatting) or .usdz with y up.

        ``mesh`` goes into a page too, in the same coordinates; a button switches between the two. Returns what the file
        cannot hold. Raises InputError for unknown suffixes and places that cannot be written.
        """
        from recon.export import DECLARE_UP, write_splats

        options: dict[str, Any] = {}
        if Path(path).suffix.lower() == ".html":
            near = getattr(self.renderer, "near", 0.02) / self.world_from_source.scale
            options = {"cameras": self.cameras, "background": self.background.tolist(), "near": near,
                       "title": self.path.name if self.folder else self.path.stem, "mesh": mesh}
        gaussians = self.gaussians
        if Path(path).suffix.lower() in DECLARE_UP:
            from recon.app.meshing import placed

            gaussians = gaussians.transformed(placed(self.cameras, Path(path).suffix.lower())[0])
        return write_splats(path, gaussians, **options)

    def __repr__(self) -> str:
        quality = f", PSNR {self.metrics['psnr']:.1f} dB" if self.metrics.get("psnr") else ""
        return f"Run({str(self.path)!r}{quality})"


def load(path: str | Path) -> Run:
    """A run folder, or a splat file made by any program. Raises InputError where it is neither."""
    path = Path(path).expanduser()
    if path.is_dir():
        return Run(run_folder.open_run(path).path)
    if not path.exists():
        raise InputError("no such file or run", file=path, fix="Make one with: recon fit SCENE")
    from recon.export import splat_suffixes

    if path.suffix.lower() not in splat_suffixes("read"):
        raise InputError(f'"{path.suffix}" is not a splat file', file=path,
                         fix=f"Read are: {', '.join(splat_suffixes('read'))}; or give a run folder.")
    return Run(path)


def fit(scene: str | Path, *, quiet: bool = False, **options: Any) -> Run:
    """Fits a scene and returns the finished run.

    scene    folder of photos, COLMAP or nerfstudio project, Blender scene, video ...
    quiet    show no progress
    options  method, preset, time ("3m" or seconds), steps, resolution ("540x960", "1/2", "auto"), memory ("4GB" or
             bytes), seed, threads, out, format, holdout, masks, poses, system: as in ``recon fit --help``

    Ctrl-C (or a notebook's stop button) ends the fit after the current step and returns what there is so far; its
    ``metrics["stopped"]`` is true. Raises InputError for bad input.
    """
    job = FitJob(_request(scene, options), reporters.make(quiet=quiet, json_lines=False))
    follow(job)
    return Run(job.folder.path)


def run(scene: str | Path, **options: Any) -> Iterator[Event]:
    """Fits a scene event by event (recon.fit.events); the run folder is complete when the iterator ends.

    The same options as ``fit``. The path of the folder is in the last ``Saved`` event.
    """
    yield from FitJob(_request(scene, options)).events()


def _request(scene: str | Path, options: dict[str, Any]) -> FitRequest:
    known = {f.name for f in dataclasses.fields(FitRequest)} - {"scene", "command"}
    for name in options:
        if name not in known:
            from recon.app.command_line import choose

            choose("option", name, sorted(known), f"Options: {', '.join(sorted(known))}")
    values = dict(options)
    if isinstance(values.get("time"), str):
        values["time"] = sizes.parse_seconds(values["time"], "time")
    if isinstance(values.get("memory"), str):
        values["memory"] = sizes.parse_bytes(values["memory"], "memory")
    if isinstance(values.get("resolution"), tuple):
        values["resolution"] = "{}x{}".format(*values["resolution"])
    if values.get("out") is not None:
        values["out"] = Path(values["out"]).expanduser()
    shown = ", ".join([repr(str(scene)), *(f"{k}={v!r}" for k, v in options.items() if k != "system")])
    return FitRequest(scene=str(scene), command=f"recon.fit({shown})", **values)
