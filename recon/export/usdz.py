"""Meshes and Gaussians as USDZ: for Apple's Quick Look, Blender, Houdini, Maya and all else that reads USD.

Specification: OpenUSD "USDZ File Format": a zip archive without compression whose files begin at multiples of 64 bytes;
the first is the scene, here as text (.usda). Frame: y up, metres. The material is a rough UsdPreviewSurface with the
colours of the texture or of the vertices.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import checked, linear_from_srgb
from recon.export.usd_splats import layer_of
from recon.formats.files import atomic_output
from recon.types import Gaussians, Mesh

ALIGNMENT = 64
DATE = (1 << 5 | 1) << 16  # 1980-01-01: equal meshes give equal files


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes a mesh whose frame is already y up; returns what the file cannot hold (nothing). Raises InputError."""
    vertices, faces = checked(mesh, path)
    files: list[tuple[str, bytes]] = []
    textured = mesh.uvs is not None and mesh.texture is not None
    files.append(("mesh.usda", _scene(mesh, vertices, faces).encode()))
    if textured and mesh.texture is not None:
        from PIL import Image

        png = io.BytesIO()
        Image.fromarray(np.asarray(mesh.texture)).save(png, "PNG")
        files.append(("texture.png", png.getvalue()))
    with atomic_output(path) as file:
        _write_zip(file, files)
    return ()


def write_splats(path: str | Path, gaussians: Gaussians, *, comments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Writes Gaussians whose frame is already y up; returns what the file cannot hold. Raises InputError."""
    layer, warnings = layer_of(gaussians, path)
    if len(layer) >= 1 << 32:
        raise InputError(f"{len(layer) / 1e9:.1f} GB do not fit a .usdz (4 GiB)", file=path, fix="Use .ply or .spz.")
    with atomic_output(path) as file:
        _write_zip(file, [("splats.usda", layer)])
    return warnings


def _scene(mesh: Mesh, vertices: np.ndarray, faces: np.ndarray) -> str:
    textured = mesh.uvs is not None and mesh.texture is not None
    low, high = vertices.min(0), vertices.max(0)
    lines = [
        "#usda 1.0",
        '(\n    defaultPrim = "Model"\n    metersPerUnit = 1\n    upAxis = "Y"\n    doc = "Recon"\n)',
        'def Xform "Model" (\n    kind = "component"\n)\n{',
        'def Mesh "Surface" (\n    prepend apiSchemas = ["MaterialBindingAPI"]\n)\n{',
        'uniform token subdivisionScheme = "none"',
        "uniform bool doubleSided = 1",
        f"float3[] extent = [{_rows(np.stack([low, high]))}]",
        f"point3f[] points = [{_rows(vertices)}]",
        f"int[] faceVertexCounts = [{', '.join(['3'] * len(faces))}]",
        f"int[] faceVertexIndices = [{', '.join(map(str, faces.reshape(-1).tolist()))}]",
    ]
    if mesh.normals is not None:
        lines.append(f'normal3f[] normals = [{_rows(mesh.normals.numpy())}] (\n    interpolation = "vertex"\n)')
    if textured and mesh.uvs is not None:
        lines.append(f'texCoord2f[] primvars:st = [{_rows(mesh.uvs.numpy())}] (\n    interpolation = "vertex"\n)')
    elif mesh.colours is not None:
        linear = linear_from_srgb(np.clip(mesh.colours.numpy(), 0, 1))
        lines.append(f'color3f[] primvars:displayColor = [{_rows(linear)}] (\n    interpolation = "vertex"\n)')
    lines += ["rel material:binding = </Model/Look>", "}", _material(textured, mesh.colours is not None), "}"]
    return "\n".join(lines) + "\n"


def _material(textured: bool, coloured: bool) -> str:
    """A plain rough material that takes its colour from the texture or from the vertices."""
    source = "Texture" if textured else "Colours" if coloured else None
    output = "rgb" if textured else "result"
    colour = (f"color3f inputs:diffuseColor.connect = </Model/Look/{source}.outputs:{output}>" if source else
              "color3f inputs:diffuseColor = (0.7, 0.7, 0.7)")
    text = f"""\
def Material "Look"
{{
token outputs:surface.connect = </Model/Look/Shader.outputs:surface>
def Shader "Shader"
{{
uniform token info:id = "UsdPreviewSurface"
{colour}
float inputs:roughness = 1
float inputs:metallic = 0
token outputs:surface
}}
"""
    if textured:
        text += """\
def Shader "Coordinates"
{
uniform token info:id = "UsdPrimvarReader_float2"
string inputs:varname = "st"
float2 outputs:result
}
def Shader "Texture"
{
uniform token info:id = "UsdUVTexture"
asset inputs:file = @texture.png@
float2 inputs:st.connect = </Model/Look/Coordinates.outputs:result>
token inputs:sourceColorSpace = "sRGB"
token inputs:wrapS = "clamp"
token inputs:wrapT = "clamp"
float3 outputs:rgb
}
"""
    elif coloured:
        text += """\
def Shader "Colours"
{
uniform token info:id = "UsdPrimvarReader_float3"
string inputs:varname = "displayColor"
float3 outputs:result
}
"""
    return text + "}"


def _rows(rows: np.ndarray) -> str:
    return ", ".join("(" + ", ".join(f"{v:.7g}" for v in row) + ")" for row in rows.tolist())


def _write_zip(file: BinaryIO, files: list[tuple[str, bytes]]) -> None:
    """A zip of stored files whose contents are aligned by extra fields."""
    directory, at = b"", 0
    for name, content in files:
        encoded = name.encode()
        padding = -(at + 30 + len(encoded)) % ALIGNMENT
        if 0 < padding < 4:
            padding += ALIGNMENT
        extra = struct.pack("<HH", 0x1986, padding - 4).ljust(padding, b"\0") if padding else b""
        crc, size = zlib.crc32(content), len(content)
        common = struct.pack("<HHHIIIIHH", 20, 0, 0, DATE, crc, size, size, len(encoded), len(extra))
        file.write(b"PK\x03\x04" + common + encoded + extra + content)
        directory += (b"PK\x01\x02" + struct.pack("<H", 20) + common[:-2]
                      + struct.pack("<HHHHII", 0, 0, 0, 0, 0, at) + encoded)
        at += 30 + len(encoded) + len(extra) + size
    file.write(directory)
    file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(directory), at, 0))
