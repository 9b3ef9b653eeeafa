// FlexiCubes and the sign-change loss on the CPU. Layers of the grid are handed to the threads; what they find is counted
// first and then written to its place, so that the mesh does not depend on the number of threads.
#include "iso/iso.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/pack.h"
#include "core/parallel.h"
#include "iso/iso_cpu.h"
#include "iso/signs.h"
#include "iso/topology.h"

namespace recon::iso {
namespace {

// The cubes of a grid with what passes through them.
struct Cubes {
  const Grid& grid;
  std::vector<uint16_t> kind;  // sign pattern, and kFlippedBit

  int64_t index(int64_t x, int64_t y, int64_t z) const { return (z * (grid.ny - 1) + y) * (grid.nx - 1) + x; }
  // `room` holds the fans of cubes at the border.
  const Fans& fans(int64_t x, int64_t y, int64_t z, Fans& room) const {
    return fans_of(tables(), grid, kind[index(x, y, z)], x, y, z, room);
  }
};

Cubes classify(const Grid& g, const std::vector<uint8_t>& inside) {
  Cubes out{g, std::vector<uint16_t>(g.cubes())};
  const std::vector<uint8_t> plain = sign_patterns(inside, g);
  const int64_t cx = g.nx - 1, cy = g.ny - 1, cz = g.nz - 1;
  const int64_t size[3] = {cx, cy, cz}, step[3] = {1, cx, cx * cy};
  parallel_for(cz, [&](int64_t z) {
    for (int64_t y = 0; y < cy; ++y)
      for (int64_t x = 0; x < cx; ++x) {
        const int64_t i = out.index(x, y, z);
        out.kind[i] = plain[i];
        const int face = tables().plain[plain[i]].pinched;
        if (face == kNoFace) continue;
        const int64_t at[3] = {x, y, z};
        const int axis = face >> 1, to = face & 1 ? 1 : -1;
        if (at[axis] + to < 0 || at[axis] + to >= size[axis]) continue;
        if (tables().plain[plain[i + to * step[axis]]].pinched != kNoFace) out.kind[i] |= kFlippedBit;
      }
  });
  return out;
}

// Raw to used weights of one cube.
void use_weights(const float* raw, float* used) {
  constexpr int kRoom = (kWeights + kLanes - 1) / kLanes * kLanes;
  float room[kRoom] = {};
  std::memcpy(room, raw, kWeights * sizeof(float));
  for (int i = 0; i < kRoom; i += kLanes) store<lanes>(room + i, used_weight(load<lanes>(room + i)));
  std::memcpy(used, room, (kWeights - 1) * sizeof(float));
  used[20] = used_gamma(raw[20]);
}
void use_weights(const double* raw, double* used) {
  for (int i = 0; i < 20; ++i) used[i] = used_weight(raw[i]);
  used[20] = used_gamma(raw[20]);
}

template <class S>
void load_used(const Flexible<S>& m, int64_t at, cube<S>& out) {
  load_cube(m, at, out, [](const S* raw, S* used) { use_weights(raw, used); });
}

constexpr int64_t kGrain = 512;  // dual vertices or quads per work item
constexpr int64_t kLayersPerBlock = 4;  // of cubes; blocks two apart share no grid point

}  // namespace

template <class S>
DualTopology dual_topology(const S* values, const Grid& g) {
  const std::vector<uint8_t> inside = insides(values, g);
  const Cubes cubes = classify(g, inside);
  const int64_t cx = g.nx - 1, cy = g.ny - 1, cz = g.nz - 1;
  const auto each_cube = [&](int64_t z, const auto& body) {
    for (int64_t y = 0; y < cy; ++y)
      for (int64_t x = 0; x < cx; ++x) {
        const int k = cubes.kind[cubes.index(x, y, z)] & 255;
        if (k != 0 && k != 255) body(x, y);
      }
  };
  std::vector<int64_t> start(cz + 1, 0);
  parallel_for(cz, [&](int64_t z) {
    int64_t count = 0;
    Fans room;
    each_cube(z, [&](int64_t x, int64_t y) { count += cubes.fans(x, y, z, room).count; });
    start[z + 1] = count;
  });
  for (int64_t z = 0; z < cz; ++z) start[z + 1] += start[z];
  DualTopology out;
  out.cube.resize(start[cz]);
  out.members.resize(start[cz]);
  std::vector<int32_t> first(g.cubes());
  parallel_for(cz, [&](int64_t z) {
    int64_t next = start[z];
    Fans room;
    each_cube(z, [&](int64_t x, int64_t y) {
      const Fans& fans = cubes.fans(x, y, z, room);
      const int64_t i = cubes.index(x, y, z);
      first[i] = int32_t(next);
      for (int f = 0; f < fans.count; ++f, ++next) {
        out.cube[next] = int32_t(i);
        out.members[next] = fans.members[f];
      }
    });
  });

  // Quads: grid edges with a sign change that four cubes share.
  const int64_t point_step[3] = {1, g.nx, g.nx * g.ny};
  const auto each_edge = [&](int64_t z, const auto& body) {
    for (int64_t y = 0; y < g.ny; ++y)
      for (int64_t x = 0; x < g.nx; ++x) {
        const int64_t at[3] = {x, y, z}, p = (z * g.ny + y) * g.nx + x;
        for (int a = 0; a < 3; ++a) {
          if (!shared_by_four(g, at, a) || inside[p] == inside[p + point_step[a]]) continue;
          body(at, a, inside[p] != 0);
        }
      }
  };
  std::vector<int64_t> quad_start(g.nz + 1, 0);
  parallel_for(g.nz, [&](int64_t z) {
    int64_t count = 0;
    each_edge(z, [&](const int64_t*, int, bool) { ++count; });
    quad_start[z + 1] = count;
  });
  for (int64_t z = 0; z < g.nz; ++z) quad_start[z + 1] += quad_start[z];
  out.quads.resize(4 * quad_start[g.nz]);
  parallel_for(g.nz, [&](int64_t z) {
    int32_t* quad = out.quads.data() + 4 * quad_start[z];
    Fans room;
    each_edge(z, [&](const int64_t* at, int a, bool rising) {  // rising: outside lies along the axis
      for (int k = 0; k < 4; ++k) {
        int64_t c[3];
        const int e = cube_around(at, a, k, c);
        const Fans& fans = cubes.fans(c[0], c[1], c[2], room);
        quad[rising ? k : 3 - k] = first[cubes.index(c[0], c[1], c[2])] + fans.fan_of_edge[e];
      }
      quad += 4;
    });
  });
  return out;
}

template <class S>
void deform(const Grid& g, const S* raw, S* deformed) {
  parallel_for(g.ny * g.nz, [&](int64_t row) {
    const int64_t y = row % g.ny, z = row / g.ny, first = 3 * row * g.nx, count = 3 * g.nx;
    int64_t i = 0;
    if constexpr (std::is_same_v<S, float>)
      for (; i + kLanes <= count; i += kLanes)
        store<lanes>(deformed + first + i, recon::iso::tanh(load<lanes>(raw + first + i)));
    for (; i < count; ++i) deformed[first + i] = recon::iso::tanh(raw[first + i]);
    for (int64_t x = 0; x < g.nx; ++x) {
      const int64_t at[3] = {x, y, z};
      S* p = deformed + first + 3 * x;
      for (int k = 0; k < 3; ++k) p[k] = S(g.place(k, at[k])) + S(kReach * g.spacing[k]) * p[k];
    }
  });
}

template <class S>
void deform_backward(const Grid& g, const S* deformed, S* gradient) {
  parallel_for(g.ny * g.nz, [&](int64_t row) {
    const int64_t y = row % g.ny, z = row / g.ny;
    for (int64_t x = 0; x < g.nx; ++x) {
      const int64_t at[3] = {x, y, z}, i = 3 * (row * g.nx + x);
      for (int k = 0; k < 3; ++k) gradient[i + k] *= deform_slope(g, k, at[k], deformed[i + k]);
    }
  });
}

template <class S>
void flexible_vertices(const Flexible<S>& m, S* vertices, S* deviation, S* centres) {
  parallel_ranges(m.vertices, kGrain, [&](int64_t begin, int64_t end) {
    cube<S> c;
    for (int64_t i = begin; i < end; ++i) {
      if (i == begin || m.cube[i] != m.cube[i - 1]) load_used(m, m.cube[i], c);
      dual_vertex(c, m.members[i], vertices + 3 * i, deviation[i]);
    }
  });
  if (!centres) return;
  parallel_ranges(m.num_quads, kGrain, [&](int64_t begin, int64_t end) {
    S v[4][3], gamma[4];
    for (int64_t q = begin; q < end; ++q) {
      load_quad(m, q, vertices, v, gamma);
      quad_centre(v, gamma, centres + 3 * q);
    }
  });
}

template <class S>
void flexible_vertices_backward(const Flexible<S>& m, const S* vertices, S* g_vertices, const S* g_deviation,
                                const S* g_centres, S* g_values, S* g_deformed, S* g_weights) {
  if (g_centres) {
    for (int64_t q = 0; q < m.num_quads; ++q) {  // serial: quads share vertices, and there is little to do
      S v[4][3], gamma[4], g_v[4][3], g_gamma[4];
      load_quad(m, q, vertices, v, gamma);
      quad_centre_backward(v, gamma, g_centres + 3 * q, g_v, g_gamma);
      for (int i = 0; i < 4; ++i) {
        const int64_t at = m.quads[4 * q + i];
        for (int k = 0; k < 3; ++k) g_vertices[3 * at + k] += g_v[i][k];
        if (g_weights) g_weights[kWeights * int64_t(m.cube[at]) + 20] += g_gamma[i] * used_gamma_slope(gamma[i]);
      }
    }
  }
  // Grid points are shared by cubes of neighbouring layers: even blocks of layers first, then odd ones.
  const int64_t layer = (m.grid.nx - 1) * (m.grid.ny - 1);
  const int64_t blocks = (m.grid.nz - 1 + kLayersPerBlock - 1) / kLayersPerBlock;
  std::vector<int64_t> start(blocks + 1);
  for (int64_t b = 0; b <= blocks; ++b)
    start[b] = std::lower_bound(m.cube, m.cube + m.vertices, b * kLayersPerBlock * layer) - m.cube;
  for (int64_t odd = 0; odd < 2; ++odd)
    parallel_for((blocks + 1 - odd) / 2, [&](int64_t half) {
      const int64_t block = 2 * half + odd;
      cube<S> c, g;
      for (int64_t i = start[block]; i < start[block + 1]; ++i) {
        if (i == start[block] || m.cube[i] != m.cube[i - 1]) {
          load_used(m, m.cube[i], c);
          std::memset(&g, 0, sizeof g);
        }
        dual_vertex_backward(c, m.members[i], g_vertices + 3 * i, g_deviation ? g_deviation[i] : S(0), g);
        if (i + 1 < start[block + 1] && m.cube[i + 1] == m.cube[i]) continue;
        int64_t x, y, z;
        m.grid.position(m.cube[i], x, y, z);
        for (int k = 0; k < 8; ++k) {
          const int64_t p = m.grid.corner_point(x, y, z, k);
          g_values[p] += g.s[k];
          if (g_deformed)
            for (int j = 0; j < 3; ++j) g_deformed[3 * p + j] += g.x[k][j];
        }
        if (!g_weights) continue;
        S* w = g_weights + kWeights * int64_t(m.cube[i]);
        for (int k = 0; k < 8; ++k) w[k] += g.alpha[k] * used_weight_slope(c.alpha[k]);
        for (int k = 0; k < 12; ++k) w[8 + k] += g.beta[k] * used_weight_slope(c.beta[k]);
      }
    });
}

template <class S>
double sign_change(const S* s, const Grid& g, S* gradient) {
  const int64_t layer = g.nx * g.ny;
  std::vector<double> loss(g.nz, 0);
  std::vector<int64_t> edges(g.nz, 0);
  parallel_for(g.nz, [&](int64_t z) {
    double sum = 0;
    int64_t count = 0;  // every edge is seen from both ends
    for (int64_t y = 0; y < g.ny; ++y)
      for (int64_t x = 0; x < g.nx; ++x) {
        const int64_t at[3] = {x, y, z}, p = (z * g.ny + y) * g.nx + x;
        double term = 0;
        S slope = 0;
        const int others = sign_changes(s, g, at, p, term, slope);
        gradient[p] = S(others) * slope;
        sum += others * term;
        count += others;
      }
    loss[z] = sum;
    edges[z] = count;
  });
  double total = 0;
  int64_t count = 0;
  for (int64_t z = 0; z < g.nz; ++z) total += loss[z], count += edges[z];
  if (count == 0) return 0;
  const double scale = 2.0 / double(count);
  parallel_for(g.nz, [&](int64_t z) {
    for (int64_t p = z * layer; p < (z + 1) * layer; ++p) gradient[p] *= S(scale);
  });
  return total * scale;
}

#define RECON_ISO(S)                                                                                          \
  template DualTopology dual_topology(const S*, const Grid&);                                                 \
  template void deform(const Grid&, const S*, S*);                                                            \
  template void deform_backward(const Grid&, const S*, S*);                                                   \
  template void flexible_vertices(const Flexible<S>&, S*, S*, S*);                                            \
  template void flexible_vertices_backward(const Flexible<S>&, const S*, S*, const S*, const S*, S*, S*, S*); \
  template double sign_change(const S*, const Grid&, S*);
RECON_ISO(float)
RECON_ISO(double)
#undef RECON_ISO

}  // namespace recon::iso
