"""Whole runs of the program on a tiny scene: fit, look, measure, export, go on, repeat, stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_scene import command

import recon
from recon.app import catalogue
from recon.app.main import main
from recon.app.run_folder import RunFolder
from recon.errors import InputError
from recon.export import read_splats

FAST = ("--field.random_points", "300", "--quiet")


def test_a_run_folder_explains_itself(tiny_run: Path) -> None:
    for name in ("README.txt", "config.yaml", "log.jsonl", "metrics.json", "cameras.json", "scene.ply"):
        assert (tiny_run / name).stat().st_size > 0, name
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    for key in ("psnr", "ssim", "views", "seconds", "steps", "primitives", "peak_memory_bytes", "sh_degree"):
        assert metrics[key] is not None
    assert metrics["steps"] == 12
    assert "lpips" not in metrics
    assert len(metrics["views"]) == 2  # every 8th of ten: the first and the ninth
    names = sorted(p.name for p in (tiny_run / "compare").iterdir())
    assert len(names) == 2
    assert names[0].startswith("01_psnr")
    worst = min(metrics["views"], key=lambda name: metrics["views"][name]["psnr"])
    assert Path(worst).stem in names[0]
    assert "recon fit --resume" in (tiny_run / "README.txt").read_text()
    kinds = [entry["event"] for entry in RunFolder(tiny_run).log()]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert not [p for p in tiny_run.rglob("*") if p.name.endswith(".tmp") or p.name.startswith(".compare")]


def test_scene_is_in_source_coordinates(tiny_run: Path) -> None:
    saved = RunFolder(tiny_run).cameras()
    run = recon.load(tiny_run)
    # the photos were taken from a circle of radius 3 at height 1: the cameras must come back there
    for camera in run.cameras:
        assert float(camera.centre[:2].norm()) == pytest.approx(3.0, rel=1e-6)
        assert float(camera.centre[2]) == pytest.approx(1.0, rel=1e-6)
    assert saved.world_from_source.scale != 1.0, "nothing was tested: the frames are the same"
    g = read_splats(tiny_run / "scene.ply").gaussians
    assert len(g) == run.metrics["primitives"]


def test_a_loaded_run_renders_what_was_measured(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    metrics = RunFolder(tiny_run).metrics()
    assert again["psnr"] == pytest.approx(metrics["psnr"], abs=0.02)
    assert again["ssim"] == pytest.approx(metrics["ssim"], abs=0.002)


def test_python_three_lines(tiny_run: Path) -> None:
    run = recon.load(tiny_run)
    shown = run.render(run.cameras[0], want=("rgb", "depth", "normal", "opacity"))
    assert shown.rgb.shape == (32, 48, 3)
    assert float(shown.rgb.min()) >= 0
    assert float(shown.rgb.max()) <= 1
    assert shown.depth is not None
    hit = shown.depth[shown.depth > 0]
    assert 1.0 < float(hit.median()) < 8.0  # about 3.2 in the source's units, whatever the frame of the fit
    assert run.render(run.cameras[0], size=(24, 16)).rgb.shape == (16, 24, 3)
    assert run.image(run.cameras[0]).size == (48, 32)
    with pytest.raises(InputError, match="Closest: depth"):
        run.render(run.cameras[0], want=("dept",))


@pytest.mark.parametrize("suffix", [".ply", ".splat", ".spz"])
def test_export_and_look_again(suffix: str, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / f"scene{suffix}"
    assert main(["export", str(tiny_run), str(out)]) == 0
    assert main(["export", str(tiny_run), str(out)]) == 2, "an existing file was replaced without being asked"
    before, after = recon.load(tiny_run), recon.load(out)
    assert len(after.gaussians) == len(before.gaussians)
    camera = before.cameras[0]
    difference = (before.render(camera).rgb - after.render(camera).rgb).abs().mean()
    assert float(difference) < {".ply": 1e-4, ".spz": 0.03, ".splat": 0.05}[suffix]
    assert main(["info", str(out)]) == 0


@pytest.mark.parametrize("words", [
    ["--path", "orbit", "--seconds", "0.2"], ["--path", "spiral", "--seconds", "0.2", "--channel", "depth"],
    ["--channel", "normal"], ["--channel", "depth", "--depth16"], ["--channel", "opacity", "--split", "all"],
    ["--size", "20x30", "--background", "white"],
])
def test_render(words: list[str], tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / ("x.mp4" if "--path" in words else "pictures")
    assert main(["render", str(tiny_run), *words, "--out", str(out)]) == 0
    files = [out] if out.is_file() else list(out.iterdir())
    assert files
    assert all(f.stat().st_size > 0 for f in files)
    if "all" in words:
        assert len(files) == 10


def test_a_bare_splat_file_renders_an_orbit(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "orbit.mp4"
    words = ["--path", "orbit", "--seconds", "0.2", "--size", "64x48", "--out", str(out)]
    assert main(["render", str(tiny_run / "scene.ply"), *words]) == 0
    assert out.stat().st_size > 0


def test_render_works_when_the_photos_are_gone_and_eval_says_so(tiny_scene: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["fit", str(tiny_scene), "--steps", "2", "--out", str(out), *FAST]) == 0
    moved = tmp_path / "elsewhere"
    tiny_scene.rename(moved)
    assert main(["render", str(out), "--out", str(tmp_path / "p")]) == 0
    assert main(["info", str(out)]) == 0
    capsys.readouterr()
    assert main(["eval", str(out)]) == 2
    assert "--scene PATH" in capsys.readouterr().err
    assert main(["eval", str(out), "--scene", str(moved)]) == 0


def test_config_repeats_the_run_exactly(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert main(["fit", "--config", str(tiny_run / "config.yaml"), "--out", str(out), "--quiet"]) == 0
    assert (out / "scene.ply").read_bytes() == (tiny_run / "scene.ply").read_bytes()
    before, after = RunFolder(tiny_run).config(), RunFolder(out).config()
    assert before["system"] == after["system"]
    assert before["scene"]["size"] == after["scene"]["size"]


def test_a_finished_run_goes_on_past_its_end(tiny_scene: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["fit", str(tiny_scene), "--steps", "4", "--out", str(out), *FAST]) == 0
    assert main(["fit", "--resume", str(out)]) == 2
    assert "--steps 8" in capsys.readouterr().err
    assert main(["fit", "--resume", str(out), "--steps", "7", "--quiet"]) == 0
    assert RunFolder(out).metrics()["steps"] == 7
    assert RunFolder(out).config()["system"]["steps"] == 4, "the plan itself must not change"
    assert main(["fit", "--resume", str(out), "--seed", "3"]) == 2
    assert main(["fit", str(tiny_scene), "--out", str(out), *FAST]) == 2, "an existing run was overwritten"


def test_events_from_python(tiny_scene: Path, tmp_path: Path) -> None:
    system = catalogue.load("gaussians", "fast")
    system = replace(system, field=replace(system.field, random_points=300))  # type: ignore[type-var]
    names = [type(e).__name__ for e in recon.run(tiny_scene, steps=2, out=tmp_path / "run", seed=1, system=system)]
    assert names[0] == "Started"
    assert names[-1] == "Finished"
    with pytest.raises(InputError, match="Closest: preset"):
        recon.run(tiny_scene, prset="fast").__next__()


def test_json_is_json_lines(tiny_scene: Path, recon: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = recon("fit", str(tiny_scene), "--steps", "2", "--field.random_points", "300", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert "finished" in [e["event"] for e in events]
    assert done.stderr == ""


def test_a_pipe_gets_plain_lines_and_nothing_else(tiny_scene: Path,
                                                  recon: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = recon("fit", str(tiny_scene), "--steps", "2", "--field.random_points", "300")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    labels = [line[:12].strip() for line in done.stdout.splitlines()]
    for label in ("Photos", "Scene", "Method", "Fitting", "Saved", "Look", "Export"):
        assert label in labels
    assert all(labels), "a line without a label: something leaked"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(number: int, tiny_scene: Path, tmp_path: Path) -> None:
    words = ["fit", str(tiny_scene), "--steps", "1000000", "--field.random_points", "300", "--out", "run"]
    process = subprocess.Popen(command(*words), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and b'"progress"' in log.read_bytes()) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    last = out.splitlines()[-1]
    assert last.startswith("Stopped at step ")
    assert last.endswith("Go on with: recon fit --resume run")
    assert (tmp_path / "run" / "scene.ply").exists()
    step = int(last.split()[3].replace(",", ""))
    assert list((tmp_path / "run" / "checkpoint").glob(f"*{step}.pt"))
    assert main(["fit", "--resume", str(tmp_path / "run"), "--steps", str(step + 2), "--quiet"]) == 0
    assert RunFolder(tmp_path / "run").metrics()["steps"] == step + 2


def test_a_disk_that_is_full_is_one_clear_line(tiny_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    from recon.app import results

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(results, "write_scene", full)
    code = main(["fit", str(tiny_scene), "--steps", "2", "--out", str(tmp_path / "run"), *FAST])
    err = capsys.readouterr().err
    assert code == 2
    assert "the disk is full" in err
    assert "Saved up to step 2" in err
    assert "recon fit --resume" in err


def test_masses_of_bad_scenes_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "transforms.json").write_text('{"frames": [{"file_pa')
    for scene in (empty, broken, tmp_path / "nowhere"):
        assert main(["fit", str(scene), "--out", str(tmp_path / "out")]) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert not (tmp_path / "out").exists(), "a run folder was left behind"


def test_threads_do_not_change_the_result(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    config = str(tiny_run / "config.yaml")
    assert main(["fit", "--config", config, "--threads", "1", "--out", str(out), "--quiet"]) == 0
    assert torch.equal(read_splats(out / "scene.ply").gaussians.means,
                       read_splats(tiny_run / "scene.ply").gaussians.means)
