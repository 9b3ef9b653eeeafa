// Depth order by counting sort, and finding the splat under the pointer.

const KEYS = 1 << 16;
const counts = new Uint32Array(KEYS + 1);
let depths = new Float32Array(0);
let depthBits = new Uint32Array(0);
let candidates = new Uint32Array(0);

/**
 * Indices of the splats with depth > near, farthest first. `row` is the camera's z: x, y, z factors and offset.
 * The key is the depth's own floating point bits from the nearest to the farthest, shifted to 16 bits: that makes
 * steps that grow with the distance, and no far outlier can spoil the order near by.
 */
export function farthestFirst(positions, row, near) {
  const n = positions.length / 3;
  if (depths.length !== n) {
    depths = new Float32Array(n);
    depthBits = new Uint32Array(depths.buffer);
    candidates = new Uint32Array(n);
  }
  const [a, b, c, d] = row;
  let visible = 0;
  for (let i = 0, p = 0; i < n; i++, p += 3) {
    const depth = a * positions[p] + b * positions[p + 1] + c * positions[p + 2] + d;
    if (depth > near) {
      depths[visible] = depth;
      candidates[visible++] = i;
    }
  }
  let lowest = 0xffffffff;
  let highest = 0;
  for (let i = 0; i < visible; i++) {
    const bits = depthBits[i];
    if (bits < lowest) lowest = bits;
    if (bits > highest) highest = bits;
  }
  const shift = visible ? Math.max(0, 16 - Math.clz32(highest - lowest)) : 0;
  counts.fill(0);
  for (let i = 0; i < visible; i++) counts[((highest - depthBits[i]) >>> shift) + 1]++;
  for (let k = 1; k <= KEYS; k++) counts[k] += counts[k - 1];
  const order = new Uint32Array(visible);
  for (let i = 0; i < visible; i++) order[counts[(highest - depthBits[i]) >>> shift]++] = candidates[i];
  return order;
}

/**
 * Distance along a ray to the surface there: the depth at which the splats near the ray have gathered half of what
 * would be opaque. `cone` is the radius of the search over distance. Returns null where the ray meets nothing.
 */
export function hitDistance(positions, opacityOf, origin, direction, cone, near) {
  const hits = [];
  for (let p = 0; p < positions.length; p += 3) {
    const x = positions[p] - origin[0];
    const y = positions[p + 1] - origin[1];
    const z = positions[p + 2] - origin[2];
    const along = x * direction[0] + y * direction[1] + z * direction[2];
    if (along <= near) continue;
    const aside = x * x + y * y + z * z - along * along;
    if (aside < (cone * along) ** 2) hits.push([along, opacityOf(p / 3)]);
  }
  hits.sort((one, other) => one[0] - other[0]);
  let gathered = 0;
  for (const [along, opacity] of hits) {
    gathered += opacity;
    if (gathered > 1) return along;
  }
  return hits.length ? hits[hits.length - 1][0] : null;
}
