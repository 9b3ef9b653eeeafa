"""`recon bench optimizers`: a fair start, honest costs, the plot."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_capture import tiny_capture

from recon.app.curves import Panel, svg, ticks
from recon.app.main import main
from recon.app.optimizer_race import Curve, Mark, Race, race, verdicts, with_budget
from recon.configs import gaussians, gaussians_lm


@pytest.fixture(scope="module")
def found() -> Race:
    base = with_budget(gaussians.PRESETS["fast"], 200)
    return race(tiny_capture(), base, gaussians_lm.finishes, steps=60, handover=2 / 3, only=("LM",))


def test_all_start_alike_and_costs_grow(found: Race) -> None:
    assert [c.name for c in found.curves] == ["Adam", "LM"]
    assert found.steps == 40
    for curve in found.curves:
        assert curve.marks[0] == found.curves[0].marks[0]
        assert curve.marks[0].seconds == 0
        for a, b in zip(curve.marks, curve.marks[1:]):
            assert b.seconds > a.seconds
            assert b.passes > a.passes
    adam, lm = found.curves
    assert adam.marks[-1].passes == 20  # one photo per step
    assert adam.marks[-1].step == 60
    views, products = 6, 6
    for mark, report in zip(lm.marks[1:], lm.reports):
        before = lm.marks[mark.step - 1].passes
        # linearised once, five products at most, one look per trial step
        assert views < mark.passes - before <= views + products * report["iterations"] + views


def test_adam_goes_on_as_if_nothing_had_happened(found: Race) -> None:
    """The reference of a race ends where the same fit without an interruption ends."""
    from recon.fit.loop import Fit
    from recon.fit.plan import with_steps
    from recon.fit.system import Dropout, Resolution

    base = with_steps(with_budget(gaussians.PRESETS["fast"], 200), 60)
    fit = Fit(tiny_capture(), base)
    for _ in range(40):
        fit.advance()
    fit.system = fit.problem.system = replace(base, resolution=Resolution(), dropout=Dropout())
    fit.problem._dropout, fit.strategies = 0.0, {}
    for _ in range(20):
        fit.advance()
    assert fit.evaluate().psnr == found.curves[0].marks[-1].psnr


def test_verdicts_interpolate() -> None:
    def curve(name: str, *marks: tuple[float, float, float]) -> Curve:
        return Curve(name, [Mark(s, i, i, p, loss) for i, (s, p, loss) in enumerate(marks)])

    start = (0.0, 20.0, 1.0)
    result = Race("toy", (8, 8), 1, 1.0, 1, [
        curve("reference", start, (10.0, 30.0, 0.5)), curve("twice as fast", start, (10.0, 40.0, 0.0)),
        curve("never", start, (10.0, 29.0, 0.6))])
    by_name = {v.name: v for v in verdicts(result)}
    assert by_name["reference"].seconds_to_psnr == pytest.approx(1.0)
    assert by_name["twice as fast"].seconds_to_psnr == pytest.approx(0.5)
    assert by_name["twice as fast"].seconds_to_loss == pytest.approx(0.5)
    assert by_name["never"].seconds_to_psnr is None
    assert by_name["never"].seconds_to_loss is None


def test_command_writes_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = Path(__file__).parents[2] / "data" / "sample"
    out = tmp_path / "race"
    words = ["bench", "optimizers", str(sample), "--resolution", "48x48", "--steps", "30", "--primitives", "300",
             "--only", "LM", "--out", str(out)]
    assert main(words) == 0
    result = json.loads((out / "race.json").read_text())
    assert [c["name"] for c in result["races"][0]["curves"]] == ["Adam", "LM"]
    assert len(result["races"][0]["verdicts"]) == 2
    picture = ElementTree.fromstring((out / "race.svg").read_text())
    lines = [e for e in picture.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 6
    assert all(len(line.attrib["points"].split()) >= 2 for line in lines)
    assert "Written" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "what"), [
    (["--only", "Adma"], 'no contender "Adma"'), (["--steps", "2"], "too few"), (["--method", "dvgo"], "no contenders"),
    (["--preset", "fats"], 'no preset "fats"'),
])
def test_wrong_words_are_named(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "optimizers", "somewhere", *words]) == 2
    assert what in capsys.readouterr().err


def test_no_scene(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "optimizers"]) == 2
    assert "scene" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (3.0, 3.004), (-7e5, 2e6), (24.3, 31.9)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 * abs(low) <= t <= high + 1e-9 * abs(high) for t in found)


def test_plot_of_one_point_and_of_a_flat_line() -> None:
    picture = svg([Panel("a < b", "x", "y", {"one": [(1.0, 2.0)], "flat": [(0.0, 3.0), (1.0, 3.0)]})])
    ElementTree.fromstring(picture)
    assert "nan" not in picture
