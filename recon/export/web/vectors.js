// Vectors are arrays of three numbers; rotations are three unit vectors: right, down and forward of a camera.

export const add = (a, b, factor = 1) => [a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]];
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const times = (a, factor) => [a[0] * factor, a[1] * factor, a[2] * factor];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const length = (a) => Math.sqrt(dot(a, a));
export const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
];

/** Unit vector along a, or `otherwise` where a is (almost) zero. */
export function unit(a, otherwise = [0, 0, 1]) {
  const l = length(a);
  return l > 1e-12 ? times(a, 1 / l) : otherwise;
}

/** v turned about a unit axis (Rodrigues). */
export function turned(v, axis, angle) {
  const c = Math.cos(angle);
  return add(add(times(v, c), cross(axis, v), Math.sin(angle)), axis, dot(axis, v) * (1 - c));
}

/** Axes that look along `forward` with their top towards `up`. */
export function lookingAlong(forward, up) {
  const f = unit(forward);
  const spare = Math.abs(f[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
  const right = unit(cross(f, up), unit(cross(f, spare)));
  return [right, cross(f, right), f];
}

/** [w, x, y, z] of a rotation given by its axes (the columns of its matrix). */
export function quaternionOf([r, d, f]) {
  const trace = r[0] + d[1] + f[2];
  const candidates = [trace, r[0], d[1], f[2]];
  const i = candidates.indexOf(Math.max(...candidates));
  let q;
  if (i === 0) q = [1 + trace, d[2] - f[1], f[0] - r[2], r[1] - d[0]];
  else if (i === 1) q = [d[2] - f[1], 1 + 2 * r[0] - trace, d[0] + r[1], f[0] + r[2]];
  else if (i === 2) q = [f[0] - r[2], d[0] + r[1], 1 + 2 * d[1] - trace, f[1] + d[2]];
  else q = [r[1] - d[0], f[0] + r[2], f[1] + d[2], 1 + 2 * f[2] - trace];
  const l = Math.hypot(...q);
  return q.map((x) => x / l);
}

export function axesOf([w, x, y, z]) {
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
}

/** Between two rotations, given and returned as axes, along the shorter way. */
export function between(from, to, share) {
  const a = quaternionOf(from);
  let b = quaternionOf(to);
  let cosine = a.reduce((sum, x, i) => sum + x * b[i], 0);
  if (cosine < 0) {
    b = b.map((x) => -x);
    cosine = -cosine;
  }
  const angle = Math.acos(Math.min(1, cosine));
  const [s, t] = angle < 1e-4 ? [1 - share, share]
    : [Math.sin((1 - share) * angle) / Math.sin(angle), Math.sin(share * angle) / Math.sin(angle)];
  const q = a.map((x, i) => s * x + t * b[i]);
  const l = Math.hypot(...q);
  return axesOf(q.map((x) => x / l));
}
