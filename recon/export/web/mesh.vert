#version 300 es
// Triangles of a mesh.
precision highp float;

layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec4 colour;
uniform mat3 rotation;
uniform vec3 translation;
uniform vec4 intrinsics;
uniform vec2 size;
uniform float near;
out vec3 place, turned, own;

void main() {
  vec3 p = rotation * position + translation;
  vec2 pixel = intrinsics.xy * p.xy + intrinsics.zw * p.z;
  gl_Position = vec4(2.0 * pixel.x / size.x - p.z, p.z - 2.0 * pixel.y / size.y, p.z - 2.0 * near, p.z);
  place = p;
  turned = rotation * normal;
  own = colour.rgb;
}
