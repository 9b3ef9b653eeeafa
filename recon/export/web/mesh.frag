#version 300 es
// Colours of photos already hold the light; a mesh without colours is lit from where the viewer stands.
precision highp float;

in vec3 place, turned, own;
uniform bool coloured;
out vec4 result;

void main() {
  float light = abs(dot(normalize(turned), normalize(place)));
  result = vec4(coloured ? own : vec3(0.72, 0.75, 0.8) * (0.2 + 0.8 * light), 1.0);
}
