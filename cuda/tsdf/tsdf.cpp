// Every voxel looks up its pixel. Layers are handed to the threads; a voxel belongs to one of them.
#include "tsdf/tsdf.h"

#include <cmath>

#include "core/parallel.h"
#include "tsdf/tsdf_cpu.h"

namespace recon::tsdf {

void fuse(const Volume& v, const Picture& p, const view<double>& camera, double truncation) {
  view<float> c;
  for (int i = 0; i < 9; ++i) c.rotation[i] = float(camera.rotation[i]);
  c.fx = float(camera.fx), c.fy = float(camera.fy), c.cx = float(camera.cx), c.cy = float(camera.cy);
  const float depth_unit = float(truncation);
  const float* r = c.rotation;
  parallel_for(v.nz, [&](int64_t z) {
    for (int64_t y = 0; y < v.ny; ++y) {
      const double start[3] = {v.origin[0], v.origin[1] + double(y) * v.spacing[1],
                               v.origin[2] + double(z) * v.spacing[2]};
      float at[3], step[3];  // camera coordinates of the row's first voxel, and from voxel to voxel
      for (int k = 0; k < 3; ++k) {
        const double* row = camera.rotation + 3 * k;
        at[k] = float(row[0] * start[0] + row[1] * start[1] + row[2] * start[2] + camera.translation[k]);
        step[k] = r[3 * k] * float(v.spacing[0]);
      }
      const int64_t first = (z * v.ny + y) * v.nx;
      for (int64_t x = 0; x < v.nx; ++x) {
        const float depth_here = at[2] + float(x) * step[2];
        if (!(depth_here > 1e-6f)) continue;
        const float inverse = 1.0f / depth_here;
        const float px = c.fx * (at[0] + float(x) * step[0]) * inverse + c.cx;
        const float py = c.fy * (at[1] + float(x) * step[1]) * inverse + c.cy;
        if (!(px >= 0 && py >= 0 && px < float(p.width) && py < float(p.height))) continue;
        const int64_t pixel = int64_t(py) * p.width + int64_t(px);
        float distance;
        if (!observe(p.depth[pixel], depth_here, depth_unit, distance)) continue;
        const int64_t i = first + x;
        const float w = p.confidence[pixel];
        if (!(w > 0)) continue;
        average(v.distance[i], v.weight[i], distance, w);
        v.weight[i] += w;
        if (distance >= 1) continue;
        const float near = w * (1 - std::fabs(distance));
        if (!(near > 0)) continue;
        for (int k = 0; k < 3; ++k) average(v.colour[3 * i + k], v.colour_weight[i], p.colour[3 * pixel + k], near);
        v.colour_weight[i] += near;
      }
    }
  });
}

}  // namespace recon::tsdf
