#version 300 es
// Camera frustums.
precision highp float;

layout(location = 0) in vec3 position;
uniform mat3 rotation;
uniform vec3 translation;
uniform vec4 intrinsics;
uniform vec2 size;
uniform float near;

void main() {
  vec3 p = rotation * position + translation;
  // Homogeneous, so that the card clips lines at the near plane.
  vec2 pixel = intrinsics.xy * p.xy + intrinsics.zw * p.z;
  gl_Position = vec4(2.0 * pixel.x / size.x - p.z, p.z - 2.0 * pixel.y / size.y, p.z - 2.0 * near, p.z);
}
