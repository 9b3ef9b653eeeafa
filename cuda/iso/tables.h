// How a surface passes through one cube, for each of the 256 sign patterns of its corners: made from a rule, not copied.
//
// Corner c has the offsets x = c & 1, y = c >> 1 & 1, z = c >> 2. Edge 4 a + i + 2 j runs along axis a at the offsets i
// and j along axes a+1 and a+2 (mod 3). Face 2 a + side is normal to axis a. A case has bit c set where corner c is
// inside (negative).
//
// Rule: on every face, walk its corners counter-clockwise as seen from outside the cube. Each run of inside corners is
// cut off by one segment, from the edge where the walk enters the run to the edge where it leaves. So on an ambiguous
// face (inside at two opposite corners) inside corners are kept apart. Each crossed edge ends up with one segment
// coming in and one going out: the segments form closed loops, and each loop is one piece of the surface, one vertex
// of the dual mesh. That gives 0, 1, 2, 3, 4 pieces in 2, 162, 82, 8, 2 cases.
//
// In 36 cases both segments of an ambiguous face belong to the same loop; each of them has exactly one such face and no
// other ambiguous one (the configurations C16 and C19). Where two such cubes meet at that face, four quads would share
// one dual edge. Both cubes then join the inside corners on it instead ("flipped"), which gives each segment a loop of
// its own: the dual mesh is manifold for every sign pattern. (Found by Wenger, "Isosurfaces", 2013; used by Shen et
// al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv 2308.05371.)
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace recon::iso {

inline constexpr int kEdges = 12;
inline constexpr int kNoFace = 6;

inline int edge_axis(int e) { return e >> 2; }
inline int edge_start(int e) {  // the corner at the edge's lower end; the other one is start | 1 << axis
  const int a = e >> 2;
  return (e & 1) << (a + 1) % 3 | (e >> 1 & 1) << (a + 2) % 3;
}
inline int edge_end(int e) { return edge_start(e) | 1 << edge_axis(e); }

struct Loop {
  uint8_t length;
  uint8_t edges[kEdges];  // in order; seen from the positive side, counter-clockwise
};
struct Case {
  uint8_t loops;
  uint8_t pinched;  // the face that both segments of one loop pass over, or kNoFace
  uint8_t loop_of_edge[kEdges];  // 255 where the edge is not crossed
  Loop loop[4];
};

// The dual vertices of one cube: fan i owns the quads of the edges with fan_of_edge == i, and lies at the mean of the
// crossings in members[i].
struct Fans {
  uint8_t count;
  uint8_t fan_of_edge[kEdges];
  uint16_t members[kEdges];
};

namespace table_detail {

inline int edge_between(int c0, int c1) {
  const int low = c0 < c1 ? c0 : c1, axis = (c0 ^ c1) == 1 ? 0 : (c0 ^ c1) == 2 ? 1 : 2;
  return 4 * axis + (low >> (axis + 1) % 3 & 1) + 2 * (low >> (axis + 2) % 3 & 1);
}

// Corner k of a face, counter-clockwise as seen along the axis from its positive end.
inline int face_corner(int face, int k) {
  const int a = face >> 1, i = k == 1 || k == 2, j = k >= 2;
  return (face & 1) << a | i << (a + 1) % 3 | j << (a + 2) % 3;
}

inline bool edge_on_face(int e, int face) {
  const int a = face >> 1, side = face & 1;
  return (edge_start(e) >> a & 1) == side && (edge_end(e) >> a & 1) == side;
}

inline bool share_face(int e0, int e1) {
  for (int f = 0; f < 6; ++f)
    if (edge_on_face(e0, f) && edge_on_face(e1, f)) return true;
  return false;
}

// next[e]: the crossed edge that follows e on its loop, or -1. Bits of `flip` are faces whose inside corners are joined.
inline void follow(int inside, int flip, int next[kEdges], uint8_t& ambiguous) {
  for (int e = 0; e < kEdges; ++e) next[e] = -1;
  ambiguous = 0;
  for (int f = 0; f < 6; ++f) {
    int entering = 0;
    for (int k = 0; k < 4; ++k) {
      const auto in = [&](int i) { return inside >> face_corner(f, i & 3) & 1; };
      if (in(k) || !in(k + 1)) continue;
      ++entering;
      int leave = k;  // the side of the face where the run ends that begins (or, flipped, that ended) here
      do leave = (leave + ((flip >> f & 1) ? 3 : 1)) & 3;
      while (!(in(leave) && !in(leave + 1)));
      const int from = edge_between(face_corner(f, k), face_corner(f, (k + 1) & 3));
      const int to = edge_between(face_corner(f, leave), face_corner(f, (leave + 1) & 3));
      if (f & 1)
        next[from] = to;  // face_corner walks the faces of side 0 clockwise as seen from outside
      else
        next[to] = from;
    }
    if (entering == 2) ambiguous |= uint8_t(1 << f);
  }
}

inline Case make_case(int inside, int flip) {
  Case out{};
  int next[kEdges];
  uint8_t ambiguous;
  follow(inside, flip, next, ambiguous);
  for (int e = 0; e < kEdges; ++e) out.loop_of_edge[e] = 255;
  for (int e = 0; e < kEdges; ++e) {
    if (next[e] < 0 || out.loop_of_edge[e] != 255) continue;
    Loop& loop = out.loop[out.loops];
    for (int at = e; out.loop_of_edge[at] == 255; at = next[at]) {
      out.loop_of_edge[at] = out.loops;
      loop.edges[loop.length++] = uint8_t(at);
    }
    ++out.loops;
  }
  out.pinched = kNoFace;
  for (int f = 0; f < 6; ++f) {
    if (!(ambiguous >> f & 1)) continue;
    int first = -1;
    bool same = true;
    for (int e = 0; e < kEdges; ++e)
      if (edge_on_face(e, f)) {
        if (first < 0) first = out.loop_of_edge[e];
        same = same && out.loop_of_edge[e] == first;
      }
    if (same) out.pinched = uint8_t(f);
  }
  // Marching cubes fans each loop out from its first edge. No spoke may run within a face of the cube, where the
  // neighbour might draw the same line: a rotation without such a spoke exists for every loop.
  for (int l = 0; l < out.loops; ++l) {
    Loop& loop = out.loop[l];
    for (int turn = 0; turn < loop.length; ++turn) {
      bool clear = true;
      for (int k = 2; k + 1 < loop.length; ++k) clear = clear && !share_face(loop.edges[0], loop.edges[k]);
      if (clear) break;
      const uint8_t first = loop.edges[0];
      for (int k = 0; k + 1 < loop.length; ++k) loop.edges[k] = loop.edges[k + 1];
      loop.edges[loop.length - 1] = first;
    }
  }
  return out;
}

struct Tables {
  Case plain[256], flipped[256];  // flipped: the pinched face joined; equal to plain where there is none
  Fans fans[512];  // of cubes that do not touch the border; flipped ones from 256 on
  Tables() {
    for (int c = 0; c < 256; ++c) {
      plain[c] = make_case(c, 0);
      flipped[c] = plain[c].pinched == kNoFace ? plain[c] : make_case(c, 1 << plain[c].pinched);
      for (int flip = 0; flip < 2; ++flip) fans[256 * flip + c] = whole_fans(flip ? flipped[c] : plain[c]);
    }
  }
  static Fans whole_fans(const Case& c) {
    Fans out{};
    out.count = c.loops;
    for (int e = 0; e < kEdges; ++e) {
      out.fan_of_edge[e] = c.loop_of_edge[e];
      if (c.loop_of_edge[e] != 255) out.members[c.loop_of_edge[e]] |= uint16_t(1 << e);
    }
    return out;
  }
};

}  // namespace table_detail

inline const table_detail::Tables& tables() {
  static const table_detail::Tables all;
  return all;
}

// Fans of a cube at the border of the grid, where the edges in `border` get no quad (fewer than four cubes share them).
// A loop that passes over several of them falls into several fans; each gets a vertex of its own, at the same place, so
// that the open mesh has no vertex where two sheets merely touch.
RECON_HD Fans border_fans(const Case& c, unsigned border) {
  Fans out{};
  for (int e = 0; e < kEdges; ++e) out.fan_of_edge[e] = 255;
  for (int l = 0; l < c.loops; ++l) {
    const Loop& loop = c.loop[l];
    uint16_t members = 0;
    int start = -1;  // the place after a gap
    for (int k = 0; k < loop.length; ++k) {
      members |= uint16_t(1 << loop.edges[k]);
      if (border >> loop.edges[k] & 1) start = k + 1;
    }
    const int first = start < 0 ? 0 : start;
    bool open = false;
    for (int i = 0; i < loop.length; ++i) {
      const int e = loop.edges[(first + i) % loop.length];
      if (border >> e & 1) {
        open = false;
        continue;
      }
      if (!open) out.members[out.count++] = members;
      open = true;
      out.fan_of_edge[e] = uint8_t(out.count - 1);
    }
  }
  return out;
}

}  // namespace recon::iso
