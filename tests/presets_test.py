"""Every preset of every method: it builds, survives config.yaml, fits, resumes to the same bits, exports."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_capture import Fixed, MemoryPhoto, picture, tiny_capture

from recon.app.settings import from_plain, to_plain
from recon.export import read_splats, write_splats
from recon.fit.evaluate import compare
from recon.fit.events import Evaluated, Event, Finished, Saved, Started, Warned
from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.fit.system import Dropout, Exposure, System
from recon.ops.native import native
from recon.protocols import Splats
from recon.types import Capture, Photo

CONFIGS = sorted(p for p in (Path(__file__).parents[1] / "configs").glob("*.py") if not p.name.startswith("_"))
NAMES = ("fast", "balanced", "quality")
STEPS, STOP = 40, 13  # the only structure change of 40 steps is at 20, after the stop


def _all() -> Iterator[tuple[str, str]]:
    for path in CONFIGS:
        for name in importlib.import_module(f"recon.configs.{path.stem}").PRESETS:
            yield path.stem, name


def _system(method: str, preset: str) -> System:
    return importlib.import_module(f"recon.configs.{method}").PRESETS[preset]


every_preset = pytest.mark.parametrize(("method", "preset"), list(_all()))
every_method = pytest.mark.parametrize("method", [p.stem for p in CONFIGS])


@pytest.fixture(scope="module")
def capture() -> Capture:
    return tiny_capture()


@pytest.fixture
def threads() -> Iterator[Any]:
    """Sets the threads of the kernels and of torch; put back afterwards."""
    before = native.get_threads(), torch.get_num_threads()

    def use(n: int) -> None:
        native.set_threads(n)
        torch.set_num_threads(n)

    yield use
    native.set_threads(before[0])
    torch.set_num_threads(before[1])


def _run(fit: Fit) -> list[Event]:
    return list(fit.events())


def _likeness(fit: Fit) -> tuple[float, float]:
    """Mean PSNR and SSIM of the fitted views."""
    found = list(compare(fit.field, fit.system, fit.capture, fit.capture.train))
    return sum(r.psnr for r in found) / len(found), sum(r.ssim for r in found) / len(found)


def _assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the bit, through dicts, lists and tensors; what clocks and memory say is left out."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key not in ("seconds", "peak_memory_bytes"):
                _assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            _assert_same(x, y, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert a.shape == b.shape, where
        same = a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        assert same, f"{where} differs by up to {float((a.detach() - b.detach()).abs().max())}"
    else:
        assert a == b, where


@every_method
def test_the_file_says_what_it_is(method: str) -> None:
    module = importlib.import_module(f"recon.configs.{method}")
    assert set(module.PRESETS) >= set(NAMES)
    assert module.PRESET in module.PRESETS
    text = ast.get_docstring(ast.parse(Path(str(module.__file__)).read_text())) or ""
    assert re.search(r"arXiv \d{4}\.\d{4,5}", text), "the docstring names title, authors, venue and arXiv id"


@every_preset
def test_means_of_last_steps_are_of_one_shape(method: str, preset: str) -> None:
    """A mean that began before the last change of resolution would begin anew there, and be shorter than it says."""
    strategies = _system(method, preset).strategies
    for name in ("refine", "densify"):
        if "average" in strategies and name in strategies:
            changed: Any = strategies[name]
            last = max(changed.at) if name == "refine" else changed.until
            average: Any = strategies["average"]
            assert average.begin >= last


@every_preset
def test_config_yaml_gives_it_back(method: str, preset: str) -> None:
    system = _system(method, preset)
    text = yaml.safe_dump(to_plain(system), sort_keys=False)
    assert from_plain(yaml.safe_load(text)) == system


@every_preset
def test_the_picture_gets_better(method: str, preset: str, capture: Capture) -> None:
    plan = with_steps(_system(method, preset), 11 * STEPS)  # the first opacity reset would come at step 44
    fit = Fit(capture, plan, until=STEPS - 4)
    before, events, after = _likeness(fit), _run(fit), _likeness(fit)
    final = next(e for e in events if isinstance(e, Evaluated) and e.final)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert final.split == "test"
    assert len(final.views) == 2
    assert after[0] > before[0] + 0.5, "the fitted views did not get closer to their photos"
    assert after[1] > before[1] + 0.02
    assert 0 < fit.field.num_primitives < (3_000 if isinstance(fit.field, Splats) else 100_000)


@every_preset
def test_stop_and_resume_give_the_same_bits(method: str, preset: str, capture: Capture, tmp_path: Path,
                                            threads: Any) -> None:
    system = with_steps(_system(method, preset), STEPS)
    threads(1)
    straight = Fit(capture, system, seed=3)
    _run(straight)
    threads(2)
    first = Fit(capture, system, seed=3, folder=tmp_path, until=STOP)
    assert any(isinstance(e, Saved) for e in _run(first))
    assert first.step == STOP
    second = Fit(capture, system, seed=3, folder=tmp_path, resume=True)
    assert second.resumed
    assert second.step == STOP
    _run(second)
    _assert_same(straight.state(), second.state())


def test_settings_that_no_preset_uses(capture: Capture, tmp_path: Path) -> None:
    """Anti-aliasing, absolute gradients, exposure correction, random backgrounds behind alpha: fit, stop, go on."""
    base = with_steps(_system("gaussians", "fast"), STEPS)
    views = []
    for view in capture.views:
        rgb = view.photo().rgb
        views.append(replace(view, source=MemoryPhoto(Photo(rgb, alpha=(rgb.amax(0) > 20).to(torch.uint8) * 255))))
    capture = replace(capture, views=tuple(views), has_alpha=True, points=None)
    densify = replace(base.strategies["densify"], absolute=True, threshold=8e-4)
    system = replace(
        base, field=replace(base.field, antialiased=True, random_points=400),  # type: ignore[type-var]
        renderer=replace(base.renderer, absolute_gradient=True),  # type: ignore[type-var]
        exposure=Exposure(enabled=True), background="random", strategies={**base.strategies, "densify": densify},
            dropout=Dropout(),  # presets have it
    )  # fmt: skip
    straight = Fit(capture, system)
    before = _likeness(straight)
    _run(straight)
    assert _likeness(straight)[0] > before[0] + 0.5
    assert straight.field.gaussians().antialiased
    assert straight.problem.exposure is not None
    assert int(straight.problem.exposure.counts.sum()) == STEPS
    _run(Fit(capture, system, folder=tmp_path, until=STOP))
    second = Fit(capture, system, folder=tmp_path, resume=True)
    _run(second)
    _assert_same(straight.state(), second.state())


@every_method
def test_the_seed_counts(method: str, capture: Capture) -> None:
    system = with_steps(_system(method, "fast"), STEPS)
    a, b = Fit(capture, system, seed=3, until=STOP), Fit(capture, system, seed=4, until=STOP)
    _run(a)
    _run(b)
    assert any(not torch.equal(a.field.params[name], b.field.params[name]) for name in a.field.params)


@every_method
def test_a_torn_checkpoint_costs_only_its_steps(method: str, capture: Capture, tmp_path: Path) -> None:
    system = with_steps(_system(method, "fast"), STEPS)
    _run(Fit(capture, system, folder=tmp_path, until=STOP))
    _run(Fit(capture, system, folder=tmp_path, resume=True, until=27))
    saved = sorted((tmp_path / "checkpoint").glob("*.pt"))
    assert [p.name for p in saved] == ["step_0000013.pt", "step_0000027.pt"]
    saved[1].write_bytes(saved[1].read_bytes()[:1000])
    fit = Fit(capture, system, folder=tmp_path, resume=True)
    assert fit.step == STOP
    events = _run(fit)
    assert any(isinstance(e, Warned) and "step_0000027.pt" in e.message for e in events)
    straight = Fit(capture, system)
    _run(straight)
    _assert_same(straight.state(), fit.state())
    assert len(list((tmp_path / "checkpoint").glob("*.pt"))) == 2


@every_method
def test_export_shows_the_same_picture(method: str, capture: Capture, tmp_path: Path) -> None:
    fit = Fit(capture, with_steps(_system(method, "fast"), STEPS))
    if not isinstance(fit.field, Splats):
        pytest.skip("only Gaussians have a file format of their own; other fields are kept in checkpoints")
    _run(fit)
    camera = capture.test[0].camera
    shown = picture(fit.field, camera)
    assert float(shown.std()) > 0.05, "the picture is empty"
    for suffix, least_db in ((".ply", 80.0), (".spz", 35.0)):
        path = tmp_path / f"scene{suffix}"
        write_splats(path, fit.field.gaussians())
        again = picture(Fixed(read_splats(path).gaussians), camera)
        error = float((again - shown).square().mean().clamp_min(1e-12))
        assert -10 * torch.log10(torch.tensor(error)) > least_db, suffix
