"""Shared fixtures. Reference scenes live beside the checkout and are optional."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no failure
settings.register_profile("recon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("recon")

SCENES = Path(__file__).resolve().parents[2] / "shared" / "scenes"


@pytest.fixture(scope="session")
def scenes() -> Path:
    """Folder of reference scenes; the test is skipped where they are absent."""
    if not SCENES.is_dir():
        pytest.skip(f"reference scenes not present at {SCENES}")
    return SCENES
