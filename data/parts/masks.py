"""Masks in a folder beside the images."""

from __future__ import annotations

from pathlib import Path

from recon.data.parts.context import Context, listing
from recon.data.parts.images import UnreadableImage, find_images, probe

FOLDERS = ("masks", "mask")


class MaskFolder:
    """Finds the mask of an image: by its name, by its stem, by the number in its name, or by position in the folder."""

    def __init__(self, root: Path, images: list[Path]) -> None:
        """``images``: all image files of the capture in sorted order, also those without a pose."""
        self.files: list[Path] = []
        for name in FOLDERS:
            if (root / name).is_dir():
                self.files = sorted(find_images(root / name, recursive=True))
                break
        self._by_name = {p.name.lower(): p for p in self.files}
        self._by_stem = {p.stem.lower(): p for p in self.files}
        self._by_position: dict[Path, Path] = {}
        if len(images) == len(self.files):
            self._by_position = dict(zip(images, self.files))

    def of(self, image: Path) -> Path | None:
        stem = image.stem.lower()
        candidates = (self._by_name.get(f"{image.name.lower()}.png"), self._by_stem.get(stem),
                      self._by_stem.get(f"{stem}_mask"), self._by_stem.get(f"mask_{stem}"),
                      self._by_position.get(image))  # fmt: skip
        return next((c for c in candidates if c is not None), None)


def usable_mask(mask: Path, size: tuple[int, int], context: Context, rejected: list[str]) -> bool:
    """True if ``mask`` can be read and has the shape of its photo; else its name is added to ``rejected``."""
    try:
        header = probe(mask)
    except UnreadableImage as error:
        context.warn(f"mask {mask.name} {error}: ignored")
        return False
    if abs(header.width * size[1] - header.height * size[0]) > 0.01 * header.width * size[1] + max(size):
        rejected.append(f"{mask.name} ({header.width}x{header.height} for a photo of {size[0]}x{size[1]})")
        return False
    return True


def report_rejected(rejected: list[str], context: Context) -> None:
    if rejected:
        context.warn(f"masks of another shape than their photo were ignored: {listing(rejected)}")
