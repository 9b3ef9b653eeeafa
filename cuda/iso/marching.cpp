// Marching cubes (Lorensen and Cline, SIGGRAPH 1987) on the table of tables.h: the baseline, and what truncated signed
// distances are meshed with. Closed and manifold for every sign pattern: inside corners are kept apart on every
// ambiguous face, from both sides.
#include "core/parallel.h"
#include "iso/iso_cpu.h"
#include "iso/signs.h"
#include "iso/tables.h"

namespace recon::iso {

template <class S>
Triangles marching_cubes(const S* values, const uint8_t* known, const Grid& g) {
  const std::vector<uint8_t> inside = insides(values, g);
  std::vector<uint8_t> kind = sign_patterns(inside, g);
  if (known) {
    const std::vector<uint8_t> all = sign_patterns(std::vector<uint8_t>(known, known + g.points()), g);
    parallel_ranges(g.cubes(), 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) kind[i] = all[i] == 255 ? kind[i] : 0;
    });
  }
  // A vertex for every crossed edge of a cube that is not left out; each edge belongs to the point it starts from.
  const int64_t cx = g.nx - 1, cy = g.ny - 1, cz = g.nz - 1;
  const int64_t step[3] = {1, g.nx, g.nx * g.ny};
  std::vector<uint8_t> crossed(g.points());  // bit per axis
  parallel_for(g.nz, [&](int64_t z) {
    for (int64_t y = 0; y < g.ny; ++y)
      for (int64_t x = 0; x < g.nx; ++x) {
        const int64_t p = (z * g.ny + y) * g.nx + x, at[3] = {x, y, z}, size[3] = {g.nx, g.ny, g.nz};
        for (int a = 0; a < 3; ++a) {
          if (at[a] + 1 >= size[a] || inside[p] == inside[p + step[a]]) continue;
          bool used = !known;
          for (int k = 0; k < 4 && !used; ++k) {
            int64_t c[3] = {x, y, z};
            c[(a + 1) % 3] -= k & 1;
            c[(a + 2) % 3] -= k >> 1;
            if (c[0] < 0 || c[1] < 0 || c[2] < 0 || c[0] >= cx || c[1] >= cy || c[2] >= cz) continue;
            const uint8_t pattern = kind[(c[2] * cy + c[1]) * cx + c[0]];
            used = pattern != 0 && pattern != 255;
          }
          if (used) crossed[p] |= uint8_t(1 << a);
        }
      }
  });
  constexpr uint8_t kBits[8] = {0, 1, 1, 2, 1, 2, 2, 3};
  std::vector<int64_t> start(g.nz + 1, 0), triangle_start(cz + 1, 0);
  parallel_for(g.nz, [&](int64_t z) {
    int64_t count = 0;
    for (int64_t p = z * step[2]; p < (z + 1) * step[2]; ++p) count += kBits[crossed[p]];
    start[z + 1] = count;
    if (z == cz) return;
    int64_t triangles = 0;
    for (int64_t i = z * cx * cy; i < (z + 1) * cx * cy; ++i) {
      const Case& c = tables().plain[kind[i]];
      for (int l = 0; l < c.loops; ++l) triangles += c.loop[l].length - 2;
    }
    triangle_start[z + 1] = triangles;
  });
  for (int64_t z = 0; z < g.nz; ++z) start[z + 1] += start[z];
  for (int64_t z = 0; z < cz; ++z) triangle_start[z + 1] += triangle_start[z];
  Triangles out;
  out.edge.resize(start[g.nz]);
  out.faces.resize(3 * triangle_start[cz]);
  std::vector<int32_t> first(g.points());
  parallel_for(g.nz, [&](int64_t z) {
    int64_t next = start[z];
    for (int64_t p = z * step[2]; p < (z + 1) * step[2]; ++p) {
      first[p] = int32_t(next);
      for (int a = 0; a < 3; ++a)
        if (crossed[p] >> a & 1) out.edge[next++] = 3 * p + a;
    }
  });
  parallel_for(cz, [&](int64_t z) {
    int32_t* face = out.faces.data() + 3 * triangle_start[z];
    for (int64_t y = 0; y < cy; ++y)
      for (int64_t x = 0; x < cx; ++x) {
        const Case& c = tables().plain[kind[(z * cy + y) * cx + x]];
        for (int l = 0; l < c.loops; ++l) {
          int32_t vertex[kEdges];
          for (int k = 0; k < c.loop[l].length; ++k) {
            const int e = c.loop[l].edges[k], from = edge_start(e), a = edge_axis(e);
            const int64_t p = ((z + (from >> 2)) * g.ny + y + (from >> 1 & 1)) * g.nx + x + (from & 1);
            vertex[k] = first[p] + kBits[crossed[p] & ((1 << a) - 1)];
          }
          for (int k = 1; k + 1 < c.loop[l].length; ++k) {
            *face++ = vertex[0];
            *face++ = vertex[k];
            *face++ = vertex[k + 1];
          }
        }
      }
  });
  return out;
}

template Triangles marching_cubes(const float*, const uint8_t*, const Grid&);
template Triangles marching_cubes(const double*, const uint8_t*, const Grid&);

}  // namespace recon::iso
