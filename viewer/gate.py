"""Gate: the port that browsers connect to. It lets through who may come in, and passes their bytes on unchanged.

The page's own server listens on a random port of this machine only and takes nobody who did not come through here. So

- a page of another site that is open in the same browser cannot reach the viewer (the Origin must be our own address,
  and on this machine the Host must be a name of this machine, against DNS rebinding);
- with ``token`` every first request must carry it in the address (``/?token=...``); then a cookie does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

from recon.errors import InputError

STAMP = "x-recon-gate"  # header that proves to the page's server that a connection came through the gate
LOCAL = ("127.0.0.1", "localhost", "::1")
MOST_HEAD = 16 * 1024
HEAD_S = 15.0
PIECE = 1 << 16


class Gate:
    """Listens on ``host``:``port`` (0 = any free one; see ``port`` afterwards) on its own thread.

    protocol   of websockets that the page's server speaks; a page of another version is told to load again
    refused    called on that thread with a line about every request that was not let through
    answer     (path, query) of a GET that was let through -> (type, content), or None where the page's server is to
               answer; called on a thread of its own
    """

    def __init__(self, host: str, port: int, inner_port: int, stamp: str, token: str | None, *, protocol: str = "",
                 refused: Callable[[str], object] = lambda line: None,
                 answer: Callable[[str, str], tuple[str, bytes] | None] = lambda path, query: None) -> None:
        self.host, self.port, self.inner_port, self.stamp, self.token = host, port, inner_port, stamp, token
        self.protocol, self.refused, self.answer = protocol, refused, answer
        self._answering = ThreadPoolExecutor(2, thread_name_prefix="recon-gate")
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task] = set()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="recon-gate", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise InputError(f"port {port} of {host} cannot be used ({self._error.strerror or self._error})",
                             fix="Choose another one: --port 8090, or --port 0 for any.")

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._answering.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            server = self._loop.run_until_complete(
                asyncio.start_server(self._connection, self.host, self.port, limit=MOST_HEAD))
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
            answer, request = self.judge(head)
            if answer is not None:
                if not answer.startswith(b"HTTP/1.1 303"):
                    self._tell(writer, answer.rpartition(b"\r\n")[2].decode())
                writer.write(answer)
                await writer.drain()
                return
            if (own := await self._own(request)) is not None:
                writer.write(own)
                await writer.drain()
                return
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self.inner_port)
            inner.write(request)
            await _both(_pump(reader, inner), _pump(inner_reader, writer))
        except (asyncio.LimitOverrunError, ValueError):
            self._tell(writer, "It is not HTTP.")
        except (OSError, asyncio.IncompleteReadError, TimeoutError):  # gone, or connected in advance by a browser
            pass
        except asyncio.CancelledError:  # the gate closes; Python 3.11 would log this as an error
            pass
        finally:
            for end in (writer, inner):
                if end is not None:
                    end.close()

    async def _own(self, request: bytes) -> bytes | None:
        """Our own answer to a request that was let through, or None."""
        if b"\r\nupgrade:" in request:
            return None
        path, _, query = request.split(b" ", 2)[1].decode("latin-1").partition("?")
        try:
            made = await self._loop.run_in_executor(self._answering, self.answer, path, query)
        except ValueError as error:
            return _answer("400 Bad Request", f"This cannot be answered: {error}.")
        except OSError:  # TimeoutError is one
            return _answer("503 Service Unavailable", "Not now.")
        if made is None:
            return None
        kind, content = made
        return (f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
                "Cache-Control: no-store\r\nConnection: close\r\n\r\n").encode() + content

    def _tell(self, writer: asyncio.StreamWriter, why: str) -> None:
        peer = (writer.get_extra_info("peername") or ("?",))[0]
        self.refused(f"a request from {peer} was refused: {why}")

    def judge(self, head: bytes) -> tuple[bytes | None, bytes]:
        """(an answer that ends the matter or None, the request to pass on) for the head of a request."""
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or words[0] != "GET":
            return _answer("405 Method Not Allowed", "Only GET."), b""
        fields = [(n.strip().lower(), v.strip()) for n, sep, v in (line.partition(":") for line in lines[1:]) if sep]
        headers = dict(fields)
        host = headers.get("host", "")
        if self.host in LOCAL and (urlsplit("//" + host).hostname or "") not in LOCAL:
            return _answer("403 Forbidden", "This viewer is for this machine only."), b""
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _answer("403 Forbidden", "Requests from other sites are refused."), b""
        if self.token is not None:
            cookie = f"recon_{self.port}"
            path, _, query = words[1].partition("?")
            if _same(parse_qs(query).get("token", [""])[0], self.token):
                keep = f"{cookie}={self.token}; HttpOnly; SameSite=Lax; Path=/"
                return _answer("303 See Other", "", f"Location: {_local(path)}\r\nSet-Cookie: {keep}\r\n"), b""
            sent = dict(c.strip().partition("=")[::2] for c in headers.get("cookie", "").split(";"))
            if not _same(sent.get(cookie, ""), self.token):
                return _answer("403 Forbidden", "Open the address that recon printed, with its token."), b""
        upgrade = headers.get("upgrade", "").lower() == "websocket"
        if upgrade and self.protocol and headers.get("sec-websocket-protocol") != self.protocol:
            return _answer("400 Bad Request", "This page is of another version: load it again."), b""
        kept = [f"{n}: {v}" for n, v in fields if n != STAMP and (upgrade or n != "connection")]
        kept += [f"{STAMP}: {self.stamp}"] + ([] if upgrade else ["connection: close"])
        return None, "\r\n".join([lines[0], *kept, "", ""]).encode("latin-1")


def _same(a: str, b: str) -> bool:
    return hmac.compare_digest(a.encode(), b.encode())


def _local(path: str) -> str:
    """A path of this server, never "//other.host"."""
    return "/" + path.lstrip("/\\")


def _answer(status: str, text: str, headers: str = "") -> bytes:
    body = text.encode()
    return (f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"{headers}Cache-Control: no-store\r\nConnection: close\r\n\r\n").encode() + body


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(PIECE):
        sink.write(data)
        await sink.drain()


async def _both(*pumps: Coroutine[Any, Any, None]) -> None:
    """Until one direction ends; then the other one is of no use either."""
    tasks = [asyncio.ensure_future(p) for p in pumps]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
