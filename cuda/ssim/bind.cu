// Python binding of the CUDA driver of the photometric loss; no logic.
#include "core/arrays_cuda.h"
#include "ssim/ssim_cuda.h"

namespace recon::gpu {
namespace {

template <class T>
void bind(nb::module_& m) {
  m.def(
      "photometric",
      [](numbers image, array<T> target, bytes mask, array<double> terms, float ssim_weight, array<double> partial,
         numbers adjoints, numbers gradient, array<double> loss, uintptr_t stream) {
        expect(image.ndim() == 3 && image.size() > 0 && target.size() == image.size(),
               "image and target must be [channels, height, width] and not empty");
        const int channels = int(image.shape(0)), height = int(image.shape(1)), width = int(image.shape(2));
        expect(channels < 65536 && height <= 65535 * kSsimTile &&
                   (mask.size() == 0 || mask.size() == size_t(height) * width),
               "mask must be [height, width] or empty");
        expect((gradient.size() == 0 || (gradient.size() == image.size() && adjoints.size() == 3 * image.size())) &&
                   terms.size() == 1 && loss.size() == 3 &&
                   int64_t(partial.size()) == 2 * ssim_blocks(channels, height, width),
               "scratch memory does not fit the image");
        const image_pair<T> pair{image.data(), target.data(), mask.size() ? mask.data() : nullptr,
                                 channels,     height,        width};
        photometric<T>(pair, ssim_weight, terms.data(), partial.data(), adjoints.data(),
                       gradient.size() ? gradient.data() : nullptr, loss.data(), stream_of(stream));
      },
      nb::arg("image").noconvert(), nb::arg("target").noconvert(), nb::arg("mask").noconvert(),
      nb::arg("terms").noconvert(), nb::arg("ssim_weight"), nb::arg("partial").noconvert(),
      nb::arg("adjoints").noconvert(), nb::arg("gradient").noconvert(), nb::arg("loss").noconvert(), nb::arg("stream"));
}

}  // namespace
}  // namespace recon::gpu

void bind_ssim_cuda(nanobind::module_& m) {
  m.def("ssim_blocks", &recon::gpu::ssim_blocks);
  recon::gpu::bind<uint8_t>(m);
  recon::gpu::bind<float>(m);
}
