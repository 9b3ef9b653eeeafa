"""Settings to YAML and back, bit for bit; and what a hostile or hand-edited file may not do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from recon.app import catalogue
from recon.app.settings import describe, from_plain, to_plain
from recon.errors import InputError


def through_yaml(value: Any) -> Any:
    return yaml.safe_load(yaml.safe_dump(to_plain(value), sort_keys=False))


@pytest.mark.parametrize("method", catalogue.names())
def test_every_preset_survives_yaml(method: str) -> None:
    for system in catalogue.presets(method).values():
        assert from_plain(through_yaml(system)) == system


def test_floats_keep_every_bit() -> None:
    system = catalogue.load("gaussians", "fast")
    odd = replace(system, field=replace(system.field, opacity=0.1 + 0.2, scale=1e-17 / 3))  # type: ignore[type-var]
    again = from_plain(through_yaml(odd))
    assert again.field.opacity.hex() == odd.field.opacity.hex()  # type: ignore[attr-defined]
    assert again.field.scale.hex() == odd.field.scale.hex()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval", "recon.app.main.main", "recon.x.Y",
                                  "recon.fit.system.Any", "reconx.System", "", 3])
def test_a_file_cannot_name_other_code(name: object) -> None:
    with pytest.raises(InputError):
        from_plain({"class": name, "args": ["true"]})


@pytest.mark.parametrize(("path", "value", "words"), [
    (("field", "sh_degree"), "three", "system.field.sh_degree is 'three', but must be int"),
    (("field", "antialiased"), "maybe", "must be bool"),
    (("steps",), None, None),
    (("masks",), "on", "system.masks is 'on'"),
    (("field", "sh_degre"), 3, 'unknown setting "system.field.sh_degre"'),
])
def test_hand_edits_that_are_wrong_name_the_setting(path: tuple[str, ...], value: object, words: str | None) -> None:
    plain = through_yaml(catalogue.load("gaussians", "fast"))
    node = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    if words is None:
        return
    with pytest.raises(InputError) as caught:
        from_plain(plain)
    assert words in caught.value.message


def test_hand_edits_that_are_meant_well_work() -> None:
    plain = through_yaml(catalogue.load("gaussians", "fast"))
    plain["field"]["opacity"] = "1e-1"  # text to YAML 1.1
    plain["field"]["scale"] = 2
    system = from_plain(plain)
    assert system.field.opacity == 0.1
    assert isinstance(system.field.scale, float)


def test_describe_names_every_setting_with_its_comment() -> None:
    rows = {row.name: row for row in describe(catalogue.load("gaussians", "balanced"))}
    assert rows["field.opacity"].help == "opacity of the first Gaussians"
    assert rows["steps"].default == "7000" or int(rows["steps"].default) > 0
    assert "losses.photometric.ssim_weight" in rows
    assert "optimizer.rates.means.start" in rows
