"""PLY splats in every dialect: column order, types, byte orders, line ends, missing and extra columns, comments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError
from recon.export import read_splats, write_splats
from recon.types import Gaussians

DC = ["f_dc_0", "f_dc_1", "f_dc_2"]
FULL = ["x", "y", "z", *DC, "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def write(path: Path, columns: dict[str, np.ndarray], encoding: str = "binary_little_endian", newline: str = "\n",
          extra: tuple[str, ...] = (), before: bytes = b"", after: bytes = b"") -> Path:
    """A hand-made PLY of the given columns; the types follow the arrays."""
    kinds = {"f4": "float", "f8": "float64", "u1": "uchar", "u2": "uint16", "i4": "int", "i2": "int16"}
    n = len(next(iter(columns.values())))
    lines = ["ply", f"format {encoding} 1.0", *extra, f"element vertex  {n}"]
    lines += [f"property  {kinds[v.dtype.str[1:]]} {name}" for name, v in columns.items()]
    head = newline.join([*lines, "end_header"]) + newline
    if encoding == "ascii":
        rows = [" ".join(repr(v.item()) for v in row) for row in zip(*columns.values(), strict=True)]
        body = "".join(r + newline for r in rows).encode()
    else:
        order = ">" if "big" in encoding else "<"
        table = np.empty(n, [(k, order + v.dtype.str[1:]) for k, v in columns.items()])
        for k, v in columns.items():
            table[k] = v
        body = table.tobytes()
    path.write_bytes(head.encode() + before + body + after)
    return path


def columns_of(g: Gaussians) -> dict[str, np.ndarray]:
    out = {c: g.means[:, i].numpy() for i, c in enumerate("xyz")}
    out |= {f"f_dc_{i}": g.sh[:, 0, i].numpy() for i in range(3)}
    k = g.sh.shape[1] - 1
    out |= {f"f_rest_{c * k + i}": g.sh[:, 1 + i, c].numpy() for c in range(3) for i in range(k)}
    out["opacity"] = g.logits.numpy()
    out |= {f"scale_{i}": g.log_scales[:, i].numpy() for i in range(3)}
    return out | {f"rot_{i}": g.quaternions[:, i].numpy() for i in range(4)}


def assert_same(a: Gaussians, b: Gaussians) -> None:
    for name, value in b.tensors.items():
        torch.testing.assert_close(a.tensors[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_round_trip(tmp_path, make_gaussians, degree: int, antialiased: bool) -> None:
    g = make_gaussians(33, degree, antialiased=antialiased)
    assert write_splats(tmp_path / "a.ply", g, comments=("made by\na test", "SplatRenderMode: default")) == ()
    read = read_splats(tmp_path / "a.ply")
    assert_same(read.gaussians, g)
    assert read.gaussians.antialiased is antialiased
    assert read.meta["comments"] == ("made by a test", *(("SplatRenderMode: mip",) if antialiased else ()))
    assert read.warnings == ()


@pytest.mark.parametrize("encoding", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_encoding_reads_the_same(tmp_path, make_gaussians, encoding: str, newline: str, degree: int) -> None:
    g = make_gaussians(9, degree)
    path = write(tmp_path / "a.ply", columns_of(g), encoding, newline)
    read = read_splats(path)
    assert_same(read.gaussians, g)
    assert read.warnings == ()


def test_a_payload_that_starts_with_line_ends_is_not_trimmed(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(2, 0))
    columns["x"] = np.frombuffer(b"\n\r\n " * 2, "<f4").copy()
    read = read_splats(write(tmp_path / "a.ply", columns, newline="\r\n"))
    assert read.gaussians.means[:, 0].numpy().tobytes() == b"\n\r\n " * 2


def test_columns_are_found_by_name(tmp_path, make_gaussians) -> None:
    g = make_gaussians(7, 1)
    columns = dict(reversed(columns_of(g).items()))
    columns = {"object_id": np.arange(7, dtype=np.int32), **columns, "label": np.zeros(7, np.uint8)}
    columns["opacity"] = columns["opacity"].astype(np.float64)
    read = read_splats(write(tmp_path / "a.ply", columns))
    assert_same(read.gaussians, g)
    assert read.meta["columns"] == ("object_id", "label")


def test_a_single_red_coefficient_lands_where_it_belongs(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(1, 3))
    for name in columns:
        if name.startswith("f_rest"):
            columns[name] = np.zeros(1, np.float32)
    columns["f_rest_0"] = np.float32([0.5])
    columns["f_rest_15"] = np.float32([0.25])
    sh = read_splats(write(tmp_path / "a.ply", columns)).gaussians.sh[0]
    assert sh[1].tolist() == [0.5, 0.25, 0.0]
    assert sh[2:].abs().max() == 0


def test_comments_and_unknown_elements(tmp_path, make_gaussians) -> None:
    g = make_gaussians(3, 0)
    extra = ("comment Vertical Axis: z", "obj_info something", "comment antialiased 0", "comment SplatRenderMode: mip",
             "comment", "element safe_orbit_camera_elevation 2", "property float value")
    path = write(tmp_path / "a.ply", columns_of(g), extra=extra, before=np.float32([1, 2]).tobytes())
    read = read_splats(path)
    assert_same(read.gaussians, g)
    assert read.gaussians.antialiased
    assert read.meta["up"] == "z"
    assert read.meta["comments"][1] == "something"


def test_up_axis_as_numbers(tmp_path, make_gaussians) -> None:
    path = write(tmp_path / "a.ply", columns_of(make_gaussians(1, 0)), extra=("comment Vertical axis: 0 -0.6 0.8",))
    assert read_splats(path).meta["up"] == (0.0, -0.6, 0.8)


def test_lists_within_vertices_are_skipped(tmp_path) -> None:
    head = ["ply", "format binary_little_endian 1.0", "element face 2", "property list uchar int vertex_indices",
            "element vertex 3", "property float x", "property list uchar short tags", "property float y",
            "property float z"]
    body = b"\x03" + np.int32([0, 1, 2]).tobytes() + b"\x00"
    for i in range(3):
        body += np.float32([i]).tobytes() + bytes([i]) + np.int16(range(i)).tobytes()
        body += np.float32([i + 1, i + 2]).tobytes()
    path = tmp_path / "a.ply"
    path.write_bytes("\n".join([*head, "end_header\n"]).encode() + body)
    assert read_splats(path).gaussians.means.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_what_is_missing_is_filled_in(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(5, 0))
    for name in ("opacity", "rot_1", *DC):
        del columns[name]
    columns |= {"red": np.full(5, 255, np.uint8), "green": np.zeros(5, np.uint8), "blue": np.full(5, 51, np.uint8)}
    read = read_splats(write(tmp_path / "a.ply", columns))
    g = read.gaussians
    assert g.quaternions.tolist() == [[1, 0, 0, 0]] * 5
    assert (g.logits.sigmoid() > 0.9999).all()
    torch.testing.assert_close(0.5 + 0.28209479177387814 * g.sh[0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert len(read.warnings) == 2


def test_f_dc_wins_over_red(tmp_path, make_gaussians) -> None:
    g = make_gaussians(2, 0)
    columns = columns_of(g) | {c: np.full(2, 255, np.uint8) for c in ("red", "green", "blue")}
    assert_same(read_splats(write(tmp_path / "a.ply", columns)).gaussians, g)


def test_two_scales_are_flat_splats(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(2, 0))
    del columns["scale_2"]
    g = read_splats(write(tmp_path / "a.ply", columns)).gaussians
    torch.testing.assert_close(g.log_scales[:, 2].exp(), torch.full((2,), 1e-6))


def test_a_point_cloud_becomes_balls_as_wide_as_its_gaps(tmp_path) -> None:
    grid = np.stack(np.meshgrid(*[np.arange(10, dtype=np.float32)] * 3), -1).reshape(-1, 3) * np.float32(0.1)
    path = write(tmp_path / "a.ply", {c: grid[:, i] for i, c in enumerate("xyz")})
    read = read_splats(path)
    size = read.gaussians.log_scales.exp()
    assert size.min() > 0.099
    assert size.median() < 0.16
    assert "point cloud" in read.warnings[0]
    assert read.gaussians.sh.shape == (1000, 1, 3)


def test_rows_that_are_not_finite_are_dropped_and_counted(tmp_path, make_gaussians) -> None:
    columns = {k: v.copy() for k, v in columns_of(make_gaussians(6, 1)).items()}
    columns["x"][0] = np.nan
    columns["f_rest_3"][1] = np.inf
    columns["rot_2"][2] = np.nan
    columns["opacity"][3] = np.inf
    columns["scale_0"][4] = -np.inf
    for i in range(4):
        columns[f"rot_{i}"][5] = 0
    read = read_splats(write(tmp_path / "a.ply", columns))
    g = read.gaussians
    assert len(g) == 3
    assert g.logits[0] == 12
    assert g.log_scales[1, 0] == -20
    assert g.quaternions[2].tolist() == [1, 0, 0, 0]
    assert read.warnings == ("3 of 6 splats hold NaN or infinite values and were left out",)


def test_quaternions_come_normalised_whatever_their_length(tmp_path, make_gaussians) -> None:
    g = make_gaussians(3, 0)
    columns = columns_of(g)
    for i in range(4):
        columns[f"rot_{i}"] = columns[f"rot_{i}"].astype(np.float64) * np.float64([1e-6, 7.0, 1e200])
    columns["rot_0"][2] = columns["rot_1"][2] = columns["rot_2"][2] = columns["rot_3"][2] = 1e30
    q = read_splats(write(tmp_path / "a.ply", columns)).gaussians.quaternions
    torch.testing.assert_close(q[:2], g.quaternions[:2])
    assert q[2].tolist() == [0.5] * 4


def test_degree_four_is_cut_to_three(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(2, 0))
    columns |= {f"f_rest_{i}": np.full(2, i, np.float32) for i in range(72)}
    read = read_splats(write(tmp_path / "a.ply", columns))
    assert read.gaussians.sh_degree == 3
    assert read.gaussians.sh[0, 15].tolist() == [14, 24 + 14, 48 + 14]
    assert "degree 3" in read.warnings[0]


def test_broken_harmonics_are_left_out(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(2, 1))
    del columns["f_rest_4"]
    read = read_splats(write(tmp_path / "a.ply", columns))
    assert read.gaussians.sh_degree == 0
    assert "f_rest" in read.warnings[0]


def test_geo_referenced_coordinates_keep_their_precision(tmp_path, make_gaussians) -> None:
    columns = columns_of(make_gaussians(4, 0))
    columns["x"] = 4_500_000.0 + np.float64([0.001, 0.002, 0.003, 0.004])
    read = read_splats(write(tmp_path / "a.ply", columns | {c: columns[c].astype(np.float64) for c in "yz"}))
    assert read.meta["origin"][0] == 4_500_000.0
    np.testing.assert_allclose(read.gaussians.means[:, 0].numpy(), [0.001, 0.002, 0.003, 0.004], rtol=1e-5)


def test_an_empty_scene_is_a_scene(tmp_path, make_gaussians) -> None:
    write_splats(tmp_path / "a.ply", make_gaussians(0, 3))
    read = read_splats(tmp_path / "a.ply")
    assert (len(read.gaussians), read.gaussians.sh_degree) == (0, 3)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
def test_a_file_cut_off_near_its_end_keeps_the_whole_rows(tmp_path, make_gaussians, encoding: str) -> None:
    path = write(tmp_path / "a.ply", columns_of(make_gaussians(10, 0)), encoding)
    path.write_bytes(path.read_bytes()[:-40])
    read = read_splats(path)
    assert len(read.gaussians) == 9
    assert "only 9 of 10 rows" in read.warnings[0]


def test_more_bytes_than_declared_are_ignored(tmp_path, make_gaussians) -> None:
    g = make_gaussians(4, 0)
    assert_same(read_splats(write(tmp_path / "a.ply", columns_of(g), after=b"\n junk")).gaussians, g)


def header(*lines: str, body: bytes = b"") -> bytes:
    return "\n".join(["ply", "format binary_little_endian 1.0", *lines, "end_header\n"]).encode() + body


XYZ = ("property float x", "property float y", "property float z")
FF = b"\xff" * 60


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"solid cube", "not a PLY"),
        (b"ply\nformat ascii 1.0\n", "no end_header"),
        (b"ply\n" + b"comment x\n" * 200_000 + b"end_header\n", "no end_header"),
        (b"ply\nend_header\n", "no format"),
        (b"ply\nformat binary_middle_endian 1.0\nend_header\n", "unknown format"),
        (header("element vertex 4000000000", *XYZ, body=bytes(36)), "cannot be"),
        (header("element vertex 99999999999999999999999999", *XYZ), "cannot be"),
        (header("element vertex 2000000000", *XYZ, body=bytes(36)), "promises 2,000,000,000 rows"),
        (header("element vertex -3", *XYZ, body=bytes(36)), "negative"),
        (header("element vertex 3.5", *XYZ, body=bytes(36)), "the number of"),
        (header("element vertex ²", *XYZ, body=bytes(36)), "the number of"),
        (header("element vertex 3", "property float x", "property float z", body=bytes(36)), "y is missing"),
        (header("element face 1", "property list uchar int vertex_indices", body=bytes(36)), "vertex is missing"),
        (header("element vertex 1", *XYZ, "property float x", body=bytes(36)), "twice"),
        (header("element vertex 1", *XYZ, "element vertex 1", *XYZ, body=bytes(36)), "twice"),
        (header("element vertex 1", "property quad x", body=bytes(36)), "unknown type"),
        (header("element vertex 1", "property list float int x", body=bytes(36)), "unknown list type"),
        (header("property float x", "element vertex 1", body=bytes(36)), "not understood"),
        (header("what is this", "element vertex 1", *XYZ, body=bytes(36)), "not understood"),
        (header("element skip 2000000000", "property double a", "element vertex 3", *XYZ, body=bytes(36)), "promises"),
        (header("element f 5", "property list uint double a", "element vertex 3", *XYZ, body=FF), "only 0 of 5"),
        (header("element f 5", "property list char double a", "element vertex 3", *XYZ, body=FF), "length -1"),
        (header("element vertex 3", *XYZ, "element codebook_centers 1", "property float x", body=FF), "codebook"),
        (header("element vertex 4", *XYZ, body=bytes(12)), "promises 4 rows"),
        (header("element vertex 1", *XYZ, body=np.float32([np.nan] * 3).tobytes()), "all 1 splats"),
        (b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
         b"1 2 3\n4 five 6\n", "not a number"),
        (b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
         b"1 2 3 4\n5 6\n7\n", "row 1"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused_in_one_line(tmp_path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.ply"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_splats(path)
    assert caught.value.file == path
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_header_of_twenty_thousand_properties_is_quick(tmp_path) -> None:
    lines = [f"property char {i:x}" for i in range(20_000)]
    (tmp_path / "a.ply").write_bytes(header("element vertex 1", *lines, body=bytes(20_000)))
    with pytest.raises(InputError, match="missing"):
        read_splats(tmp_path / "a.ply")
