"""The process that runs COLMAP's structure from motion: ``python sfm_process.py job.json``.

It is a process of its own so that whatever the native code does (logging, a failed check, memory) cannot touch the
program. It speaks JSON lines on standard output: ``[stage, done, total]``, at last ``["done", placed, error_px]`` or
``["failed", reason]``. It ends when nobody listens any more. It imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXHAUSTIVE_UP_TO = 60  # photos; beyond, the number of pairs makes neighbours in the sequence the better first try
EXHAUSTIVE_RETRY_UP_TO = 300
_ENOUGH_PLACED = 0.7


def serve(job_file: str, run: Callable[[dict[str, Any], Callable[..., None], _LogReader], tuple[object, ...]]) -> int:
    """Does ``run(job, say, log)`` and says what it returns."""
    job = json.loads(Path(job_file).read_text())
    listener = os.fdopen(os.dup(1), "w")

    speaking = threading.Lock()

    def say(*words: object) -> None:
        try:
            with speaking:
                listener.write(json.dumps(words) + "\n")
                listener.flush()
        except (BrokenPipeError, ValueError):
            os._exit(1)

    log = _LogReader(Path(job["log"]), say)
    try:
        say(*run(job, say, log))
    except Exception as error:
        say("failed", f"{type(error).__name__}: {error}")
        return 1
    return 0


def started() -> Any:
    """pycolmap, whose log goes to standard error and whose random numbers are always the same."""
    import pycolmap

    pycolmap.logging.minloglevel = 0
    pycolmap.logging.alsologtostderr = True
    pycolmap.logging.stderrthreshold = 0
    pycolmap.set_random_seed(0)
    return pycolmap


def extract(pycolmap: Any, job: dict[str, Any], group: dict[str, Any], reader: Any) -> None:
    """Finds features of a group of photos. They are entered first, in their order: threads would number them as they
    finish, and all that follows depends on the numbers."""
    database, images = Path(job["folder"]) / "database.db", Path(job["folder"]) / "copies"
    mode = pycolmap.CameraMode.SINGLE
    pycolmap.Database.open(str(database)).close()  # makes it
    pycolmap.import_images(database, images, camera_mode=mode, image_names=group["names"], options=reader)
    pycolmap.extract_features(
        database, images, image_names=group["names"], camera_mode=mode, reader_options=reader,
        extraction_options=extraction_options(pycolmap, job, group), device=pycolmap.Device.cpu,
    )  # fmt: skip


def verification_options(pycolmap: Any) -> Any:
    """How matches are checked: random numbers begin anew with every pair, whichever thread it comes to."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = 0
    return options


def extraction_options(pycolmap: Any, job: dict[str, Any], group: dict[str, Any]) -> Any:
    """How features of a group of photos are found."""
    options = pycolmap.FeatureExtractionOptions()
    options.use_gpu = False
    options.num_threads = job["num_threads"]
    options.sift.max_num_features = group["max_features"]
    options.sift.first_octave = group["first_octave"]
    return options


def _run(job: dict[str, Any], say: Callable[..., None], log: _LogReader) -> tuple[object, ...]:
    pycolmap = started()
    folder = Path(job["folder"])
    database, images, sparse = folder / "database.db", folder / "copies", folder / "models"
    groups: list[dict[str, Any]] = job["groups"]
    names = [name for group in groups for name in group["names"]]
    done = 0
    for group in groups:
        log.begin("Finding features", done, len(names))
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = group["camera_model"]
        extract(pycolmap, job, group, reader)
        done += len(group["names"])
    exhaustive = len(names) <= EXHAUSTIVE_UP_TO
    best = _matched_and_mapped(pycolmap, job, database, images, sparse, len(names), exhaustive, say, log)
    placed = 0 if best is None else best.num_reg_images()
    if not exhaustive and placed < _ENOUGH_PLACED * len(names) and len(names) <= EXHAUSTIVE_RETRY_UP_TO:
        again = _matched_and_mapped(pycolmap, job, database, images, sparse, len(names), True, say, log)
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
    say: Callable[..., None], log: _LogReader,
) -> Any:  # fmt: skip
    """The reconstruction with most photos, or None."""
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = job["num_threads"]
    log.begin("Matching photos")
    if exhaustive:
        blocks = pycolmap.ExhaustivePairingOptions()
        blocks.block_size = 10  # a line of progress per block
        pycolmap.match_exhaustive(
            database, matching_options=matching, pairing_options=blocks,
            verification_options=verification_options(pycolmap), device=pycolmap.Device.cpu,
        )  # fmt: skip
    else:
        pairing = pycolmap.SequentialPairingOptions()
        pairing.overlap = 10
        pairing.quadratic_overlap = True  # also photos 16, 32, 64, ... further on: closes loops without a vocabulary
        pairing.loop_detection = False
        pycolmap.match_sequential(
            database, matching_options=matching, pairing_options=pairing,
            verification_options=verification_options(pycolmap), device=pycolmap.Device.cpu,
        )  # fmt: skip
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 3
    options.random_seed = 0
    options.num_threads = 1  # sums of several threads differ from run to run
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


class _LogReader:
    """Copies what native code writes to standard error into the log file, and reads progress from it.

    The log is the only safe window into COLMAP's work: a second reader of its database within one process breaks
    SQLite's locks.
    """

    _PATTERN = re.compile(r"(Processed file|Processing image|Processing block) \[(\d+)/(\d+)(?:, (\d+)/(\d+))?\]")

    def __init__(self, log: Path, say: Callable[..., None]) -> None:
        self.stage, self.say = "", say
        self._log = log.open("ab")
        source, sink = os.pipe()
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        self._lines = os.fdopen(source, "rb")
        threading.Thread(target=self._pump, daemon=True).start()

    def begin(self, stage: str, before: int = 0, total: int = 0) -> None:
        """Progress lines now belong to ``stage``; ``before`` of ``total`` are done (0: use the numbers in the log)."""
        self.stage, self.before, self.total = stage, before, total

    def _pump(self) -> None:
        for raw in self._lines:
            self._log.write(raw)
            self._log.flush()
            found = self._PATTERN.search(raw.decode("utf-8", errors="replace"))
            if found is None:
                continue
            done, total = int(found[2]), int(found[3])
            if found[4] is not None:  # blocks of pairs, row by row
                done, total = (done - 1) * int(found[5]) + int(found[4]), total * int(found[5])
            self.say(self.stage, self.before + done, self.total or total)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], _run))
