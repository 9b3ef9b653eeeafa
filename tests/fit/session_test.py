"""The session: pause stops the steps, watchers get pictures, and nothing that a watcher does disturbs the fit."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_capture import camera_at, tiny_capture

from recon.configs import gaussians
from recon.fit import looks as looks_module
from recon.fit.events import Finished, Started, Warned
from recon.fit.looks import Look, Looks, Picture
from recon.fit.loop import Fit
from recon.fit.session import Session
from recon.types import Render


def make_fit(steps: int) -> Fit:
    return Fit(tiny_capture(), dataclasses.replace(gaussians.PRESETS["fast"], steps=steps), evaluate_every_s=1e9)


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session.of_fit(make_fit(1_000_000))
    yield made
    made.close()


def wait_for(what: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def look_at(got: list[Picture], width: int = 96, height: int = 64, angle: float = 0.3) -> Look:
    return Look(camera_at(angle, size=(width, height)), ("rgb", "depth"), got.append)


def test_pause_stops_the_steps_and_one_step_is_one(session: Session) -> None:
    session.start()
    wait_for(lambda: session.step > 3)
    session.pause()
    session.ask(lambda: None).result(10)  # answered while it holds, so the pause has been seen
    held = session.step
    time.sleep(0.1)
    assert session.step == held
    assert session.paused
    session.one_step()
    wait_for(lambda: session.step == held + 1)
    time.sleep(0.05)
    assert session.step == held + 1
    session.resume()
    wait_for(lambda: session.step > held + 3)


def test_a_pause_is_no_fitting_time(session: Session) -> None:
    session.pause()
    session.start()
    time.sleep(0.5)
    session.resume()
    wait_for(lambda: session.step > 0)
    session.pause()
    assert session.ask(lambda: session.fit.seconds).result(10) < 0.45


def test_stop_ends_also_while_paused(session: Session) -> None:
    session.pause()
    session.start()
    session.stop()
    events = list(session.events())
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert events[-1].stopped
    assert session.ask(lambda: 7).result(10) == 7, "an ended session still answers"


def test_the_fit_is_the_same_with_and_without_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks_module, "SETTLE_S", 0.0)
    alone = make_fit(40)
    for _ in alone.events():
        pass
    watched = make_fit(40)
    session = Session.of_fit(watched, share=0.8)
    got: list[Picture] = []
    session.look("a", look_at(got))
    session.start()
    list(session.events())
    session.close()
    assert len(got) > 1
    for name, value in alone.field.params.items():
        assert torch.equal(value, watched.field.params[name]), name


def test_pictures_follow_the_fit(session: Session) -> None:
    got: list[Picture] = []
    session.look("a", look_at(got))
    session.start()
    wait_for(lambda: sum(p.full for p in got) >= 3)
    full = [p for p in got if p.full]
    assert full[0].render.rgb.shape == (64, 96, 3)
    assert full[0].render.depth is not None
    assert full[-1].step > full[0].step
    assert not torch.equal(full[0].render.rgb, full[-1].render.rgb)


def test_only_the_latest_request_is_served(session: Session) -> None:
    session.pause()
    got: list[Picture] = []
    for i in range(50):
        session.look("a", look_at(got, angle=0.01 * i))
    last = look_at(got, angle=2.0)
    session.look("a", last)
    session.start()
    wait_for(lambda: got)
    assert got[0].look is last
    session.leave("a")
    session.ask(lambda: None).result(10)
    count = len(got)
    time.sleep(0.1)
    assert len(got) == count


def test_paused_pictures_come_once(session: Session) -> None:
    session.pause()
    session.start()
    got: list[Picture] = []
    session.look("a", look_at(got))
    wait_for(lambda: got and got[-1].full)
    time.sleep(0.2)
    assert sum(p.full for p in got) == 1


def test_a_raising_client_becomes_one_warning(session: Session) -> None:
    def fails(picture: Picture) -> None:
        raise OSError("the browser was killed")

    got: list[Picture] = []
    session.start()
    for i in range(5):
        session.look("bad", Look(camera_at(0.1 * i), ("rgb",), fails))
        session.look("good", look_at(got))
        before = session.step
        wait_for(lambda before=before: session.step > before + 2)
    wait_for(lambda: got)
    warnings = [e for e in session.since(0) if isinstance(e, Warned)]
    assert [w.message for w in warnings] == ["a picture could not be made (OSError: the browser was killed)"]


def test_a_render_error_becomes_a_warning(session: Session) -> None:
    def broken(field: Any) -> Any:
        raise RuntimeError("injected")

    session.look("a", Look(camera_at(0.0), ("rgb",), lambda p: None, edit=broken))
    session.start()
    wait_for(lambda: any(isinstance(e, Warned) and "injected" in e.message for e in session.since(0)))
    before = session.step
    wait_for(lambda: session.step > before + 2)


def test_ask_hands_errors_to_who_asked(session: Session) -> None:
    session.start()

    def wrong() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        session.ask(wrong).result(10)
    assert session.ask(lambda: threading.current_thread().name).result(10) == "recon-fit"


def test_an_error_of_the_fit_reaches_who_follows_it() -> None:
    fit = make_fit(5)
    session = Session.of_fit(fit)
    fit.problem.system = None  # type: ignore[assignment]
    fit.problem.gradient = None  # type: ignore[assignment,method-assign]
    session.start()
    with pytest.raises(TypeError):
        list(session.events())
    session.close()


def test_a_session_without_a_fit_only_shows() -> None:
    fit = make_fit(1)
    whole = Session.of_fit(fit)
    session = Session(whole.shown)
    got: list[Picture] = []
    session.start()
    assert list(session.events()) == []
    session.look("a", look_at(got))
    wait_for(lambda: got and got[-1].full)
    session.close()


class SlowClock:
    """Time that passes only when something is drawn or a step is made."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize(("clients", "elsewhere"), [(1, 0.0), (3, 0.0), (1, 0.01)])
def test_the_share_is_kept(share: float, clients: int, elsewhere: float) -> None:
    clock, drawn = SlowClock(), []

    def draw(camera: Any, want: Any, edit: Any) -> Render:
        seconds = 0.002 + camera.width * camera.height / 4e6
        clock.now += seconds
        drawn.append(seconds)
        if elsewhere:
            looks.spend(elsewhere)
        return Render(torch.zeros(camera.height, 1, 3))

    def in_bands(camera: Any, want: Any, edit: Any) -> Any:
        return lambda top, height: draw(camera.cropped(0, top, camera.width, height), want, edit)

    looks = Looks(SimpleNamespace(draw=draw, in_bands=in_bands), share, lambda message: None, clock)
    for step in range(1500):
        clock.now += 0.03  # a step
        looks.earn(0.03)
        if step % 3 == 0:  # everybody moves all the time
            for client in range(clients):
                looks.put(client, Look(camera_at(step, size=(640, 480)), ("rgb",), lambda p: None))
        looks.serve(step, free=False)
    beside = elsewhere * len(drawn)
    used = (sum(drawn) + beside) / (clock.now + beside)
    assert 0.93 * looks_module.SPENT * share < used <= share * 1.02 + looks_module.DEBT_S / clock.now


def test_a_full_picture_from_bands_is_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = make_fit(1)
    session = Session.of_fit(fit)
    got: list[Picture] = []
    clock = SlowClock()
    looks = Looks(session.shown, 0.2, lambda m: pytest.fail(m), clock)
    monkeypatch.setattr(looks._cost, "pixels", lambda s, hurry=False: 1920.0 if s == looks_module.BAND_S else 1000.0)
    monkeypatch.setattr(looks_module, "LEAST_PIXELS", 1000)
    looks._cost.learn(1000, 0.01)
    look = look_at(got)
    looks.put("a", look)
    assert looks.serve(0, free=True) == 0.0
    assert not got[0].full
    assert looks.serve(0, free=True) == pytest.approx(looks_module.SETTLE_S), "it may still be moving"
    clock.now += 1.0
    pieces = 0
    while looks.serve(0, free=True) == 0.0:
        pieces += 1
    assert pieces == 3
    with torch.no_grad():
        whole = session.shown.draw(look.camera, ("rgb", "depth"))
    assert got[-1].full
    torch.testing.assert_close(got[-1].render.rgb, whole.rgb, atol=1e-5, rtol=0)


def test_the_cost_of_pieces_is_learnt() -> None:
    cost = looks_module._Cost()
    generator = torch.Generator().manual_seed(0)
    for i in range(60):
        pixels = 12_000 if i % 3 else 120_000
        noise = 1 + 0.1 * float(torch.randn((), generator=generator))
        cost.learn(pixels, noise * (0.03 + pixels * 5e-7))
    a, b = cost.line()
    assert a == pytest.approx(0.03, rel=0.2)
    assert b == pytest.approx(5e-7, rel=0.2)
    assert cost.pixels(0.01) == pytest.approx(a / b), "less would hardly be faster"
    assert cost.pixels(0.08) == pytest.approx(100_000, rel=0.25)


def test_nobody_watching_costs_one_comparison() -> None:
    """Far below 1 % of any step: a call and a comparison."""
    session = Session.of_fit(make_fit(1))
    n = 100_000
    began = time.perf_counter()
    for _ in range(n):
        session._between_steps()
    assert (time.perf_counter() - began) / n < 3e-6


def test_watchers_are_served_between_the_views_of_an_evaluation() -> None:
    fit, served = make_fit(10), []
    fit.between_steps = lambda: served.append(fit.step)
    result = fit.evaluate()
    assert len(served) == len(result.views) == len(fit.capture.test)


def test_the_first_picture_is_small_until_it_is_known_what_pictures_cost() -> None:
    drawn: list[int] = []

    def draw(camera: Any, want: Any, edit: Any = None) -> Render:
        drawn.append(camera.width * camera.height)
        return Render(torch.zeros(camera.height, camera.width, 3))

    got: list[Picture] = []
    looks = Looks(SimpleNamespace(draw=draw, in_bands=None), 0.2, print)  # type: ignore[arg-type]
    looks.put(0, look_at(got, 900, 600))
    looks.serve(0, free=True)
    assert drawn[0] == pytest.approx(looks_module.PROBE_PIXELS, rel=0.05)
    assert len(got) == 1, "a probe is not worth looking at"
    assert drawn[1] > 4 * drawn[0], "that was quick: the picture may be larger"


@pytest.mark.parametrize("seconds_per_pixel", [3e-7, 2e-5, 3e-4])
@pytest.mark.parametrize("cold", [1.0, 20.0])
def test_no_piece_takes_long_however_slow_scene_and_first_picture_are(seconds_per_pixel: float, cold: float) -> None:
    clock, took = SlowClock(), []

    def draw(camera: Any, want: Any, edit: Any = None) -> Render:
        pixels = camera.width * camera.height
        took.append((cold if not took else 1.0) * (0.005 + pixels * seconds_per_pixel))
        clock.now += took[-1]
        return Render(torch.zeros(camera.height, camera.width, 3))

    def in_bands(camera: Any, want: Any, edit: Any) -> Any:
        return lambda top, height: draw(camera.cropped(0, top, camera.width, height), want, edit)

    got: list[Picture] = []
    looks = Looks(SimpleNamespace(draw=draw, in_bands=in_bands), 0.2, lambda message: pytest.fail(message), clock)
    for step in range(400):
        if step % 40 == 0:
            looks.put("a", look_at(got, 480, 270))
        clock.now += 0.05
        looks.earn(0.05)
        looks.serve(step, free=False)
    assert len(got) >= 3
    slowest_row = 16 * 480 * seconds_per_pixel  # a band has at least so many
    assert max(took[1:]) < max(2.1 * looks_module.SLOWEST_S, 1.5 * slowest_row)
