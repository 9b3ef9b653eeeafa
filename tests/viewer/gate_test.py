"""Who may come in: tokens, other sites, other hosts, passing by the gate, and bad requests."""

from __future__ import annotations

import contextlib
import http.client
import socket
from typing import Any

import pytest
from watching import wait_for

from recon.errors import InputError
from recon.fit.events import Warned
from recon.viewer.gate import Gate


def get(port: int, path: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(request)
        out = b""
        while piece := s.recv(65536):
            out += piece
        return out


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13",
           "Sec_WebSocket_Key": "x3JJHMbDL1EzLkh9GBhXDw=="}


def test_this_machine_needs_no_token_and_other_sites_are_refused(make_viewer: Any) -> None:
    shown = make_viewer()
    port = shown.viewer.gate.port
    assert shown.viewer.url == f"http://127.0.0.1:{port}/"
    assert get(port)[0] == 200
    assert get(port, Host="evil.example")[0] == 403, "DNS rebinding"
    assert get(port, Origin="http://evil.example")[0] == 403
    assert get(port, Origin="null")[0] == 403
    assert get(port, Origin="http://evil.example", **UPGRADE)[0] == 403
    assert get(port, Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_other_hosts_need_the_token(make_viewer: Any) -> None:
    shown = make_viewer(host="0.0.0.0")
    viewer, port = shown.viewer, shown.viewer.gate.port
    assert len(viewer.token) >= 20
    assert viewer.url.endswith(f":{port}/?token={viewer.token}")
    assert get(port)[0] == 403
    assert get(port, "/?token=wrong")[0] == 403
    assert get(port, **UPGRADE)[0] == 403
    assert get(port, Cookie=f"recon_{port}=wrong")[0] == 403
    status, headers, _ = get(port, f"/?token={viewer.token}")
    assert status == 303
    assert headers["location"] == "/"
    assert "HttpOnly" in headers["set-cookie"]
    cookie = headers["set-cookie"].split(";")[0]
    assert get(port, Cookie=cookie)[0] == 200
    assert get(port, f"//evil.example/?token={viewer.token}")[1]["location"] == "/evil.example/"


def test_a_browser_gets_in_with_the_token(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer(host="0.0.0.0")
    open_page(shown.viewer.url.replace(shown.viewer.url.split("/")[2].split(":")[0], "127.0.0.1"))
    wait_for(lambda: shown.viewer.watchers)


def test_nobody_passes_by_the_gate(make_viewer: Any) -> None:
    """The inner server closes what does not carry the gate's stamp, before it sends anything."""
    websockets = pytest.importorskip("websockets.sync.client")
    import viser

    shown = make_viewer()
    protocol = [f"viser-v{viser.__version__}"]
    with websockets.connect(f"ws://127.0.0.1:{shown.viewer.server.get_port()}", subprotocols=protocol) as inner, \
            pytest.raises(Exception, match=r"1008|not through the gate"):
        inner.recv(timeout=10)
    with websockets.connect(f"ws://127.0.0.1:{shown.viewer.gate.port}", subprotocols=protocol) as proper:
        assert proper.recv(timeout=10)


@pytest.mark.parametrize("request_", [
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
])
def test_bad_requests_end_nothing(make_viewer: Any, request_: bytes) -> None:
    shown = make_viewer()
    port = shown.viewer.gate.port
    try:
        answer = raw(port, request_)
    except ConnectionError:
        answer = b""
    assert b"root:" not in answer
    assert not answer.startswith(b"HTTP/1.1 200")
    assert get(port)[0] == 200
    assert shown.session.error is None


def test_a_refused_request_becomes_a_warning(make_viewer: Any) -> None:
    shown = make_viewer()
    port = shown.viewer.gate.port
    assert get(port, Origin="http://evil.example")[0] == 403
    with contextlib.suppress(ConnectionError):
        raw(port, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
    assert get(port, **UPGRADE, Sec_WebSocket_Protocol="viser-v0.0.1")[0] == 400
    with socket.create_connection(("127.0.0.1", port)):
        pass  # as browsers do in advance
    wait_for(lambda: len(warnings_of(shown)) >= 3)
    said = "\n".join(warnings_of(shown))
    for part in ("127.0.0.1 was refused", "other sites", "not HTTP", "another version"):
        assert part in said
    assert len(warnings_of(shown)) == 3


@pytest.mark.parametrize("message", [b"\xff\x00garbage", "text", b"", b"\x93\x01\x02\x03",
                                     b"\x81\xa4type\xa9NoSuchOne", b"\x81\xa4type\xb3ViewerCameraMessage"])
def test_a_message_that_is_none_becomes_a_warning(make_viewer: Any, capfd: pytest.CaptureFixture[str],
                                                  message: bytes | str) -> None:
    websockets = pytest.importorskip("websockets.sync.client")
    import viser

    shown = make_viewer()
    with websockets.connect(f"ws://127.0.0.1:{shown.viewer.gate.port}",
                            subprotocols=[f"viser-v{viser.__version__}"]) as client:
        client.recv(timeout=10)
        client.send(message)
        wait_for(lambda: any("cannot be understood" in w for w in warnings_of(shown)))
    step = shown.session.step
    wait_for(lambda: shown.session.step > step + 5)
    assert shown.session.error is None
    assert "Traceback" not in "".join(capfd.readouterr())


def warnings_of(shown: Any) -> list[str]:
    return [e.message for e in shown.session.since(0) if isinstance(e, Warned)]


def test_a_public_tunnel_cannot_be_asked_for(make_viewer: Any) -> None:
    assert make_viewer().viewer.server.request_share_url() is None


def test_a_used_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}"):
            Gate("127.0.0.1", port, 1, "stamp", None)


def test_the_address_with_its_token_opens_in_a_browser(make_viewer: Any, open_page: Any, browser: Any) -> None:
    shown = make_viewer(host="0.0.0.0")
    address = f"http://127.0.0.1:{shown.viewer.gate.port}/"
    page = open_page(f"{address}?token={shown.viewer.token}")
    watcher = wait_for(lambda: next(iter(shown.viewer.watchers.values()), None))
    wait_for(lambda: watcher.frames > 0)
    assert "token" not in page.url, "it stays in a cookie, not in the history"
    context = browser.new_context()
    try:
        stranger = context.new_page()
        assert stranger.goto(address).status == 403
    finally:
        context.close()
