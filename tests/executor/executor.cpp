// The scheduler of the executor: fibers by ucontext, switched by setjmp (under the address sanitizer by swapcontext,
// which it can be told about).
#include "executor.h"

#include <setjmp.h>
#include <ucontext.h>

#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace recon::executor {
namespace {

constexpr size_t kStack = 256 * 1024, kSharedLimit = 48 * 1024;
constexpr int kWarp = 32;

enum class state { ready, block, warp, done };

struct fiber {
  ucontext_t context;
  jmp_buf jump;
  bool started = false;
  std::unique_ptr<char[]> stack;
  state now = state::done;
  operation what = operation::barrier;
  unsigned mask = 0;
  uint64_t value = 0, result = 0;
  int source = 0;
  const char* error = nullptr;
  void* fake_stack = nullptr;
};

struct machine {
  std::vector<std::unique_ptr<fiber>> fibers;
  std::vector<int> order;
  ucontext_t home;
  jmp_buf home_jump;
  const std::function<void()>* body = nullptr;
  int current = 0, count = 0;
  unsigned seed = 0;
  std::map<const void*, std::unique_ptr<char[]>> shared;
  size_t shared_bytes = 0;
  const void* home_stack = nullptr;
  size_t home_size = 0;
  void* home_fake = nullptr;
};

machine& m() {
  static machine one;
  return one;
}

dim3 index_of(int thread) {
  const unsigned t = unsigned(thread);
  return {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

void to_home() {
  fiber& f = *m().fibers[m().current];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(f.now == state::done ? nullptr : &f.fake_stack, m().home_stack, m().home_size);
  swapcontext(&f.context, &m().home);
  __sanitizer_finish_switch_fiber(f.fake_stack, &m().home_stack, &m().home_size);
#else
  if (!_setjmp(f.jump)) _longjmp(m().home_jump, 1);
#endif
}

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &m().home_stack, &m().home_size);
#endif
  fiber& f = *m().fibers[m().current];
  try {
    (*m().body)();
  } catch (const char* what) {
    f.error = what;
  } catch (...) {
    f.error = "a kernel threw";
  }
  f.now = state::done;
  to_home();
}

void resume(int thread) {
  machine& a = m();
  fiber& f = *a.fibers[thread];
  a.current = thread;
  threadIdx = index_of(thread);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&a.home_fake, f.stack.get(), kStack);
  swapcontext(&a.home, &f.context);
  __sanitizer_finish_switch_fiber(a.home_fake, nullptr, nullptr);
#else
  if (!_setjmp(a.home_jump)) {
    if (f.started) _longjmp(f.jump, 1);
    f.started = true;
    setcontext(&f.context);
  }
#endif
  if (f.error) throw std::runtime_error(f.error);
}

[[noreturn]] void stuck(int thread, const char* what) {
  const dim3 t = index_of(thread);
  const auto text = [](const dim3& d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
  };
  throw std::runtime_error("thread " + text(t) + " of block " + text(blockIdx) + ": " + what);
}

// Lanes that have all arrived at one operation go on together. Returns whether any did.
bool release_warp(int first) {
  machine& a = m();
  const int lanes = std::min(kWarp, a.count - first);
  const unsigned exist = lanes == kWarp ? ~0u : (1u << lanes) - 1;
  bool moved = false;
  for (int i = 0; i < lanes; ++i) {
    fiber& f = *a.fibers[first + i];
    if (f.now != state::warp) continue;
    const unsigned mask = f.mask & exist;
    if (!(mask >> i & 1)) stuck(first + i, "calls a warp operation with a mask that leaves itself out");
    bool all = true;
    uint64_t ballot = 0;
    for (int j = 0; j < lanes; ++j) {
      if (!(mask >> j & 1)) continue;
      const fiber& g = *a.fibers[first + j];
      if (g.now == state::done) stuck(first + i, "waits for a lane that has left the kernel");
      if (g.now != state::warp) {
        all = false;
        continue;
      }
      if (g.mask != f.mask || g.what != f.what) stuck(first + i, "lanes of one mask wait for different operations");
      ballot |= uint64_t(g.value & 1) << j;
    }
    if (!all) continue;
    for (int j = 0; j < lanes; ++j) {
      if (!(mask >> j & 1)) continue;
      fiber& g = *a.fibers[first + j];
      if (g.what == operation::shuffle) {
        if (g.source < 0 || g.source >= lanes || !(mask >> g.source & 1))
          stuck(first + j, "shuffles from a lane outside the mask");
        g.result = a.fibers[first + g.source]->value;
      } else {
        g.result = ballot;
      }
      g.now = state::ready;
    }
    moved = true;
  }
  return moved;
}

bool release_block() {
  machine& a = m();
  int waiting = 0, left = 0, at = 0;
  uint64_t sum = 0;
  for (int i = 0; i < a.count; ++i) {
    const fiber& f = *a.fibers[i];
    left += f.now == state::done;
    if (f.now != state::block) continue;
    if (waiting && f.what != a.fibers[at]->what) stuck(i, "threads wait at different barriers");
    at = i;
    ++waiting;
    sum += f.value;
  }
  if (waiting == 0 || waiting + left < a.count) return false;
  if (left) stuck(at, "waits at a barrier that other threads have left the kernel without");
  for (int i = 0; i < a.count; ++i) {
    a.fibers[i]->result = sum;
    a.fibers[i]->now = state::ready;
  }
  return true;
}

void run_block() {
  machine& a = m();
  a.shared.clear();
  a.shared_bytes = 0;
  for (int i = 0; i < a.count; ++i) {
    fiber& f = *a.fibers[i];
    f.now = state::ready;
    f.started = false;
    f.error = nullptr;
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, enter, 0);
  }
  for (;;) {
    // Each warp goes as far as it can before the next: what relies on another warp without a barrier reads NaN.
    for (size_t begin = 0, end; begin < a.order.size(); begin = end) {
      const int first = a.order[begin] / kWarp * kWarp;
      end = begin + size_t(std::min(kWarp, a.count - first));
      do
        for (size_t i = begin; i < end; ++i)
          while (a.fibers[a.order[i]]->now == state::ready) resume(a.order[i]);
      while (release_warp(first));
    }
    if (release_block()) continue;
    for (int i = 0; i < a.count; ++i)
      if (a.fibers[i]->now != state::done) stuck(i, "waits for ever");
    return;
  }
}

// All threads, those of a warp together.
std::vector<int> threads_by_warp(int count, unsigned seed) {
  std::vector<int> warps((count + kWarp - 1) / kWarp), out;
  std::iota(warps.begin(), warps.end(), 0);
  std::mt19937 random(seed);
  if (seed == 1) std::reverse(warps.begin(), warps.end());
  if (seed > 1) std::shuffle(warps.begin(), warps.end(), random);
  for (int warp : warps) {
    const size_t begin = out.size();
    for (int i = warp * kWarp; i < std::min((warp + 1) * kWarp, count); ++i) out.push_back(i);
    if (seed == 1) std::reverse(out.begin() + begin, out.end());
    if (seed > 1) std::shuffle(out.begin() + begin, out.end(), random);
  }
  return out;
}

}  // namespace

int lane() { return m().current % kWarp; }
void set_order(unsigned seed) { m().seed = seed; }
void fail(const char* what) { throw what; }

uint64_t meet(operation what, unsigned mask, uint64_t value, int source) {
  machine& a = m();
  fiber& f = *a.fibers[a.current];
  f.now = what == operation::barrier || what == operation::barrier_count ? state::block : state::warp;
  f.what = what;
  f.mask = mask;
  f.value = value;
  f.source = source;
  to_home();
  return f.result;
}

void* shared(const void* key, size_t bytes) {
  machine& a = m();
  std::unique_ptr<char[]>& memory = a.shared[key];
  if (!memory) {
    a.shared_bytes += bytes;
    if (a.shared_bytes > kSharedLimit) fail("a block uses more than 48 KiB of shared memory");
    memory.reset(new char[bytes]);
    std::memset(memory.get(), 0xff, bytes);
  }
  return memory.get();
}

void run(dim3 grid, dim3 block, const std::function<void()>& thread) {
  machine& a = m();
  a.count = int(block.x * block.y * block.z);
  if (a.count < 1 || a.count > 1024) throw std::runtime_error("a block must have 1 to 1024 threads");
  while (int(a.fibers.size()) < a.count) {
    a.fibers.push_back(std::make_unique<fiber>());
    a.fibers.back()->stack.reset(new char[kStack]);
  }
  a.order = threads_by_warp(a.count, a.seed);
  a.body = &thread;
  blockDim = block;
  gridDim = grid;
  std::vector<dim3> blocks;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) blocks.push_back({x, y, z});
  if (a.seed == 1) std::reverse(blocks.begin(), blocks.end());
  if (a.seed > 1) std::shuffle(blocks.begin(), blocks.end(), std::mt19937(a.seed));
  for (const dim3& b : blocks) {
    blockIdx = b;
    run_block();
  }
}

}  // namespace recon::executor
