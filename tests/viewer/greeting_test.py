"""The picture that is there before the page is."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
from gate_test import get
from PIL import Image
from watching import has_picture, wait_for, watcher_of

from recon.viewer.greeting import PICTURE
from recon.viewer.stream import pinhole, vertical_fov


def test_the_picture_is_what_the_page_will_show(make_viewer: Any) -> None:
    shown = make_viewer()
    shown.session.pause()
    status, _, body = get(shown.viewer.gate.port, f"{PICTURE}?width=300&height=200")
    assert status == 200
    got = np.asarray(Image.open(io.BytesIO(body)))
    start = shown.viewer.page.start
    camera = pinhole(got.shape[1], got.shape[0], 1 << 20, vertical_fov(start), start.world_from_camera)
    truth = shown.session.ask(lambda: shown.session.shown.draw(camera, ("rgb",))).result(10).rgb.clamp(0, 1)
    assert got.shape[1] / got.shape[0] == pytest.approx(1.5, rel=0.02)
    assert -10 * np.log10(np.square(got / 255 - truth.numpy()).mean()) > 30
    assert not shown.session.looks.watched, "it is not drawn again and again"


@pytest.mark.parametrize("query", ["", "width=0&height=5", "width=-4&height=9", "width=x&height=9", "width=9999"])
def test_sizes_that_are_none_are_refused(make_viewer: Any, query: str) -> None:
    assert get(make_viewer().viewer.gate.port, f"{PICTURE}?{query}")[0] == 400


def test_strangers_get_no_picture(make_viewer: Any) -> None:
    viewer = make_viewer(host="0.0.0.0").viewer
    assert get(viewer.gate.port, f"{PICTURE}?width=30&height=20")[0] == 403
    assert get(viewer.gate.port, "/")[0] == 403


def test_a_viewer_that_closes_does_not_wait_for_pictures(make_viewer: Any) -> None:
    shown = make_viewer(start=False)
    answers: list[int] = []
    path = f"{PICTURE}?width=30&height=20"
    asking = threading.Thread(target=lambda: answers.append(get(shown.viewer.gate.port, path)[0]))
    asking.start()
    wait_for(lambda: shown.session.looks.watched)
    shown.viewer.greeting.close()
    asking.join(5)
    assert answers == [503]


def test_the_greeting_leaves_when_the_page_has_pictures(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    watcher = watcher_of(shown)
    wait_for(lambda: watcher.frames > 0)
    page.wait_for_function("document.getElementById('recon-greeting') === null")
    wait_for(lambda: has_picture(page))


def test_the_picture_comes_before_the_page(make_viewer: Any, browser: Any) -> None:
    shown = make_viewer()
    context = browser.new_context(viewport={"width": 900, "height": 600})
    try:
        page = context.new_page()
        page.add_init_script("""window.seen = {};
            const note = (name, there) => { if (there && !(name in seen)) seen[name] = performance.now(); };
            setInterval(() => {
                const image = document.querySelector("#recon-greeting img");
                note("picture", image && image.complete && image.naturalWidth > 0);
                note("page", document.querySelector("canvas"));
            }, 5);""")
        page.goto(shown.viewer.url)
        page.wait_for_function("seen.page", timeout=60_000)
        times = page.evaluate("seen")
    finally:
        context.close()
    assert times["picture"] < times["page"]
    assert times["picture"] < 3000, "first picture within three seconds"
