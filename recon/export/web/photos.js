// Where the photos were taken: a small pyramid for each, that can be clicked.
import { add, length, subtract } from "./vectors.js";
import { project, viewOfCamera } from "./view.js";

const SIZE = 0.07; // length of a pyramid over the median distance of the cameras from what they look at
const CLEARANCE = 3; // pyramids nearer to the eye than this many lengths are not drawn
const SEGMENTS = 9;
const REACH = 26; // pixels from a pyramid within which a click counts
const COLOUR = [1.0, 0.72, 0.25, 0.75];
const CHOSEN = [1.0, 1.0, 1.0, 0.95];

export class Photos {
  constructor(cameras, target) {
    this.views = cameras.map(viewOfCamera);
    this.visible = false;
    this.current = -1;
    const distances = this.views.map((view) => length(subtract(view.position, target))).sort((a, b) => a - b);
    this.depth = SIZE * (distances[distances.length >> 1] || 1);
  }

  /** Line segments of all pyramids, Float32Array. */
  segments() {
    return new Float32Array(this.views.flatMap((view) => {
      const { width, height, fx, fy, cx, cy } = view.lens;
      const at = (x, y) => {
        const onAxis = add(view.position, view.axes[2], this.depth);
        const aside = add(onAxis, view.axes[0], ((x * width - cx) / fx) * this.depth);
        return add(aside, view.axes[1], ((y * height - cy) / fy) * this.depth);
      };
      const corners = [at(0, 0), at(1, 0), at(1, 1), at(0, 1)];
      const lines = corners.flatMap((corner, i) => [view.position, corner, corner, corners[(i + 1) % 4]]);
      return [...lines, at(0.5, 0), at(0.5, -0.12)].flat(); // the last one marks the top
    }));
  }

  #inTheWay(photo, view) {
    return length(subtract(photo.position, view.position)) < CLEARANCE * this.depth;
  }

  /** What to draw of the line buffer: pyramids right before the eye would only be in the way. */
  lines(view) {
    if (!this.visible) return [];
    const each = SEGMENTS * 2;
    const out = [];
    this.views.forEach((photo, i) => {
      if (this.#inTheWay(photo, view)) return;
      const colour = i === this.current ? CHOSEN : COLOUR;
      const last = out[out.length - 1];
      if (last && last.colour === colour && last.first + last.count === i * each) last.count += each;
      else out.push({ first: i * each, count: each, colour });
    });
    return out;
  }

  /** Index of the photo whose pyramid is at pixel (x, y), else -1. `intrinsics` in the same pixels. */
  at(x, y, view, intrinsics) {
    let found = -1;
    let nearest = REACH;
    this.views.forEach((photo, i) => {
      if (this.#inTheWay(photo, view)) return;
      for (const share of [0, 1]) {
        const point = add(photo.position, photo.axes[2], share * this.depth);
        const [px, py, depth] = project(view, intrinsics, point);
        const distance = Math.hypot(px - x, py - y);
        if (depth > 0 && distance < nearest) [found, nearest] = [i, distance];
      }
    });
    return found;
  }
}
