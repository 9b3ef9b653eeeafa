"""The run folder: complete files or none, logs that survive a crash, cameras bit for bit, names that do not clash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recon.app import atomic, run_folder
from recon.app.run_folder import RunFolder, camera_from_plain, camera_to_plain, event_to_plain
from recon.errors import InputError
from recon.fit.events import Evaluated, Progress, Saved
from recon.types import Camera, Lens


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    atomic.write_json(target, {"psnr": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(target, {"psnr": float("nan")})

    def half_a_file() -> None:
        with atomic.replacing(target) as temporary:
            temporary.write_text('{"psn')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_a_file()
    assert json.loads(target.read_text()) == {"psnr": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_results_are_ordinary_files(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        atomic.write_text(tmp_path / "x.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o644


def test_a_torn_log_line_costs_only_itself(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append(Saved(1, 0.5, tmp_path / "a"))
    with open(tmp_path / "log.jsonl", "ab") as log:
        log.write(b'{"event": "progress", "step": 2, "sec')  # killed here
    assert [e["step"] for e in folder.log()] == [1]
    folder.append(Saved(3, 0.7, tmp_path / "b"))
    folder.append(Saved(4, 0.7, tmp_path / "b"))
    assert [e["step"] for e in folder.log()] == [1, 3, 4]


def test_events_are_plain_json() -> None:
    progress = Progress(3, 1.0, 10, float("nan"), None, 5, 2.0, float("inf"), 100, (4, 5))
    plain = json.loads(json.dumps(event_to_plain(progress), allow_nan=False))
    assert plain["event"] == "progress"
    assert plain["loss"] is None
    assert plain["resolution"] == [4, 5]
    evaluated = event_to_plain(Evaluated(1, 1.0, "test", float("inf"), 1.0, {"a": {"psnr": float("inf")}}))
    assert evaluated["views"] == {"a": {"psnr": None}}


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=12, max_size=12), st.lists(st.floats(1, 1e5), min_size=4, max_size=4))
def test_cameras_come_back_bit_for_bit(pose: list[float], intrinsics: list[float]) -> None:
    camera = Camera(33, 44, torch.tensor(intrinsics, dtype=torch.float64),
                    torch.tensor(pose, dtype=torch.float64).reshape(3, 4), Lens("OPENCV", (0.1, -0.2, 1e-9, 3.0)), 0.3)
    again = camera_from_plain(json.loads(json.dumps(camera_to_plain(camera))))
    assert torch.equal(again.world_from_camera, camera.world_from_camera)
    assert torch.equal(again.intrinsics, camera.intrinsics)
    assert (again.lens, again.time, again.size) == (camera.lens, camera.time, camera.size)


@pytest.mark.parametrize("content", [
    "", "[]", "{", '{"views": 3}', '{"views": [{"name": 1}], "world_from_source": {}}', "[" * 9999,
    '{"views": [], "world_from_source": {"scale": 1, "rotation": [1], "translation": []}}',
])
def test_damaged_cameras_name_the_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.json").write_text(content)
    with pytest.raises(InputError) as caught:
        RunFolder(tmp_path).cameras()
    assert caught.value.file == tmp_path / "cameras.json"


@pytest.mark.parametrize("content", ["", "a: [", "- 1", "a: 1", "!!python/object/apply:os.system ['true']", "\x00"])
def test_a_config_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(InputError):
        RunFolder(tmp_path).config()


def test_names_count_up_and_never_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [run_folder.create(None, "my photos/2024", "gaussians").path.as_posix() for _ in range(3)]
    assert made == [f"runs/my_photos_2024-gaussians-0{i}" for i in (1, 2, 3)]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(InputError, match="not empty"):
        run_folder.create(tmp_path, "x", "gaussians")
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    lock = RunFolder(tmp_path).lock()
    code = ("import sys; from pathlib import Path; from recon.app.run_folder import RunFolder\n"
            "from recon.errors import InputError\n"
            "try: RunFolder(Path(sys.argv[1])).lock()\n"
            "except InputError: sys.exit(7)")
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path).returncode == 7
    lock.close()
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path).returncode == 0


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is a file"):
        atomic.check_writable(file / "runs")
    with pytest.raises(InputError, match="cannot write"):
        atomic.check_writable(Path("/proc/self/runs"))
