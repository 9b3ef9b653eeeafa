"""Greeting: the scene as one picture while the browser is still loading the page.

The page's program is large, and a computer without a GPU takes seconds to start it. Until it shows pictures of its own,
the page shows ones that a few lines ask for, drawn from where the browser is going to stand.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from recon.fit.session import Look, Picture
from recon.viewer.stream import pinhole, vertical_fov

if TYPE_CHECKING:
    from recon.fit.session import Session
    from recon.viewer.page import Page

PICTURE = "/recon-greeting.jpg"
SEEN = "recon-seen"  # id of what a panel shows from the first picture on; the greeting leaves then
FRAMES = "/recon-frames"  # where browsers that draw the scene themselves say how long they take
WAIT_S = 10.0
PIXELS = 130_000
MOST_SIDE = 4096

# The page's program starts once the first picture is there, or has not come for a second: while it starts, nothing else
# is drawn for seconds on computers without a GPU.
LINES = f"""<div id="recon-greeting" style="position:fixed;inset:0;z-index:1;pointer-events:none;background:#1a1b1e">
<img alt="" style="width:100%;height:100%;display:block;visibility:hidden"></div><script>(() => {{
  const box = document.getElementById("recon-greeting"), shown = box.firstElementChild, add = document.head.appendChild;
  let held = [], count = 0;
  const begin = () => {{
    const scripts = held || [];
    held = null;
    scripts.forEach((script) => add.call(document.head, script));
  }};
  document.head.appendChild = (node) => {{
    if (!held || node.type !== "module") return add.call(document.head, node);
    held.push(node);
    return node;
  }};
  setTimeout(begin, 1000);
  const ask = () => {{
    if (!box.isConnected) return;
    fetch(`{PICTURE}?width=${{innerWidth}}&height=${{innerHeight}}&count=${{count++}}`)  // an image would delay "load"
      .then((answer) => answer.ok ? answer.blob() : Promise.reject())
      .then((jpeg) => {{
        URL.revokeObjectURL(shown.src);
        shown.src = URL.createObjectURL(jpeg);
        return shown.decode();
      }})
      .then(() => {{
        shown.style.visibility = "visible";
        requestAnimationFrame(() => setTimeout(begin));
      }})
      .catch(() => null)
      .then(() => setTimeout(ask, 800));
  }};
  ask();
  const look = () => {{
    if (!document.getElementById("{SEEN}")) return setTimeout(look, 100);
    setTimeout(() => box.remove(), 150);
  }};
  look();
  let timed = null;
  setInterval(() => {{
    const seen = document.getElementById("{SEEN}"), client = (seen && seen.dataset.draws) || null;
    if (client === timed) return;
    timed = client;
    if (!client) return;
    const times = [];
    const frame = () => {{
      times.push(performance.now());
      if (times.length < 5) return requestAnimationFrame(frame);
      fetch(`{FRAMES}?client=${{client}}&milliseconds=${{Math.round((times[4] - times[0]) / 4)}}`);
      setTimeout(() => {{ timed = null; }}, 5000);
    }};
    setTimeout(() => requestAnimationFrame(frame), 2000);
  }}, 1000);
}})();</script>"""


class Greeting:
    """Answers of the gate: the page with the greeting's lines in it, and what they ask for.

    drew   called with the number of a client whose browser draws the scene itself, and its seconds for a frame
    """

    def __init__(self, session: Session, page: Page, inner_port: int, drew: Callable[[int, float], object]) -> None:
        self.session, self.page, self.inner_port, self.drew = session, page, inner_port, drew
        self._index: bytes | None = None
        self._asked: set[Future[Picture]] = set()

    def close(self) -> None:
        """Nobody waits for a picture any longer."""
        for done in list(self._asked):
            done.cancel()

    def answer(self, path: str, query: str) -> tuple[str, bytes] | None:
        """(type, content) for a GET; None = the page's server answers. May take seconds."""
        if path == "/":
            return ("text/html; charset=utf-8", self.index()) if "playback" not in query else None
        if path == FRAMES:
            self.drew(_number(query, "client"), 1e-3 * _number(query, "milliseconds"))
            return "text/plain", b""
        return ("image/jpeg", self.picture(query)) if path == PICTURE else None

    def index(self) -> bytes:
        """The page of the page's server, with the lines behind the opening of its body."""
        if self._index is None:
            asked = HTTPConnection("127.0.0.1", self.inner_port, timeout=WAIT_S)
            with contextlib.closing(asked):
                asked.request("GET", "/", headers={"Connection": "close"})
                whole = asked.getresponse().read()
            head, body, rest = whole.partition(b"<body>")
            self._index = head + body + (LINES.encode() if body else b"") + rest
        return self._index

    def picture(self, query: str) -> bytes:
        """JPEG from the page's start at the size of a window, drawn in the share of time that watching has.

        Raises ValueError for sizes that are none, and TimeoutError where the session does not answer or the viewer
        closes.
        """
        width, height = _number(query, "width"), _number(query, "height")
        if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
            raise ValueError(f"a picture of {width}x{height}")
        start = self.page.start
        camera = pinhole(width, height, PIXELS, vertical_fov(start), start.world_from_camera)
        done: Future[Picture] = Future()

        def deliver(picture: Picture) -> None:
            if not done.done():
                done.set_result(picture)

        self._asked.add(done)
        self.session.look(done, Look(camera, ("rgb",), deliver))
        try:
            pixels = self.page.paint.channel(done.result(WAIT_S).render, "rgb")
        except CancelledError:
            raise TimeoutError("the viewer closes") from None
        finally:
            self.session.leave(done)
            self._asked.discard(done)
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format="JPEG", quality=80)
        return out.getvalue()


def _number(query: str, name: str) -> int:
    """ValueError where it is missing or none."""
    return int(parse_qs(query).get(name, [""])[0][:9])
