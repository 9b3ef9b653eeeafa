// WebGL2: splats into a picture of half floats (8 bits would add a rounding per layer), then onto the screen.
import { cameraRows } from "./view.js";
import { MeshLayer } from "./mesh.js";

const BATCH = 2048; // splats per instance, as in splat.vert

export class Renderer {
  /** `settings`: the page's data. Raises where there is no WebGL2. */
  constructor(canvas, settings, shaderText) {
    const gl = canvas.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, stencil: false, powerPreference: "high-performance",
    });
    if (!gl) throw new Error("This page needs WebGL 2, which this browser or device does not offer.");
    this.gl = gl;
    this.canvas = canvas;
    this.settings = settings;
    this.floats = gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float");
    this.columns = Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE), 4096);
    this.programs = {
      splat: program(gl, shaderText("splat.vert"), shaderText("splat.frag")),
      screen: program(gl, shaderText("screen.vert"), shaderText("screen.frag")),
      lines: program(gl, shaderText("lines.vert"), shaderText("lines.frag")),
    };
    this.mesh = null; // a MeshLayer
    this.showMesh = false; // in place of the splats
    this.count = 0;
    this.order = null;
    this.splats = gl.createVertexArray();
    gl.bindVertexArray(this.splats);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, rectangles(BATCH), gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.nothing = gl.createVertexArray();
    this.lineBuffer = gl.createBuffer();
    this.lines = gl.createVertexArray();
    gl.bindVertexArray(this.lines);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    gl.bindVertexArray(null);
    this.picture = gl.createTexture();
    this.target = gl.createFramebuffer();
    this.pictureSize = [0, 0];
  }

  /** Uploads what the worker unpacked. */
  load({ shapes, lights }) {
    this.shapes = this.#dataTexture(shapes);
    this.lights = this.#dataTexture(lights.length ? lights : new Uint32Array(this.columns * 4));
  }

  /** Takes the triangles that ``unpackMesh`` made. */
  loadMesh(mesh, coloured, shaderText) {
    const { gl } = this;
    this.mesh = new MeshLayer(gl, program(gl, shaderText("mesh.vert"), shaderText("mesh.frag")), mesh, coloured);
  }

  #dataTexture(data) {
    const { gl, columns } = this;
    const rows = data.length / 4 / columns;
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
      throw new Error("This scene is too large for this device's graphics memory.");
    }
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, columns, rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, data);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  setOrder(order) {
    const { gl, columns } = this;
    const whole = Math.floor(order.length / columns);
    this.count = order.length;
    this.order ??= this.#orderTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    const upload = (row, width, rows, data) => {
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, row, width, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, data);
    };
    if (whole) upload(0, columns, whole, order.subarray(0, whole * columns));
    const rest = order.subarray(whole * columns);
    if (rest.length) upload(whole, rest.length, 1, rest);
  }

  #orderTexture() {
    const { gl, columns } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R32UI, columns, Math.ceil(this.settings.packing.count / columns));
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  /** Line segments [2 n, 3] that can be drawn over the scene. */
  setLines(points) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lineBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.STATIC_DRAW);
  }

  /**
   * Draws the view with intrinsics given in pixels of the canvas. `scale` <= 1 makes a smaller picture that is
   * enlarged; `lines` are ranges of the line buffer, [{first, count, colour}].
   */
  draw(view, intrinsics, scale, lines) {
    const { gl, canvas } = this;
    const width = Math.max(1, Math.round(canvas.width * scale));
    const height = Math.max(1, Math.round(canvas.height * scale));
    const ratio = [width / canvas.width, height / canvas.height];
    const scaled = intrinsics.map((x, i) => x * ratio[i % 2]);
    const { picture, share } = this.showMesh && this.mesh
      ? this.#meshPicture(view, scaled, [width, height]) : this.#splatPicture(view, scaled, [width, height]);

    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.disable(gl.BLEND);
    const { use, uniforms } = this.programs.screen;
    gl.useProgram(use);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, picture);
    const filter = scale < 1 ? gl.LINEAR : gl.NEAREST;
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.uniform1i(uniforms.picture, 0);
    gl.uniform2f(uniforms.share, ...share);
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    if (lines.length) this.#drawLines(view, intrinsics, lines);
    gl.bindVertexArray(null);
  }

  #splatPicture(view, intrinsics, [width, height]) {
    const { gl } = this;
    this.#prepare(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, width, height);
    gl.clearColor(...this.settings.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.#drawSplats(view, intrinsics, [width, height]);
    return { picture: this.picture, share: [width / this.pictureSize[0], height / this.pictureSize[1]] };
  }

  #meshPicture(view, intrinsics, size) {
    const camera = (uniforms) => this.#camera(uniforms, view, intrinsics, size);
    this.mesh.draw(camera, size, this.settings.background);
    return { picture: this.mesh.picture, share: [1, 1] };
  }

  #camera(uniforms, view, intrinsics, size) {
    const { gl } = this;
    const rows = cameraRows(view);
    const columns = [0, 1, 2].flatMap((k) => rows.map((row) => row[k]));
    gl.uniformMatrix3fv(uniforms.rotation, false, columns);
    gl.uniform3f(uniforms.translation, rows[0][3], rows[1][3], rows[2][3]);
    gl.uniform4f(uniforms.intrinsics, ...intrinsics);
    gl.uniform2f(uniforms.size, ...size);
    gl.uniform1f(uniforms.near, this.settings.near);
  }

  #drawSplats(view, intrinsics, size) {
    const { gl, settings } = this;
    if (!this.shapes || !this.count) return;
    const { use, uniforms } = this.programs.splat;
    gl.useProgram(use);
    this.#camera(uniforms, view, intrinsics, size);
    gl.uniform3f(uniforms.eye, ...view.position);
    gl.uniform1i(uniforms.coefficients, settings.packing.components ? settings.packing.coefficients : 0);
    gl.uniform1i(uniforms.antialiased, settings.antialiased ? 1 : 0);
    gl.uniform1i(uniforms.count, this.count);
    ["shapes", "lights", "order"].forEach((name, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, this[name]);
      gl.uniform1i(uniforms[name], unit);
    });
    gl.bindVertexArray(this.splats);
    gl.drawElementsInstanced(gl.TRIANGLES, BATCH * 6, gl.UNSIGNED_SHORT, 0, Math.ceil(this.count / BATCH));
  }

  #drawLines(view, intrinsics, lines) {
    const { gl, canvas } = this;
    const { use, uniforms } = this.programs.lines;
    gl.useProgram(use);
    gl.enable(gl.BLEND);
    this.#camera(uniforms, view, intrinsics, [canvas.width, canvas.height]);
    gl.bindVertexArray(this.lines);
    for (const { first, count, colour } of lines) {
      gl.uniform4f(uniforms.colour, ...colour);
      gl.drawArrays(gl.LINES, first, count);
    }
  }

  /** Makes the picture at least this large. */
  #prepare(width, height) {
    const { gl } = this;
    const [w, h] = [this.canvas.width, this.canvas.height];
    if (this.pictureSize[0] === w && this.pictureSize[1] === h && width <= w && height <= h) return;
    this.pictureSize = [w, h];
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    const [format, type] = this.floats ? [gl.RGBA16F, gl.HALF_FLOAT] : [gl.RGBA8, gl.UNSIGNED_BYTE];
    gl.texImage2D(gl.TEXTURE_2D, 0, format, w, h, 0, gl.RGBA, type, null);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.picture, 0);
    if (this.floats && gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      this.floats = null; // promised but not kept: 8 bits then
      this.pictureSize = [0, 0];
      this.#prepare(width, height);
    }
  }
}

/** Indices of two triangles for every four vertices. */
function rectangles(count) {
  const out = new Uint16Array(count * 6);
  for (let i = 0; i < count; i++) out.set([0, 1, 2, 2, 1, 3].map((k) => 4 * i + k), 6 * i);
  return out;
}

function program(gl, vertexText, fragmentText) {
  const use = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertexText], [gl.FRAGMENT_SHADER, fragmentText]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text.trim());
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
      throw new Error(`This device cannot draw the scene: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.attachShader(use, shader);
  }
  gl.linkProgram(use);
  if (!gl.getProgramParameter(use, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`This device cannot draw the scene: ${gl.getProgramInfoLog(use)}`);
  }
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(use, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(use, i);
    uniforms[name] = gl.getUniformLocation(use, name);
  }
  return { use, uniforms };
}
