// Python's view of rows by number; shapes are checked with better words in recon/ops/rows.py.
#include "core/arrays.h"
#include "rows/rows_cpu.h"

namespace {

using namespace recon;

int64_t count(array<const uint8_t> mask) {
  nb::gil_scoped_release release;
  return rows::count(mask.data(), int64_t(mask.size()));
}

void where(array<const uint8_t> mask, array<int64_t> index) {
  const int64_t n = int64_t(mask.size());
  expect(int64_t(index.size()) == rows::count(mask.data(), n), "index must have as many entries as mask");
  nb::gil_scoped_release release;
  rows::where(mask.data(), n, index.data());
}

void check_index(const array<const int64_t>& index, int64_t rows, bool ascending) {
  int64_t least = 0, most = -1;
  bool rising = true;
  for (size_t i = 0; i < index.size(); ++i) {
    const int64_t at = index.data()[i];
    rising &= at > most || !ascending;
    least = at < least ? at : least;
    most = at > most ? at : most;
  }
  expect(least >= 0 && most < rows, "index names a row that is not there");
  expect(rising, "index must ascend");
}

int64_t words_of(size_t size, size_t rows) { return rows ? int64_t(size / rows) : 0; }

template <class T>
const uint32_t* as_words(const array<const T>& x) {
  return reinterpret_cast<const uint32_t*>(x.data());
}

template <class T>
void gather(array<const T> x, array<const int64_t> index, array<T> out) {
  constexpr int64_t each = sizeof(T) / sizeof(uint32_t);
  const int64_t width = words_of(x.size(), x.shape(0));
  expect(x.ndim() >= 1 && out.size() == index.size() * size_t(width), "out must be [k, ...] as x is [n, ...]");
  check_index(index, int64_t(x.shape(0)), false);
  nb::gil_scoped_release release;
  rows::gather(as_words(x), width * each, index.data(), int64_t(index.size()), reinterpret_cast<uint32_t*>(out.data()));
}

template <class T>
void scatter(array<const T> x, array<const int64_t> index, array<T> out) {
  constexpr int64_t each = sizeof(T) / sizeof(uint32_t);
  expect(out.ndim() >= 1 && x.ndim() >= 1 && x.shape(0) == index.size(), "x must be [k, ...], index [k]");
  const int64_t width = words_of(out.size(), out.shape(0));
  expect(x.size() == index.size() * size_t(width), "x must be [k, ...] as out is [n, ...]");
  check_index(index, int64_t(out.shape(0)), true);
  nb::gil_scoped_release release;
  rows::scatter(as_words(x), width * each, index.data(), int64_t(index.size()), int64_t(out.shape(0)),
                reinterpret_cast<uint32_t*>(out.data()));
}

#define A(name) nb::arg(name).noconvert()
template <class T>
void bind_for(nb::module_& m) {
  m.def("rows_gather", &gather<T>, A("x"), A("index"), A("out"));
  m.def("rows_scatter", &scatter<T>, A("x"), A("index"), A("out"));
}

}  // namespace

void bind_rows(nb::module_& m) {
  m.def("rows_count", &count, A("mask"));
  m.def("rows_where", &where, A("mask"), A("index"));
  bind_for<float>(m);
  bind_for<double>(m);
  bind_for<int32_t>(m);
}
#undef A
