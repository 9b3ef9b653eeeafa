#version 300 es
// One Gaussian, four vertices: a rectangle around the ellipse on which its alpha falls to 1/255.
// Kerbl et al. 2023, arXiv 2308.04079; projection: Zwicker et al. 2001; anti-aliasing: Yu et al. 2024 (Mip-Splatting).
// Camera axes are x right, y down, z forward, as everywhere in Recon.
precision highp float;
precision highp int;
precision highp usampler2D;

uniform usampler2D order; // splats, farthest first
uniform int count;
uniform usampler2D shapes;
uniform usampler2D lights;
uniform mat3 rotation; // camera from world
uniform vec3 translation;
uniform vec3 eye; // camera position in the world
uniform vec4 intrinsics; // fx, fy, cx, cy in pixels of the picture
uniform vec2 size; // of the picture in pixels
uniform float near;
uniform int coefficients; // spherical harmonics per splat, without the base colour: 0, 9, 24 or 45
uniform bool antialiased;

out vec2 local; // |local|^2 is the exponent's quadratic form
flat out vec4 paint; // colour, opacity

const int BATCH = 2048; // splats per instance; many per instance, because one each leaves graphics cards idle
const float DILATION = 0.3; // variance added on the screen, pixels^2
const float MIN_COMPENSATION = 2.5e-5; // under the root

uvec4 texel(usampler2D from, int index) {
  int columns = textureSize(from, 0).x;
  return texelFetch(from, ivec2(index % columns, index / columns), 0);
}

// Axes of the Gaussian in the world, unit columns.
mat3 axes(uint bits) {
  vec3 small = (vec3(bits >> 20 & 1023u, bits >> 10 & 1023u, bits & 1023u) / 511.0 - 1.0) * 0.70710678118654752;
  float large = sqrt(max(0.0, 1.0 - dot(small, small)));
  uint which = bits >> 30;
  vec4 q = which == 0u ? vec4(large, small)
    : which == 1u ? vec4(small.x, large, small.yz)
    : which == 2u ? vec4(small.xy, large, small.z)
    : vec4(small, large);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

// Three numbers from byte 3k on.
uvec4 light[3];
float lightByte(int index) {
  uint word = light[index >> 4][index >> 2 & 3];
  return float(int(word << (24 - 8 * (index & 3))) >> 24);
}
vec3 sh(int k) {
  return vec3(lightByte(3 * k), lightByte(3 * k + 1), lightByte(3 * k + 2));
}

// Bands 1 to 3 in the direction d, in units of the stored bytes.
vec3 directional(vec3 d) {
  float x = d.x, y = d.y, z = d.z;
  vec3 sum = 0.4886025119029199 * (-y * sh(0) + z * sh(1) - x * sh(2));
  if (coefficients < 24) return sum;
  float xx = x * x, yy = y * y, zz = z * z;
  sum += 1.0925484305920792 * (x * y * sh(3) - y * z * sh(4) - x * z * sh(6))
    + 0.31539156525252005 * (2.0 * zz - xx - yy) * sh(5)
    + 0.5462742152960396 * (xx - yy) * sh(7);
  if (coefficients < 45) return sum;
  return sum
    - 0.5900435899266435 * (y * (3.0 * xx - yy) * sh(8) + x * (xx - 3.0 * yy) * sh(14))
    + 2.890611442640554 * x * y * z * sh(9)
    - 0.4570457994644658 * (4.0 * zz - xx - yy) * (y * sh(10) + x * sh(12))
    + 0.3731763325901154 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy) * sh(11)
    + 1.445305721320277 * z * (xx - yy) * sh(13);
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0); // outside: not drawn
  local = vec2(0.0);
  paint = vec4(0.0);

  int place = gl_InstanceID * BATCH + gl_VertexID / 4;
  if (place >= count) return;
  int index = int(texel(order, place).x);
  uvec4 first = texel(shapes, 2 * index);
  uvec4 second = texel(shapes, 2 * index + 1);
  vec3 mean = uintBitsToFloat(first.xyz);
  vec3 p = rotation * mean + translation;
  if (!(p.z > near)) return;

  vec2 scale12 = unpackHalf2x16(second.x);
  vec2 scale3opacity = unpackHalf2x16(second.y);
  vec3 scales = exp(vec3(scale12, scale3opacity.x));
  float opacity = scale3opacity.y;

  // Projection of the three axes: columns of J R V, so that the covariance on the screen is U U^T.
  float rz = 1.0 / p.z;
  vec2 slope = clamp(p.xy * rz, (-0.15 * size - intrinsics.zw) / intrinsics.xy,
    (1.15 * size - intrinsics.zw) / intrinsics.xy); // the linearisation is held near the picture
  mat3 v = rotation * axes(first.w);
  vec3 u0 = intrinsics.x * rz * (vec3(v[0].x, v[1].x, v[2].x) - slope.x * vec3(v[0].z, v[1].z, v[2].z)) * scales;
  vec3 u1 = intrinsics.y * rz * (vec3(v[0].y, v[1].y, v[2].y) - slope.y * vec3(v[0].z, v[1].z, v[2].z)) * scales;
  float a0 = dot(u0, u0), c0 = dot(u1, u1), b = dot(u0, u1);
  vec3 normal = cross(u0, u1);
  float flatDet = dot(normal, normal); // a0 c0 - b^2 without its cancellation
  float a = a0 + DILATION, c = c0 + DILATION;
  float det = flatDet + DILATION * (a0 + c0) + DILATION * DILATION;
  if (antialiased) opacity *= sqrt(max(flatDet / det, MIN_COMPENSATION));
  if (opacity <= 1.0 / 255.0) return;
  float level = sqrt(2.0 * log(255.0 * opacity));

  // Principal axes of the ellipse.
  float middle = 0.5 * (a + c);
  float half_ = 0.5 * (a - c);
  float root = sqrt(half_ * half_ + b * b);
  float large = middle + root;
  float small = det / large;
  vec2 direction = half_ > 0.0 ? vec2(half_ + root, b) : vec2(b, root - half_);
  direction = dot(direction, direction) > 0.0 ? normalize(direction) : vec2(1.0, 0.0);

  vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1 & 1)) * 2.0 - 1.0;
  local = corner * level;
  vec2 offset = local.x * sqrt(large) * direction + local.y * sqrt(small) * vec2(-direction.y, direction.x);
  vec2 pixel = intrinsics.xy * p.xy * rz + intrinsics.zw + offset;
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);

  vec2 redGreen = unpackHalf2x16(second.z);
  vec2 blueLight = unpackHalf2x16(second.w);
  vec3 colour = vec3(redGreen, blueLight.x);
  if (coefficients > 0 && blueLight.y > 0.0) {
    int texels = (coefficients + 15) / 16;
    light[0] = texel(lights, texels * index);
    if (texels > 1) light[1] = texel(lights, texels * index + 1);
    if (texels > 2) light[2] = texel(lights, texels * index + 2);
    colour += directional(normalize(mean - eye)) * (blueLight.y / 127.0);
  }
  paint = vec4(max(colour, 0.0), opacity);
}
