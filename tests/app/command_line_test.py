"""What the program says and how it ends, for right and wrong command lines."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from recon.app import catalogue
from recon.app.commands import fit
from recon.app.main import as_input_error, commands, main
from recon.errors import InputError


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize(("words", "what", "fix"), [
    (["fot"], 'no command "fot"', "fit"),
    (["fit"], "no scene given", "recon fit photos/"),
    (["fit", "nope"], "no such file or folder", ""),
    (["fit", "x", "--method", "gausians"], 'no method "gausians"', "Closest: gaussians. All methods: recon methods"),
    (["fit", "x", "--preset", "fats"], 'no preset "fats"', "Closest: fast"),
    (["fit", "x", "--stepz", "3"], 'no option "--stepz"', "--steps"),
    (["fit", "x", "--steps", "many"], '--steps "many" is not a whole number', "recon fit --help"),
    (["fit", "x", "--steps"], "--steps needs a value", "recon fit --help"),
    (["fit", "x", "--time", "5q"], '--time "5q" is not a duration', "90s"),
    (["fit", "x", "--memory", "much"], "is not a size", "4GB"),
    (["fit", "x", "--memory", "3MB"], "too small", "at least"),
    (["fit", "x", "--resolution", "0x3"], "--resolution", ""),
    (["fit", "x", "--seed", "-3"], "--seed -3", ""),
    (["fit", "x", "--masks", "on"], '--masks "on" is not known', "auto, ignore, object, off"),
    (["fit", "x", "--time", "3m", "--steps", "4"], "exclude each other", ""),
    (["fit", "x", "--field.sh_degre", "2"], 'no option "--field.sh_degre"', "Closest: --field.sh_degree"),
    (["fit", "x", "--field.sh_degree", "two"], '--field.sh_degree "two" is not a whole number', ""),
    (["fit", "--resume", "nowhere"], "no such run", "recon fit SCENE"),
    (["fit", "--resume"], "no run to resume", ""),
    (["fit", "--config", "nowhere.yaml"], "no such file", ""),
    (["eval"], "RUN is missing", "recon eval --help"),
    (["eval", "nowhere"], "no such file or run", ""),
    (["render", "nowhere", "--channel", "dept"], 'no channel "dept"', "Closest: depth"),
    (["render", "nowhere.ply", "--size", "1/2"], "is not a size in pixels", "1280x720"),
    (["export", "nowhere", "x.fbx"], '".fbx"', ".spz"),
    (["info", "nowhere"], "no such file or folder", ""),
    (["methods", "gausians"], 'no method "gausians"', "Closest: gaussians"),
])
def test_wrong_input_is_one_clear_line_and_code_2(words: list[str], what: str, fix: str, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = said(capsys, *words)
    assert code == 2
    first, _, rest = err.partition("\n")
    assert first.startswith("error: ")
    assert what in first
    assert fix in rest
    assert all(line.startswith("       ") for line in rest.splitlines())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [], "a command that failed left something behind"


def test_help_shows_only_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "--help")
    assert code == 0
    for name, purpose in commands().items():
        assert purpose, f"{name} has no purpose"
        assert purpose in out
    assert next(iter(commands())) == "fit"


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, name, "--help")
    assert code == 0
    assert f"recon {name}" in out
    assert "Example" in out


def test_fit_help_lists_methods_with_their_papers(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said(capsys, "fit", "--help")
    for name in catalogue.names():
        assert name in out
    assert "arXiv 2308.04079" in out


def test_a_path_instead_of_a_command_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, str(tmp_path))
    assert code == 2
    assert f"recon fit {tmp_path}" in err


def test_every_setting_of_every_preset_can_be_given(tmp_path: Path) -> None:
    for method in catalogue.names():
        for preset in catalogue.presets(method):
            words = ["scene", "--method", method, "--preset", preset]
            words += ["--resolution.until", "0.25", "--resolution", "1/2"]
            arguments, request = fit.read_arguments(words)
            assert arguments.resolution == "1/2"
            assert request.system is not None
            assert request.system.resolution.until == 0.25
            assert request.system.steps == catalogue.load(method, preset).steps
            assert request.system.strategies == catalogue.load(method, preset).strategies


def test_settings_reach_the_system() -> None:
    _, request = fit.read_arguments(["scene", "--field.sh_degree", "1", "--losses.photometric.ssim-weight=0.5"])
    assert request.system is not None
    assert request.system.field.sh_degree == 1  # type: ignore[attr-defined]
    assert request.system.losses["photometric"].ssim_weight == 0.5
    assert request.scene == "scene"


def test_our_own_fault_leaves_a_report_and_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recon.app.commands.doctor.run", lambda argv: 1 / 0)
    code, _, err = said(capsys, "doctor")
    assert code == 1
    assert "Traceback" not in err
    reports = list(tmp_path.glob("recon-error-*.txt"))
    assert len(reports) == 1
    assert str(reports[0]) in err
    text = reports[0].read_text()
    assert "ZeroDivisionError" in text
    assert "recon doctor" in text


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("recon.app.commands.doctor.run", lambda argv: 1 / 0)
    code, _, err = said(capsys, "doctor", "--debug")
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.ENOSPC, "No space left on device", "/x"), "disk is full"),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), "no permission"),
    (OSError(errno.EROFS, "Read-only file system", "/x"), "read-only"),
    (MemoryError(), "too little free memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "too little free memory"),
])
def test_errors_of_the_machine_are_put_in_words(error: Exception, words: str) -> None:
    mended = as_input_error(error)
    assert isinstance(mended, InputError)
    assert words in mended.what
    assert mended.fix


def test_other_errors_are_our_own_fault() -> None:
    assert as_input_error(KeyError("x")) is None
    assert as_input_error(OSError(errno.EIO, "Input/output error", "/x")) is None


def test_methods_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "methods", "gaussians", "--preset", "fast")
    assert code == 0
    assert "--field.sh_degree" in out
    assert "Kerbl" in out
    assert "weight of this term" in out


def test_info_json_is_json(tiny_scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "info", str(tiny_scene), "--json")
    assert code == 0
    assert "10" in json.loads(out)["views"]
