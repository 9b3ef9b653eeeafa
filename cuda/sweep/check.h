// What the bindings of all devices ask of the arrays of a sweep.
#pragma once

#include "core/expect.h"
#include "sweep/sweep.h"

namespace recon::sweep {

template <class Image, class Ids, class Out>
Sweep check_sweep(const Image& grey, const Image& start, double step, const Image& pictures, const Ids& sizes,
                  const Image& maps, int window, double texture, const Out& scores) {
  expect(grey.ndim() == 2 && grey.shape(0) >= 1 && grey.shape(1) >= 1, "grey must be [height, width]");
  expect(start.ndim() == 2 && start.shape(0) == grey.shape(0) && start.shape(1) == grey.shape(1),
         "start must be [height, width]");
  expect(scores.ndim() == 3 && scores.shape(1) == grey.shape(0) && scores.shape(2) == grey.shape(1),
         "scores must be [planes, height, width]");
  expect(pictures.ndim() == 1 && pictures.size() < (size_t(1) << 31), "pictures must be [pixels]");
  expect(sizes.ndim() == 2 && sizes.shape(1) == 2, "sizes must be [others, 2]");
  expect(maps.ndim() == 3 && maps.shape(0) == sizes.shape(0) && maps.shape(1) == 3 && maps.shape(2) == 4,
         "maps must be [others, 3, 4]");
  expect(window >= 1 && window <= kMostWindow && window % 2 == 1, "window must be odd and at most 15");
  expect(texture > 0, "texture must be positive");
  return {int64_t(grey.shape(0)),
          int64_t(grey.shape(1)),
          grey.data(),
          start.data(),
          float(step),
          int(scores.shape(0)),
          pictures.data(),
          sizes.data(),
          maps.data(),
          int(sizes.shape(0)),
          window / 2,
          float(texture)};
}

}  // namespace recon::sweep
