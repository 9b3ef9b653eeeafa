#version 300 es
// Premultiplied colour of one Gaussian at one pixel; the blending puts it over what is behind.
precision highp float;

in vec2 local;
flat in vec4 paint;
out vec4 result;

void main() {
  float alpha = min(0.99, paint.a * exp(-0.5 * dot(local, local)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(paint.rgb * alpha, alpha);
}
