"""The cost of showing: other threads count, the fit's do not, and no picture pays for more than a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from recon.viewer.expense import MOST_S, Expense


@contextmanager
def working(name: str, seconds: float) -> Iterator[None]:
    """A thread that has used ``seconds`` of processor time and is still there."""
    done, leave = threading.Event(), threading.Event()

    def work() -> None:
        while time.thread_time() < seconds:
            pass
        done.set()
        leave.wait(30)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    assert done.wait(30)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_other_threads_count_once() -> None:
    expense = Expense()
    with working("sends", 0.05):
        assert expense.since() == pytest.approx(0.05, abs=0.03)
        assert expense.since() < 0.02


def test_the_fit_does_not_count() -> None:
    expense = Expense()
    with working("recon-fit", 0.05):
        assert expense.since() < 0.02


def test_a_long_time_is_a_moment_at_most() -> None:
    expense = Expense()
    with working("loads", 0.3):
        assert expense.since() == MOST_S


def test_threads_that_have_ended_take_nothing_back() -> None:
    expense = Expense()
    with working("sends", 0.05):
        expense.since()
    assert 0 <= expense.since() < 0.02
