// What the bindings of all devices ask of the arrays of a mesh and its picture.
#pragma once

#include <array>

#include "core/expect.h"
#include "raster/raster.h"

namespace recon::raster {

template <class Numbers, class Indices, class Picture, class Face>
Scene check_scene(const Numbers& vertices, const Indices& faces, const std::array<double, 4>& intrinsics, double near,
                  const Face& face, const Picture& depth, const Picture& shares) {
  expect(vertices.ndim() == 2 && vertices.shape(1) == 3 && faces.ndim() == 2 && faces.shape(1) == 3,
         "vertices and faces must be [n, 3]");
  expect(face.ndim() == 2 && depth.size() == face.size() && shares.size() == 2 * face.size(),
         "face and depth must be [height, width], shares [height, width, 2]");
  return {vertices.data(), faces.data(), int64_t(faces.shape(0)), intrinsics[0],         intrinsics[1], intrinsics[2],
          intrinsics[3],   near,         int64_t(face.shape(1)),  int64_t(face.shape(0))};
}

}  // namespace recon::raster
