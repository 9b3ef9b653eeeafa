#version 300 es
precision highp float;
uniform vec4 colour;
out vec4 result;

void main() {
  result = colour;
}
