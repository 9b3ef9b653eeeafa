"""The process that runs COLMAP's structure from motion: ``python sfm_process.py job.json``.

It is a process of its own so that whatever the native code does (logging, a failed check, memory) cannot touch the
program. It speaks JSON lines on standard output: ``[stage, done, total]``, at last ``["done", placed, error_px]`` or
``["failed", reason]``. It ends when nobody listens any more. It imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXHAUSTIVE_UP_TO = 60  # photos; beyond, the number of pairs makes neighbours in the sequence the better first try
EXHAUSTIVE_RETRY_UP_TO = 300
_ENOUGH_PLACED = 0.7
_POLL_SECONDS = 0.5


def main(job_file: str) -> int:
    job = json.loads(Path(job_file).read_text())
    listener = os.fdopen(os.dup(1), "w")
    log = os.open(job["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def say(*words: object) -> None:
        try:
            listener.write(json.dumps(words) + "\n")
            listener.flush()
        except (BrokenPipeError, ValueError):
            os._exit(1)

    try:
        say(*_run(job, say))
    except Exception as error:
        say("failed", f"{type(error).__name__}: {error}")
        return 1
    return 0


def _run(job: dict[str, Any], say: Callable[..., None]) -> tuple[object, ...]:
    import pycolmap

    pycolmap.logging.minloglevel = 1
    pycolmap.set_random_seed(0)
    folder = Path(job["folder"])
    database, images, sparse = folder / "database.db", folder / "copies", folder / "models"
    groups: list[dict[str, Any]] = job["groups"]
    names = [name for group in groups for name in group["names"]]
    with _Watched(database, "keypoints", "Finding features", len(names), say):
        for group in groups:
            reader = pycolmap.ImageReaderOptions()
            reader.camera_model = group["camera_model"]
            extraction = pycolmap.FeatureExtractionOptions()
            extraction.use_gpu = False
            extraction.num_threads = job["num_threads"]
            extraction.sift.max_num_features = group["max_features"]
            extraction.sift.first_octave = group["first_octave"]
            pycolmap.extract_features(
                database, images, image_names=group["names"], camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader, extraction_options=extraction, device=pycolmap.Device.cpu,
            )  # fmt: skip
    exhaustive = len(names) <= EXHAUSTIVE_UP_TO
    best = _matched_and_mapped(pycolmap, job, database, images, sparse, len(names), exhaustive, say)
    placed = 0 if best is None else best.num_reg_images()
    if not exhaustive and placed < _ENOUGH_PLACED * len(names) and len(names) <= EXHAUSTIVE_RETRY_UP_TO:
        again = _matched_and_mapped(pycolmap, job, database, images, sparse, len(names), True, say)
        if again is not None and again.num_reg_images() > placed:
            best = again
    if best is None:
        return "done", 0, 0.0
    target = folder / "sparse"
    target.mkdir(exist_ok=True)
    best.write_binary(str(target))
    return "done", best.num_reg_images(), float(best.compute_mean_reprojection_error())


def _matched_and_mapped(
    pycolmap: Any, job: dict[str, Any], database: Path, images: Path, sparse: Path, count: int, exhaustive: bool,
    say: Callable[..., None],
) -> Any:  # fmt: skip
    """The reconstruction with most photos, or None."""
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = job["num_threads"]
    num_pairs = count * (count - 1) // 2
    if exhaustive:
        with _Watched(database, "two_view_geometries", "Matching photos", num_pairs, say):
            pycolmap.match_exhaustive(database, matching_options=matching, device=pycolmap.Device.cpu)
    else:
        pairing = pycolmap.SequentialPairingOptions()
        pairing.overlap = 10
        pairing.quadratic_overlap = True  # also photos 16, 32, 64, ... further on: closes loops without a vocabulary
        pairing.loop_detection = False
        with _Watched(database, "two_view_geometries", "Matching photos", min(num_pairs, 15 * count), say):
            pycolmap.match_sequential(
                database, matching_options=matching, pairing_options=pairing, device=pycolmap.Device.cpu
            )
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 3
    options.random_seed = 0
    options.num_threads = job["num_threads"]
    options.max_num_models = 10
    placed = [2]
    say("Placing photos", 0, count)

    def next_image() -> None:
        placed[0] += 1
        say("Placing photos", min(placed[0], count), count)

    shutil.rmtree(sparse, ignore_errors=True)
    sparse.mkdir()
    models = pycolmap.incremental_mapping(database, images, sparse, options, next_image_callback=next_image)
    return max(models.values(), key=lambda m: (m.num_reg_images(), m.num_points3D()), default=None)


class _Watched:
    """Reports the number of rows of a table of the database while native code fills it."""

    def __init__(self, database: Path, table: str, stage: str, total: int, say: Callable[..., None]) -> None:
        self.database, self.table, self.stage, self.total, self.say = database, table, stage, total, say
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watched:
        self.say(self.stage, 0, self.total)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        self.say(self.stage, self.total, self.total)

    def _watch(self) -> None:
        while not self.ended.wait(_POLL_SECONDS):
            try:
                with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=0.1) as connection:
                    (done,) = connection.execute(f"SELECT COUNT(*) FROM {self.table}").fetchone()
                connection.close()
            except sqlite3.Error:
                continue
            self.say(self.stage, min(done, self.total), self.total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
