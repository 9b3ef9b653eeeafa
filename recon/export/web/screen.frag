#version 300 es
// The finished picture on the screen, enlarged where it was drawn smaller.
precision highp float;

uniform sampler2D picture;
uniform vec2 share; // part of the texture that was drawn to
in vec2 place;
out vec4 result;

void main() {
  result = vec4(clamp(texture(picture, place * share).rgb, 0.0, 1.0), 1.0);
}
