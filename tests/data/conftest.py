"""Fixtures of the readers' tests."""

from __future__ import annotations

import pytest
from tiny_captures import Tiny, make_tiny


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return make_tiny()
