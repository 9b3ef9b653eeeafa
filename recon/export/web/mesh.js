// Triangles: unpacked, drawn with depth and smooth edges into a picture of their own. Layout: page_mesh.py.
import { cross, dot, subtract } from "./vectors.js";

const SAMPLES = 4;

/** Buffer -> {positions, normals Float32Array [3 v], colours Uint8Array [4 v], indices Uint32Array [3 f]}. */
export function unpackMesh(buffer, layout) {
  const { vertices, faces, low, high, coloured } = layout;
  const bytes = new Uint8Array(buffer);
  let at = 0;
  const plane = (n) => bytes.subarray(at, (at += n));
  const positions = new Float32Array(3 * vertices);
  for (let axis = 0; axis < 3; axis++) {
    const [lowByte, highByte] = [plane(vertices), plane(vertices)];
    const scale = (high[axis] - low[axis]) / 65535;
    for (let i = 0, value = 0; i < vertices; i++) {
      value = (value + (lowByte[i] | (highByte[i] << 8))) & 0xffff;
      positions[3 * i + axis] = low[axis] + scale * value;
    }
  }
  const colours = new Uint8Array(4 * vertices).fill(coloured ? 0 : 255);
  for (let channel = 0; coloured && channel < 3; channel++) {
    const steps = plane(vertices);
    for (let i = 0, value = 0; i < vertices; i++) colours[4 * i + channel] = value = (value + steps[i]) & 255;
  }
  const number = () => {
    const [a, b, c, d] = [plane(faces), plane(faces), plane(faces), plane(faces)];
    return (i) => a[i] | (b[i] << 8) | (c[i] << 16) | (d[i] << 24);
  };
  const [first, second, third] = [number(), number(), number()];
  const indices = new Uint32Array(3 * faces);
  for (let i = 0, a = 0; i < faces; i++) {
    a += first(i);
    indices.set([a, a + second(i), a + third(i)], 3 * i);
  }
  return { positions, normals: smoothNormals(positions, indices), colours, indices };
}

/** Sums of the normals of the triangles around each vertex, weighted by area; not unit. */
function smoothNormals(positions, indices) {
  const out = new Float32Array(positions.length);
  const point = (i) => [positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]];
  for (let f = 0; f < indices.length; f += 3) {
    const corners = [indices[f], indices[f + 1], indices[f + 2]];
    const [a, b, c] = corners.map(point);
    const n = cross(subtract(b, a), subtract(c, a));
    for (const i of corners) for (let k = 0; k < 3; k++) out[3 * i + k] += n[k];
  }
  return out;
}

/** Distance along a ray (unit direction) to the nearest triangle, null where there is none (Möller, Trumbore 1997). */
export function meshHit({ positions, indices }, origin, direction) {
  let nearest = null;
  const point = (i) => [positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]];
  for (let f = 0; f < indices.length; f += 3) {
    const a = point(indices[f]);
    const e1 = subtract(point(indices[f + 1]), a);
    const e2 = subtract(point(indices[f + 2]), a);
    const p = cross(direction, e2);
    const det = dot(e1, p);
    if (det === 0) continue;
    const t = subtract(origin, a);
    const u = dot(t, p) / det;
    if (u < 0 || u > 1) continue;
    const q = cross(t, e1);
    const v = dot(direction, q) / det;
    if (v < 0 || u + v > 1) continue;
    const distance = dot(e2, q) / det;
    if (distance > 0 && (nearest === null || distance < nearest)) nearest = distance;
  }
  return nearest;
}

export class MeshLayer {
  /** `program`: {use, uniforms} of mesh.vert and mesh.frag. */
  constructor(gl, program, mesh, coloured) {
    this.gl = gl;
    this.program = program;
    this.coloured = coloured;
    this.count = mesh.indices.length;
    this.shape = gl.createVertexArray();
    gl.bindVertexArray(this.shape);
    const attribute = (place, data, size, type, normalised) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
    };
    attribute(0, mesh.positions, 3, gl.FLOAT, false);
    attribute(1, mesh.normals, 3, gl.FLOAT, false);
    attribute(2, mesh.colours, 4, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.picture = gl.createTexture();
    this.target = gl.createFramebuffer();
    this.soft = gl.createFramebuffer();
    this.buffers = [gl.createRenderbuffer(), gl.createRenderbuffer()];
    this.size = [0, 0];
  }

  /** Draws into `picture`, which has exactly this size; `setCamera(uniforms)` sets the camera. */
  draw(setCamera, [width, height], background) {
    const { gl } = this;
    this.#prepare(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.soft);
    gl.viewport(0, 0, width, height);
    gl.clearColor(...background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(this.program.use);
    setCamera(this.program.uniforms);
    gl.uniform1i(this.program.uniforms.coloured, this.coloured ? 1 : 0);
    gl.bindVertexArray(this.shape);
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
    gl.disable(gl.DEPTH_TEST);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, this.soft);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, this.target);
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
  }

  #prepare(width, height) {
    const { gl } = this;
    if (this.size[0] === width && this.size[1] === height) return;
    this.size = [width, height];
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, width, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.picture, 0);
    const samples = Math.min(SAMPLES, gl.getParameter(gl.MAX_SAMPLES));
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.soft);
    [[gl.RGBA8, gl.COLOR_ATTACHMENT0], [gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT]].forEach(([format, place], i) => {
      gl.bindRenderbuffer(gl.RENDERBUFFER, this.buffers[i]);
      gl.renderbufferStorageMultisample(gl.RENDERBUFFER, samples, format, width, height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, this.buffers[i]);
    });
  }
}
