// The page: draws when something has changed, coarser while it moves slowly, sharp when it stands still.
import { add, axesOf, length, quaternionOf, unit } from "./vectors.js";
import { cameraRows, fitted, viewOfCamera } from "./view.js";
import { Scene } from "./scene.js";
import { Renderer } from "./renderer.js";
import { Photos } from "./photos.js";
import { Motion } from "./motion.js";
import { control } from "./controls.js";
import { Interface } from "./interface.js";
import { meshHit, unpackMesh } from "./mesh.js";
import { bytesFromBase64, inflate } from "./unpack.js";

const MOST_DENSE = 2; // device pixels per CSS pixel that are drawn at most
const REST = 180; // milliseconds after the last movement until the picture becomes sharp
const COARSEST = 0.3;
const textOf = (id) => document.getElementById(id).textContent;

/** The text of a part of the page, which goes: it is a third larger than what it holds. */
function taken(id) {
  const part = document.getElementById(id);
  part.remove();
  return part.textContent.trim();
}

async function start() {
  const settings = JSON.parse(textOf("scene"));
  const canvas = document.getElementById("canvas");
  const photos = new Photos(settings.cameras, settings.target);
  const motion = new Motion(startView(settings), settings.target, settings.up);
  const ui = new Interface({ mode: switchMode, photos: togglePhotos, step: stepPhoto, home: goHome, mesh: toggleMesh },
    photos.views.length, Boolean(settings.packing && settings.mesh));
  let failed = false;
  const fail = (error) => {
    failed = true;
    ui.error(error.message ?? String(error));
  };

  let renderer;
  try {
    renderer = new Renderer(canvas, settings, textOf);
  } catch (error) {
    fail(error);
    throw error;
  }
  renderer.setLines(photos.segments());
  const scene = new Scene(textOf("worker"), (share) => ui.progress(0.1 + 0.9 * share), (message) => fail(new Error(message)));
  if (settings.packing) renderer.load(await scene.load(taken("splats"), settings.packing, renderer.columns));
  let mesh = null;
  if (settings.mesh) {
    mesh = unpackMesh(await inflate(bytesFromBase64(taken("mesh"))), settings.mesh);
    renderer.loadMesh(mesh, settings.mesh.coloured, textOf);
    renderer.showMesh = !settings.packing;
  }

  let scheduled = false;
  let sorting = false;
  let sortedFor = null;
  let lastMove = -Infinity;
  let lastFrame = 0;
  let movedBefore = false;
  let quality = 1;
  let pictures = 0; // taken by picture(), which needs the canvas for itself

  control(canvas, motion, { changed: invalidate, clicked, centre, key });
  canvas.addEventListener("webglcontextlost", () => fail(new Error("The graphics card was reset. Reload the page.")));
  new ResizeObserver(invalidate).observe(canvas);
  document.addEventListener("fullscreenchange", invalidate);
  addEventListener("hashchange", () => {
    const view = viewOfHash(motion.view.lens);
    if (view) motion.flyTo(view);
    invalidate();
  });

  function resize() {
    const dense = Math.min(devicePixelRatio || 1, MOST_DENSE);
    const width = Math.max(1, Math.round(canvas.clientWidth * dense));
    const height = Math.max(1, Math.round(canvas.clientHeight * dense));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  }

  function invalidate() {
    if (!scheduled && !failed) {
      scheduled = true;
      requestAnimationFrame(frame);
    }
  }

  function frame(now) {
    scheduled = false;
    if (pictures || failed) return;
    const moved = motion.update(now);
    if (moved && movedBefore) adapt(now - lastFrame); // the first frame of a movement says nothing
    if (moved) lastMove = now;
    movedBefore = moved;
    lastFrame = now;
    resize();
    sort();
    const moving = now - lastMove < REST;
    const intrinsics = fitted(motion.view.lens, canvas.width, canvas.height);
    renderer.draw(motion.view, intrinsics, moving ? quality : 1, photos.lines(motion.view));
    if (moving) invalidate();
    else rememberView();
  }

  /** Fewer pixels where frames come slowly, more where they come fast. */
  function adapt(elapsed) {
    if (elapsed > 40) quality = Math.max(COARSEST, quality * (elapsed > 120 ? 0.7 : 0.88));
    else if (elapsed < 22) quality = Math.min(1, quality * 1.04);
  }

  async function sort() {
    if (!settings.packing) return;
    const row = cameraRows(motion.view)[2];
    if (sorting || (sortedFor && row.every((x, i) => x === sortedFor[i]))) return;
    sorting = true;
    const order = await scene.sort(row, settings.near);
    sorting = false;
    if (pictures) return;
    sortedFor = row;
    renderer.setOrder(order);
    invalidate();
  }

  function flyToPhoto(index) {
    photos.current = index;
    motion.flyTo(photos.views[index]);
    ui.photos(photos.visible, index);
    invalidate();
  }

  function stepPhoto(by) {
    const n = photos.views.length;
    if (n) flyToPhoto(((photos.current < 0 && by < 0 ? 0 : photos.current) + by + n) % n);
  }

  function clicked(x, y) {
    if (!photos.visible) return;
    const found = photos.at(x, y, motion.view, fitted(motion.view.lens, canvas.clientWidth, canvas.clientHeight));
    if (found >= 0) flyToPhoto(found);
  }

  /** Moves what is at pixel (x, y) to the middle and makes it the point to turn about. */
  async function centre(x, y) {
    const { view } = motion;
    const [fx, fy, cx, cy] = fitted(view.lens, canvas.clientWidth, canvas.clientHeight);
    const [right, down, forward] = view.axes;
    const ray = add(add(forward, right, (x - cx) / fx), down, (y - cy) / fy);
    const cone = 6 / fx;
    const distance = renderer.showMesh ? meshHit(mesh, view.position, unit(ray))
      : await scene.hit(view.position, unit(ray), cone, settings.near);
    if (distance === null) return ui.say("Nothing there to turn about");
    const point = add(view.position, unit(ray), distance);
    const depth = distance / length(ray);
    motion.flyTo({ ...view, position: add(point, forward, -depth) }, depth);
    ui.say("Turning about this point");
    invalidate();
  }

  function switchMode() {
    motion.mode = motion.mode === "orbit" ? "fly" : "orbit";
    ui.mode(motion.mode);
  }

  function toggleMesh() {
    if (!settings.packing || !mesh) return;
    renderer.showMesh = !renderer.showMesh;
    ui.mesh(renderer.showMesh);
    invalidate();
  }

  function togglePhotos() {
    if (!photos.views.length) return;
    photos.visible = !photos.visible;
    ui.photos(photos.visible, photos.current);
    invalidate();
  }

  function goHome() {
    photos.current = -1;
    ui.photos(photos.visible, -1);
    motion.goHome();
    invalidate();
  }

  function key(name) {
    const action = {
      m: switchMode, p: togglePhotos, t: toggleMesh, r: goHome, h: () => ui.help(), "?": () => ui.help(), f: () => ui.fullscreen(),
      u: () => ui.hide(), "[": () => stepPhoto(-1), "]": () => stepPhoto(1), escape: () => ui.help(false),
      "+": () => zoomBy(-0.25), "=": () => zoomBy(-0.25), "-": () => zoomBy(0.25),
    }[name];
    action?.();
    return Boolean(action);
  }

  function zoomBy(amount) {
    motion.zoom(amount);
    invalidate();
  }

  /** Keeps the view in the address, so that a reload or a copied address shows the same. */
  function rememberView() {
    const { position, axes } = motion.view;
    const numbers = [...position, ...quaternionOf(axes)].map((x) => Number(x.toPrecision(6)));
    try {
      history.replaceState(null, "", `#view=${numbers.join(",")}`);
    } catch { /* a page inside another one may not */ }
  }

  /** What the scene looks like to a camera, as a data URL of a PNG of the camera's own size. */
  async function picture(camera) {
    const view = viewOfCamera(camera);
    pictures++;
    try {
      const order = settings.packing ? await scene.sort(cameraRows(view)[2], settings.near) : null;
      [canvas.width, canvas.height] = [camera.width, camera.height];
      if (order) renderer.setOrder(order);
      renderer.draw(view, [camera.fx, camera.fy, camera.cx, camera.cy], 1, []);
      return canvas.toDataURL("image/png");
    } finally {
      pictures--;
      sortedFor = null;
      invalidate();
    }
  }

  await sort(); // so that the first picture is a right one
  ui.progress(null);
  invalidate();
  return { picture, motion, photos, scene, settings, flyToPhoto, toggleMesh, quality: () => quality };
}

function startView(settings) {
  const view = viewOfCamera(settings.start);
  return viewOfHash(view.lens) ?? view;
}

/** The view in the address, null where there is none. */
function viewOfHash(lens) {
  const numbers = (/^#view=([-+.e\d,]+)$/.exec(location.hash)?.[1] ?? "").split(",").map(Number);
  const size = Math.hypot(...numbers.slice(3));
  if (numbers.length !== 7 || !numbers.every(Number.isFinite) || size < 1e-6) return null;
  return { position: numbers.slice(0, 3), axes: axesOf(numbers.slice(3).map((x) => x / size)), lens };
}

// For scripts: `await recon; (await recon).picture(camera)`.
globalThis.recon = start();
