// Packed splats -> what the sorter and the graphics card need. The layout is that of page_packing.py.

const BASE64_PIECE = 1 << 20; // characters decoded at once; a multiple of 4

/** Base64 text -> bytes. */
export function bytesFromBase64(text) {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  for (let start = 0, at = 0; start < text.length; start += BASE64_PIECE) {
    const piece = atob(text.slice(start, start + BASE64_PIECE));
    for (let i = 0; i < piece.length; i++) bytes[at++] = piece.charCodeAt(i);
  }
  return bytes;
}

/** zlib bytes -> ArrayBuffer. */
export async function inflate(bytes) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser is too old for this page: it needs one from 2023 or later.");
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const halfScratch = new Float32Array(1);
const halfBits = new Uint32Array(halfScratch.buffer);

/** The 16 bits of the half float nearest to x (large x becomes the largest half, tiny x becomes 0). */
export function half(x) {
  halfScratch[0] = x;
  const sign = (halfBits[0] >>> 16) & 0x8000;
  const magnitude = halfBits[0] & 0x7fffffff;
  if (magnitude >= 0x477ff000) return sign | 0x7bff;
  if (magnitude < 0x38800000) return sign | Math.round(Math.abs(x) * 16777216); // denormal: units of 2^-24
  return sign | ((magnitude - 0x38000000 + 0x1000) >>> 13);
}

/** Texels of 16 bytes that hold the spherical harmonics of one splat, one byte each. */
export function lightTexels(coefficients) {
  return Math.ceil(coefficients / 16);
}

/**
 * Bytes -> {positions, opacities, shapes, lights}:
 *   positions  Float32Array [n, 3]
 *   opacities  Uint8Array [n], opacity = (byte / 255)^2
 *   shapes     Uint32Array, two texels of four numbers per splat:
 *              x, y, z as float bits, rotation as packed;
 *              halves: log-scale 1 2 | log-scale 3, opacity | red, green | blue, largest |SH coefficient|
 *   lights     Uint32Array, lightTexels texels per splat: coefficients as signed bytes, 127 = the largest one
 * Both textures are padded to whole rows of `columns` texels.
 */
export function unpack(buffer, layout, columns, report) {
  const { count, chunk, coefficients, components, step, wide } = layout;
  const chunks = Math.ceil(count / chunk);
  const ranges = new Float32Array(buffer, 0, chunks * 18);
  const basis = new Float32Array(buffer, chunks * 72, components * coefficients);
  const bytes = new Uint8Array(buffer, chunks * 72 + components * coefficients * 4);
  const plane = (index) => bytes.subarray(index * count, (index + 1) * count);
  const [xl, yl, zl, xh, yh, zh, s1, s2, s3, q0, q1, q2, q3, red, green, blue, alpha] =
    Array.from({ length: 17 }, (_, i) => plane(i));
  const codes = [];
  for (let c = 0, next = 17; c < components; c++) {
    codes.push([plane(next), wide[c] ? plane(next + 1) : null]);
    next += wide[c] ? 2 : 1;
  }

  const rows = (texels) => Math.max(1, Math.ceil(texels / columns)) * columns * 4;
  const texels = lightTexels(coefficients);
  const positions = new Float32Array(count * 3);
  const shapes = new Uint32Array(rows(count * 2));
  const lights = new Uint32Array(texels ? rows(count * texels) : 0);
  const lightBytes = new Int8Array(lights.buffer);
  const floats = new Float32Array(shapes.buffer);
  const sh = new Float32Array(coefficients);

  for (let i = 0; i < count; i++) {
    if (i % 65536 === 0) report(i / count);
    const r = Math.floor(i / chunk) * 18;
    const value = (k, share) => ranges[r + 2 * k] + (ranges[r + 2 * k + 1] - ranges[r + 2 * k]) * share;
    const at = i * 8;
    floats[at] = positions[3 * i] = value(0, (xl[i] | (xh[i] << 8)) / 65535);
    floats[at + 1] = positions[3 * i + 1] = value(1, (yl[i] | (yh[i] << 8)) / 65535);
    floats[at + 2] = positions[3 * i + 2] = value(2, (zl[i] | (zh[i] << 8)) / 65535);
    shapes[at + 3] = q0[i] | (q1[i] << 8) | (q2[i] << 16) | (q3[i] << 24);

    let largest = 0;
    if (components) {
      sh.fill(0);
      for (let c = 0; c < components; c++) {
        const code = codes[c][1] ? codes[c][0][i] | (codes[c][1][i] << 8) : codes[c][0][i];
        if (code === 0) continue;
        const weight = ((code >>> 1) ^ -(code & 1)) * step;
        for (let k = 0, b = c * coefficients; k < coefficients; k++) sh[k] += weight * basis[b + k];
      }
      for (let k = 0; k < coefficients; k++) largest = Math.max(largest, Math.abs(sh[k]));
      const toByte = largest > 0 ? 127 / largest : 0;
      for (let k = 0, b = i * texels * 16; k < coefficients; k++) lightBytes[b + k] = Math.round(sh[k] * toByte);
    }
    const opacity = (alpha[i] / 255) ** 2;
    shapes[at + 4] = half(value(3, s1[i] / 255)) | (half(value(4, s2[i] / 255)) << 16);
    shapes[at + 5] = half(value(5, s3[i] / 255)) | (half(opacity) << 16);
    shapes[at + 6] = half(value(6, red[i] / 255)) | (half(value(7, green[i] / 255)) << 16);
    shapes[at + 7] = half(value(8, blue[i] / 255)) | (half(largest) << 16);
  }
  return { positions, opacities: alpha.slice(), shapes, lights };
}
