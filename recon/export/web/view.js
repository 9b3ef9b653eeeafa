// A view: where the camera is, how it is turned, and its lens. Axes are x right, y down, z forward.
import { dot } from "./vectors.js";

const WIDEST = 0.5; // shortest focal length over the longer side of the window: 90 degrees

/** A camera of the page's data -> {position, axes, lens}. */
export function viewOfCamera(camera) {
  const m = camera.world_from_camera;
  const column = (k) => [m[0][k], m[1][k], m[2][k]];
  const { width, height, fx, fy, cx, cy } = camera;
  return { position: column(3), axes: [column(0), column(1), column(2)], lens: { width, height, fx, fy, cx, cy } };
}

/** [fx, fy, cx, cy] in pixels of a window in which the lens' whole picture fits, centred. */
export function fitted(lens, width, height, exact = false) {
  let scale = Math.min(width / lens.width, height / lens.height);
  const shortest = WIDEST * Math.max(width, height);
  if (!exact) scale = Math.max(scale, shortest / Math.max(lens.fx, lens.fy));
  return [
    lens.fx * scale, lens.fy * scale,
    width / 2 + (lens.cx - lens.width / 2) * scale, height / 2 + (lens.cy - lens.height / 2) * scale,
  ];
}

/** Rows of camera_from_world: [[x, y, z, offset] for right, down, forward]. */
export function cameraRows(view) {
  return view.axes.map((axis) => [...axis, -dot(axis, view.position)]);
}

/** Point in the world -> [x, y, depth] in pixels of a picture with these intrinsics. */
export function project(view, intrinsics, point) {
  const [x, y, z] = cameraRows(view).map((r) => r[0] * point[0] + r[1] * point[1] + r[2] * point[2] + r[3]);
  return [intrinsics[0] * x / z + intrinsics[2], intrinsics[1] * y / z + intrinsics[3], z];
}
