"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recon.app import sizes
from recon.errors import InputError


@pytest.mark.parametrize(("text", "value"), [
    ("4GB", 4e9), ("4gb", 4e9), ("1.5 GB", 1.5e9), ("1500MB", 1.5e9), ("2GiB", 2 * 2**30), ("123", 123), ("8k", 8000),
])
def test_bytes(text: str, value: float) -> None:
    assert sizes.parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [
    ("3m", 180), ("90s", 90), ("1h30m", 5400), ("2.5m", 150), ("45", 45), ("1:30", 90), ("1:02:03", 3723),
    ("3min", 180), ("1m 30s", 90),
])
def test_seconds(text: str, value: float) -> None:
    assert sizes.parse_seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [
    ("540x960", (540, 960)), ("540×960", (540, 960)), ("1/2", 0.5), ("0.25", 0.25), ("auto", None), ("full", 1.0),
])
def test_resolution(text: str, value: object) -> None:
    assert sizes.parse_resolution(text) == value


@pytest.mark.parametrize("parse", [sizes.parse_bytes, sizes.parse_seconds, sizes.parse_resolution])
@pytest.mark.parametrize("text", ["", "x", "-3m", "nan", "inf", "4 apples", "1/0", "0x0", "0", "5x", "1e99999", "3/2"])
def test_nonsense_is_refused(parse: object, text: str) -> None:
    with pytest.raises(InputError):
        parse(text)  # type: ignore[operator]


@given(st.text(max_size=12))
def test_any_text_gives_a_value_or_an_input_error(text: str) -> None:
    for parse in (sizes.parse_bytes, sizes.parse_seconds, sizes.parse_resolution):
        try:
            parse(text)
        except InputError:
            continue


def test_auto_is_half_size_for_phone_photos_on_two_cores() -> None:
    factor = sizes.auto_factor(1080, 1920, cores=2)
    assert round(1080 * factor) * round(1920 * factor) <= 530_000
    assert factor == pytest.approx(0.5, abs=0.005)
    assert sizes.auto_factor(400, 400, cores=1) == 1.0


def test_a_box_turns_with_the_photo() -> None:
    assert sizes.fitted(1080, 1920, (960, 540)) == (540, 960)
    assert sizes.fitted(1920, 1080, (960, 540)) == (960, 540)
    assert sizes.fitted(100, 50, (960, 540)) == (100, 50)


def test_numbers_read_well() -> None:
    assert sizes.format_bytes(1.13e9) == "1.1 GB"
    assert sizes.format_bytes(400) == "400 B"
    assert sizes.format_seconds(75) == "1:15"
    assert sizes.format_seconds(3700) == "1:01:40"
    assert sizes.format_seconds(float("inf")) == "–"
    assert sizes.format_count(142_300) == "142k"
    assert sizes.format_about(180) == "about 3 min"
