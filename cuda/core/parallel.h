// The one place that knows how work is spread over threads.
#pragma once

#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace recon {

// Threads used by every op of this module; set from Python (torch's own setting is left alone).
inline int& thread_count() {
#if defined(_OPENMP)
  static int count = omp_get_max_threads();
#else
  static int count = 1;
#endif
  return count;
}

// Calls body(i) for i in [0, count). Items are handed out one by one, so uneven items balance themselves;
// results must not depend on which thread runs which item.
template <class Body>
void parallel_for(int64_t count, const Body& body) {
#if defined(_OPENMP)
  if (thread_count() > 1 && count > 1) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(thread_count())
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
#endif
  for (int64_t i = 0; i < count; ++i) body(i);
}

// Calls body(begin, end) on pieces of [0, count) of at most `grain` items; the pieces do not depend on the threads.
template <class Body>
void parallel_ranges(int64_t count, int64_t grain, const Body& body) {
  const int64_t pieces = (count + grain - 1) / grain;
  parallel_for(pieces, [&](int64_t p) {
    const int64_t begin = p * grain;
    body(begin, begin + grain < count ? begin + grain : count);
  });
}

}  // namespace recon
