// How the camera moves: what the hand asks for arrives smoothly, flights to other views take a moment.
import { add, between, dot, lookingAlong, subtract, times, turned } from "./vectors.js";

const SMOOTHING = 70; // milliseconds in which most of a movement arrives
const LONGEST_FRAME = 250; // milliseconds; after a longer pause nothing leaps
const FLIGHT = 900; // milliseconds
const LEAST = 5e-4; // radians or shares of the distance that are done at once
const STEEPEST = Math.cos((4 * Math.PI) / 180); // the view never points straight up or down
const still = () => ({ yaw: 0, pitch: 0, right: 0, down: 0, zoom: 0 });

export class Motion {
  /** `target`: what to turn about; `up`: unit vector. */
  constructor(view, target, up) {
    this.up = up;
    this.home = { view, target };
    this.view = view;
    this.distance = this.#distanceTo(target, view);
    this.reach = this.distance;
    this.pending = still();
    this.velocity = [0, 0, 0]; // right, down, forward, in reaches per second
    this.mode = "orbit";
    this.flight = null;
    this.last = 0;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  #distanceTo(target, view) {
    const along = dot(subtract(target, view.position), view.axes[2]);
    return along > 0 ? along : this.reach || 1;
  }

  get target() {
    return add(this.view.position, this.view.axes[2], this.distance);
  }

  /** Angles in radians: about the target, or on the spot when flying. */
  turn(yaw, pitch) {
    this.#interrupt();
    this.pending.yaw += yaw;
    this.pending.pitch += pitch;
  }

  /** Sideways, in units of the distance to the target. */
  shift(right, down) {
    this.#interrupt();
    this.pending.right += right;
    this.pending.down += down;
  }

  /** Nearer for negative amounts; the distance changes by the factor e^amount. */
  zoom(amount) {
    this.#interrupt();
    this.pending.zoom += amount;
  }

  #interrupt() {
    if (this.flight) this.distance = this.flight.distance;
    this.flight = null;
  }

  /** Flies to another view; `distance` is how far in front of it the new turning point lies. */
  flyTo(view, distance = this.#distanceTo(this.home.target, view)) {
    this.pending = still();
    this.flight = { from: this.view, to: view, distance, start: null };
  }

  goHome() {
    this.flyTo(this.home.view, this.#distanceTo(this.home.target, this.home.view));
  }

  /** Moves to the time `now` in milliseconds; false where nothing moves any more. */
  update(now) {
    const elapsed = Math.min(LONGEST_FRAME, Math.max(1, now - this.last));
    this.last = now;
    if (this.flight) return this.#fly(now);
    let moved = false;
    const p = this.pending;
    const share = 1 - Math.exp(-elapsed / SMOOTHING);
    const part = Object.fromEntries(Object.entries(p).map(([name, value]) => {
      const whole = Math.abs(value) < LEAST ? value : value * share;
      p[name] -= whole;
      return [name, whole];
    }));
    if (part.yaw || part.pitch) {
      this.#turn(part.yaw, part.pitch);
      moved = true;
    }
    const speed = (elapsed / 1000) * this.reach;
    const steps = [
      part.right * this.distance + this.velocity[0] * speed,
      part.down * this.distance + this.velocity[1] * speed,
      this.velocity[2] * speed,
    ];
    if (part.zoom) {
      const nearer = this.distance * Math.exp(part.zoom);
      steps[2] += this.distance - nearer;
      this.distance = Math.max(nearer, 1e-3 * this.reach);
    }
    if (steps.some((s) => s !== 0)) {
      const position = this.view.axes.reduce((at, axis, i) => add(at, axis, steps[i]), this.view.position);
      this.view = { ...this.view, position };
      moved = true;
    }
    return moved;
  }

  #turn(yaw, pitch) {
    const target = this.target;
    let axes = this.view.axes.map((axis) => turned(axis, this.up, yaw));
    const tilted = axes.map((axis) => turned(axis, axes[0], pitch));
    const steepness = Math.abs(dot(tilted[2], this.up));
    if (steepness < STEEPEST || steepness < Math.abs(dot(axes[2], this.up))) axes = tilted;
    axes = between(axes, lookingAlong(axes[2], this.up), 0.12); // a tilted photo becomes level again
    const position = this.mode === "orbit" ? add(target, axes[2], -this.distance) : this.view.position;
    this.view = { ...this.view, axes, position };
  }

  #fly(now) {
    const { from, to, distance } = this.flight;
    this.flight.start ??= now;
    const t = this.calm ? 1 : Math.min(1, (now - this.flight.start) / FLIGHT);
    const share = t * t * (3 - 2 * t);
    const mix = (a, b) => a + (b - a) * share;
    const lens = t < 1 ? mixedLens(from.lens, to.lens, mix) : to.lens;
    this.view = {
      position: add(times(from.position, 1 - share), to.position, share),
      axes: t < 1 ? between(from.axes, to.axes, share) : to.axes,
      lens,
    };
    if (t >= 1) {
      this.distance = distance;
      this.flight = null;
    }
    return true;
  }
}

/** Lenses of pictures of different sizes, mixed in units of the second one's width. */
function mixedLens(from, to, mix) {
  const ratio = to.width / from.width;
  const out = {};
  for (const name of Object.keys(to)) out[name] = mix(from[name] * ratio, to[name]);
  return out;
}
