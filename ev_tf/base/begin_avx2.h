// Every function from here to end_target.h may use AVX2.  For kernels.inc files only, inside a namespace of their own:
//   namespace avx2 {
//   #include "ev_tf/base/begin_avx2.h"
//   #include "kernels.inc"
//   #include "ev_tf/base/end_target.h"
//   }
// No include guard: it is included once for each region.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c,bmi,bmi2")
#endif
