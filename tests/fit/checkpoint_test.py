"""Checkpoints: complete or absent, the last two kept, damage is said and stepped over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon.errors import InputError
from recon.fit import checkpoint


def test_keeps_the_last_two(tmp_path: Path) -> None:
    for step in (5, 10, 1_000_000, 20_000_000):
        checkpoint.save(tmp_path, step, {"step": step, "x": torch.arange(step % 7)}, {"seconds": step / 2})
    names = ["step_1000000.json", "step_1000000.pt", "step_20000000.json", "step_20000000.pt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert checkpoint.load_costs(tmp_path, 20_000_000) == {"seconds": 1e7}
    (tmp_path / "step_20000000.json").write_text("{")
    assert checkpoint.load_costs(tmp_path, 20_000_000) == {}, "they may be lost"
    state, warnings = checkpoint.load_latest(tmp_path)
    assert state is not None
    assert state["step"] == 20_000_000
    assert warnings == []


def test_nothing_there(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path / "none") == (None, [])
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    assert checkpoint.load_latest(tmp_path) == (None, [])


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", None])
def test_damage_is_said_and_stepped_over(tmp_path: Path, damage: bytes | None) -> None:
    old = checkpoint.save(tmp_path, 1, {"step": 1}, {"seconds": 1.5})
    new = checkpoint.save(tmp_path, 2, {"step": 2, "x": torch.zeros(1000)}, {"seconds": 1.5})
    new.write_bytes(new.read_bytes()[:-500] if damage is None else damage)
    state, warnings = checkpoint.load_latest(tmp_path)
    assert state == {"step": 1}
    assert len(warnings) == 1
    assert "step_0000002.pt" in warnings[0]
    old.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint could be read"):
        checkpoint.load_latest(tmp_path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"step": 1}, {"seconds": 1.5})
    with pytest.raises(Exception, match=r"pickle|local object"):
        checkpoint.save(tmp_path, 2, {"step": lambda: 2}, {"seconds": 1.5})
    assert [p.name for p in tmp_path.glob("*.pt")] == ["step_0000001.pt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    import os

    class Hostile:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"step": Hostile()}, tmp_path / "step_0000003.pt")
    with pytest.raises(InputError):
        checkpoint.load_latest(tmp_path)
    assert not (tmp_path / "owned").exists()
