"""Writers of formats that the project only reads, made for the tests straight from the description of the format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from recon.types import Gaussians

C0 = 0.28209479177387814


def pack(values: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """[n, fields] of 0..1 -> uint32, first field in the highest bits."""
    out = np.zeros(len(values), np.uint64)
    for i, width in enumerate(widths):
        level = np.rint(np.clip(values[:, i], 0, 1) * ((1 << width) - 1)).astype(np.uint64)
        out = out << np.uint64(width) | level
    return out.astype("<u4")


def compressed(path: Path, g: Gaussians, colour_ranges: bool = True) -> Path:
    """Writes a compressed PLY the way SuperSplat does, straight from the description of the format."""
    n = len(g)
    means, scales, q = g.means.numpy(), g.log_scales.numpy(), g.quaternions.numpy()
    rgb = g.sh[:, 0].numpy() * C0 + 0.5
    chunks, words = [], []
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        spans = [(x[rows].min(0), x[rows].max(0)) for x in (means, scales, rgb)]
        if not colour_ranges:
            spans[2] = (np.zeros(3), np.ones(3))
        u = [(x[rows] - low) / (high - low) for x, (low, high) in zip((means, scales, rgb), spans, strict=True)]
        m = rows.stop - rows.start
        largest = np.abs(q[rows]).argmax(1)
        turned = q[rows] * np.sign(q[rows][np.arange(m), largest])[:, None]
        others = np.stack([np.delete(t, k) for t, k in zip(turned, largest, strict=True)]) / np.sqrt(2) + 0.5
        alpha = g.logits[rows].sigmoid().numpy()[:, None]
        words.append(np.stack([
            pack(u[0], (11, 10, 11)), pack(np.c_[largest / 3, others], (2, 10, 10, 10)), pack(u[1], (11, 10, 11)),
            pack(np.c_[u[2], alpha], (8, 8, 8, 8))], axis=1))  # fmt: skip
        chunks.append(np.concatenate([x for span in (spans if colour_ranges else spans[:2]) for x in span]))
    names = [f"{e}_{p}{a}" for p in ("", "scale_") for e in ("min", "max") for a in "xyz"]
    names += [f"{e}_{c}" for e in ("min", "max") for c in "rgb"] if colour_ranges else []
    k = g.sh.shape[1] - 1
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks)}"]
    lines += [f"property float {name}" for name in names] + [f"element vertex {n}"]
    lines += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    body = np.array(chunks, "<f4").tobytes() + np.concatenate(words).tobytes()
    if k:
        lines += [f"element sh {n}"] + [f"property uchar f_rest_{i}" for i in range(3 * k)]
        rest = g.sh[:, 1:].permute(0, 2, 1).reshape(n, -1).numpy()
        body += np.clip(np.trunc((rest / 8 + 0.5) * 256), 0, 255).astype(np.uint8).tobytes()
    path.write_bytes("\n".join([*lines, "end_header\n"]).encode() + body)
    return path


def ksplat(path: Path, g: Gaussians, level: int) -> Path:
    """Two sections of half the splats each; each has one full bucket of 8 and a partial one."""
    degree, n = g.sh_degree, len(g)
    main = bytearray(4096)
    main[1] = 1
    struct.pack_into("<IIIIH", main, 4, 2, 2, n, n, level)
    headers, data = b"", b""
    real = {0: "<f4", 1: "<f2", 2: "<f2"}[level]
    for rows in (slice(0, n // 2), slice(n // 2, n)):
        m, size = rows.stop - rows.start, 20.0
        means = g.means[rows].numpy()
        centres = np.stack([means[:8].mean(0), means[8:].mean(0)]).astype("<f4")
        bucket = np.r_[np.zeros(8, int), np.ones(m - 8, int)]
        header = bytearray(1024)
        struct.pack_into("<IIIIfHHIIIIH", header, 0, m, m, 8, 2, size, 12, 0, 32767, 0, 1, 1, degree)
        headers += bytes(header)
        data += struct.pack("<I", m - 8) + centres.tobytes()
        for i in range(m):
            if level == 0:
                data += means[i].astype("<f4").tobytes()
            else:
                data += np.rint((means[i] - centres[bucket[i]]) / (size / 2 / 32767) + 32767).astype("<u2").tobytes()
            data += np.exp(g.log_scales[rows][i].numpy()).astype(real).tobytes()
            data += g.quaternions[rows][i].numpy().astype(real).tobytes()
            rgba = [*(0.5 + C0 * g.sh[rows][i, 0]).tolist(), float(g.logits[rows][i].sigmoid())]
            data += bytes(int(np.clip(round(v * 255), 0, 255)) for v in rgba)
            for first, last in ((1, 4), (4, 9))[:degree]:
                rest = g.sh[rows][i, first:last].T.reshape(-1).numpy()  # all red, all green, all blue of the band
                data += (np.rint((rest + 1.5) / 3 * 255).astype("u1") if level == 2 else rest.astype(real)).tobytes()
    path.write_bytes(bytes(main) + headers + data)
    return path
