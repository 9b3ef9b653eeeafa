"""Faults: what goes wrong inside the page's own server is a line under Warnings, not a traceback in the terminal."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable
from typing import Any

LOGGER = "websockets.server"
CUT = (1006, 1011)  # close codes without a good-bye: the connection broke, or no longer answered


class Faults(logging.Handler):
    """Hears what the websocket server that listens on ``port`` and its event loop would print, until ``close``."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop, warn: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self.port, self.warn = port, warn
        warnings.filterwarnings("ignore", r"Queued a \w+ on a closed connection")  # a picture for who has just gone
        logger = logging.getLogger(LOGGER)
        logger.addHandler(self)
        logger.propagate = False
        loop.call_soon_threadsafe(loop.set_exception_handler, self._in_loop)

    def close(self) -> None:
        logger = logging.getLogger(LOGGER)
        logger.removeHandler(self)
        logger.propagate = not logger.handlers
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        address = getattr(getattr(record, "websocket", None), "local_address", None)
        if address is None or address[1] == self.port:
            self._say(record.exc_info[1] if record.exc_info else record.getMessage())

    def _in_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._say(context.get("exception") or context.get("message"))

    def _say(self, what: object) -> None:
        why = f"{type(what).__name__}: {what}" if isinstance(what, BaseException) else str(what)
        self.warn(f"a browser sent something that cannot be understood ({why[:200]})")
