// Splatting on this build's lanes against the same driver in double, from random Gaussians: forward and backward.
// For processors whose Python modules cannot be built here: cross-compile it with the kernels and run it in an emulator
// (`make arm64-check`). Prints the largest differences; exit code 1 when they are larger than rounding explains.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "core/pack.h"
#include "splat/driver.h"

namespace {

template <class S>
struct result {
  std::vector<S> records, picture, transmittance, g_records;
};

template <class S>
result<S> run(const std::vector<double>& x, int n, int width, int height) {
  using namespace recon;
  std::vector<S> p(x.begin(), x.end());
  S* at = p.data();
  const auto take = [&](int columns) {
    S* here = at;
    at += columns * n;
    return here;
  };
  gaussian_rows<S> rows;
  rows.mean = take(3), rows.log_scale = take(3), rows.quaternion = take(4), rows.logit = take(1), rows.sh0 = take(3);
  rows.sh_rest = take(45), rows.rest = 15;
  view<S> cam{};
  for (int i = 0; i < 3; ++i) cam.rotation[4 * i] = S(1);
  cam.translation[2] = S(4), cam.centre[2] = S(-4);
  cam.fx = cam.fy = S(60), cam.cx = S(width) / 2, cam.cy = S(height) / 2;
  cam.width = S(width), cam.height = S(height), cam.near = S(0.1), cam.dilation = S(0.3), cam.degree = 3;
  result<S> out;
  out.records.resize(n * kRecord), out.g_records.resize(n * kRecord);
  out.picture.resize(3 * width * height), out.transmittance.resize(width * height);
  project<S>(rows, n, cam, out.records.data());
  bins b;
  const S background[3] = {S(0.2), S(0.4), S(0.6)};
  composite<S>(out.records.data(), n, b, width, height, 3, background, out.picture.data(), out.transmittance.data());
  std::vector<S> g(out.picture.size()), slots;
  for (size_t i = 0; i < g.size(); ++i) g[i] = S(std::sin(0.37 * double(i)));
  composite_backward<S>(out.records.data(), n, b, 3, false, out.picture.data(), out.transmittance.data(), g.data(),
                        nullptr, slots, out.g_records.data());
  return out;
}

template <class A, class B>
double relative(const std::vector<A>& a, const std::vector<B>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    size += double(b[i]) * double(b[i]);
  }
  return std::isfinite(difference) && size > 0 ? std::sqrt(difference / size) : 1e30;
}

}  // namespace

int main() {
  constexpr int n = 600, width = 83, height = 61;
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<double> x;
  for (int i = 0; i < 3 * n; ++i) x.push_back(normal(random));               // means
  for (int i = 0; i < 3 * n; ++i) x.push_back(-2.5 + 0.5 * normal(random));  // log scales
  for (int i = 0; i < 4 * n; ++i) x.push_back(normal(random));               // quaternions
  for (int i = 0; i < n; ++i) x.push_back(normal(random));                   // logits
  for (int i = 0; i < 48 * n; ++i) x.push_back(0.3 * normal(random));        // SH
  const auto lanes = run<float>(x, n, width, height);
  const auto exact = run<double>(x, n, width, height);
  const double picture = relative(lanes.picture, exact.picture);
  const double gradient = relative(lanes.g_records, exact.g_records);
  std::printf("%d lanes: picture %.1e, gradient %.1e (relative, against double)\n", recon::traits<recon::lanes>::lanes,
              picture, gradient);
  return picture < 1e-4 && gradient < 1e-2 ? 0 : 1;
}
