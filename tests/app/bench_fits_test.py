"""`recon bench fits`: the table says what the runs say, the plot holds their curves, and what is no run is named."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from recon.app import run_table
from recon.app.main import main
from recon.app.run_folder import open_run


def test_the_table_says_what_the_run_says(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fits", str(tiny_run)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3
    cells = dict(zip(*([c.strip() for c in line.strip("|").split("|")] for line in (lines[0], lines[2])), strict=True))
    metrics = open_run(tiny_run).metrics()
    assert cells["PSNR"] == f"{metrics['psnr']:.2f}"
    assert cells["steps"] == "12"
    assert cells["scene"] == "tiny"
    assert cells["method"] == "gaussians"


def test_two_runs_with_a_plot(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    plot = tmp_path / "fits.svg"
    assert main(["bench", "fits", str(tiny_run), str(other), "--json", "--plot", str(plot)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["run"] for r in rows] == [str(tiny_run), str(other)]
    assert rows[0]["curve"][-1][1] == pytest.approx(rows[0]["psnr"])
    drawn = ElementTree.fromstring(plot.read_text())
    text = [e.text for e in drawn.iter() if e.tag.endswith("text")]
    assert "other" in text  # the names differ where the settings do not
    assert tiny_run.name in text


def test_a_curve_is_of_the_same_views_throughout(tiny_run: Path, tmp_path: Path) -> None:
    """A fit measures a few views on its way and all at its end: their means are not of one curve."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    two = {"a": {"psnr": 20.0}, "b": {"psnr": 30.0}}
    events = [{"event": "evaluated", "seconds": 1.0, "psnr": 19.0, "views": {"a": {"psnr": 19.0}}},
              {"event": "evaluated", "seconds": 2.0, "psnr": 25.0, "views": two}]
    (run / "log.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    assert run_table.read(run).curve == ((1.0, 19.0), (2.0, 20.0))


def test_bad_input(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fits", str(tmp_path / "nowhere")]) == 2
    assert main(["bench", "fits", str(tiny_run), "--plot", str(tmp_path / "a.png")]) == 2
    unmeasured = tmp_path / "unmeasured"
    shutil.copytree(tiny_run, unmeasured)
    (unmeasured / "metrics.json").unlink()
    capsys.readouterr()
    assert main(["bench", "fits", str(unmeasured)]) == 2
    assert "has not been measured" in capsys.readouterr().err
