"""Shared fixtures. Reference scenes live beside the checkout and are optional."""

from __future__ import annotations

from pathlib import Path

import pytest

SCENES = Path(__file__).resolve().parents[2] / "shared" / "scenes"


@pytest.fixture(scope="session")
def scenes() -> Path:
    """Folder of reference scenes; the test is skipped where they are absent."""
    if not SCENES.is_dir():
        pytest.skip(f"reference scenes not present at {SCENES}")
    return SCENES
