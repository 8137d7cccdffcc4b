#include "ev_tf/optim/kernels.h"

#include <algorithm>
#include <cmath>

#include "ev_tf/base/cpu.h"

#define EV_RESTRICT __restrict__

namespace ev {
namespace {

// The order of these includes is their meaning.
// clang-format off
namespace plain {
#include "ev_tf/optim/kernels.inc"
}  // namespace plain

#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
#include "ev_tf/optim/kernels.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2

namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
#include "ev_tf/optim/kernels.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on

const RowKernels& Choose() {
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::kKernels;
    case Isa::kAvx2: return avx2::kKernels;
    case Isa::kPlain: break;
  }
#endif
  return plain::kKernels;
}

}  // namespace

const RowKernels& Kernels() {
  static const RowKernels& kernels = Choose();
  return kernels;
}

}  // namespace ev
