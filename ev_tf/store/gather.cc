#include "ev_tf/store/gather.h"

#include <algorithm>

#if defined(__SANITIZE_THREAD__)
#define EV_COPY_ROW __attribute__((noinline, no_sanitize("thread")))
#else
#define EV_COPY_ROW EV_ALWAYS_INLINE
#endif
#define EV_RESTRICT __restrict__

namespace ev {
namespace {

constexpr int64_t kLineFloats = 16;
constexpr int64_t kAskedFloats = 2 * kLineFloats;  // of one row; the hardware follows a longer one by itself
constexpr size_t kRowLag = 16;  // rows that are asked for ahead of a copy.  Chosen by benchmarks/engine/lookup_bench

}  // namespace

// The order of these includes is their meaning.
// clang-format off
namespace plain {
#include "ev_tf/store/gather.inc"
}  // namespace plain

#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
#include "ev_tf/store/gather.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2

namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
#include "ev_tf/store/gather.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on

int64_t GatherRows(const GatherArgs& args, const Key* keys, size_t n, float* out) {
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::Gather(args, keys, n, out);
    case Isa::kAvx2: return avx2::Gather(args, keys, n, out);
    case Isa::kPlain: break;
  }
#endif
  return plain::Gather(args, keys, n, out);
}

}  // namespace ev
