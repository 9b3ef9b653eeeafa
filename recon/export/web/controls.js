// Mouse, touch and keyboard -> motion. One finger or the left button turns, two fingers or the right button shift.

const TURN = 3.2; // radians for a drag across the smaller side of the window
const CLICK = 5; // pixels a pointer may move during a click
const MOVES = { KeyW: [2, 1], KeyS: [2, -1], KeyA: [0, -1], KeyD: [0, 1], KeyQ: [1, 1], KeyE: [1, -1],
  ArrowUp: [2, 1], ArrowDown: [2, -1], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** `actions`: {changed(), clicked(x, y), centre(x, y), key(code) -> handled}. Positions are CSS pixels. */
export function control(canvas, motion, actions) {
  const pointers = new Map();
  const held = new Set();
  let travelled = 0;
  let lastTap = { time: 0, x: 0, y: 0 };

  const middle = () => {
    const points = [...pointers.values()];
    return { x: points.reduce((s, p) => s + p.x, 0) / points.length,
      y: points.reduce((s, p) => s + p.y, 0) / points.length,
      spread: points.length > 1 ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0 };
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const after = middle();
    const dx = after.x - before.x;
    const dy = after.y - before.y;
    travelled += Math.abs(dx) + Math.abs(dy) + Math.abs(after.spread - before.spread);
    const side = Math.min(canvas.clientWidth, canvas.clientHeight);
    const shifting = pointers.size > 1 || event.buttons & 6 || event.ctrlKey || event.shiftKey;
    if (shifting) motion.shift(-dx / side, -dy / side);
    else if (motion.mode === "orbit") motion.turn(-(dx / side) * TURN, -(dy / side) * TURN);
    else motion.turn((-dx / side) * TURN * 0.4, (-dy / side) * TURN * 0.4);
    if (before.spread > 0 && after.spread > 0) motion.zoom(Math.log(before.spread / after.spread));
    actions.changed();
  });

  const release = (event) => {
    if (!pointers.delete(event.pointerId) || pointers.size || event.type !== "pointerup" || travelled > CLICK) return;
    const { clientX: x, clientY: y, timeStamp: time } = event;
    const double = time - lastTap.time < 350 && Math.hypot(x - lastTap.x, y - lastTap.y) < 20;
    lastTap = { time: double ? 0 : time, x, y };
    if (double) actions.centre(x, y);
    else actions.clicked(x, y);
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 400 : 1;
    const amount = Math.max(-300, Math.min(300, event.deltaY * lines)) / (event.ctrlKey ? 150 : 600);
    motion.zoom(amount);
    actions.changed();
  }, { passive: false });

  const walk = (fast) => {
    const velocity = [0, 0, 0];
    for (const code of held) velocity[MOVES[code][0]] += MOVES[code][1] * (fast ? 2 : 0.5);
    motion.velocity = velocity;
    actions.changed();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code in MOVES) {
      held.add(event.code);
      walk(event.shiftKey);
      event.preventDefault();
    } else if (!event.repeat && actions.key(event.key.toLowerCase())) event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (held.delete(event.code) || event.key === "Shift") walk(event.shiftKey);
  });
  addEventListener("blur", () => {
    held.clear();
    walk(false);
  });
}
