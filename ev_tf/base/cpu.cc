#include "ev_tf/base/cpu.h"

#include <cstdlib>
#include <cstring>

#if EV_X86_KERNELS
#include <cpuid.h>
#endif

namespace ev {
namespace {

#if EV_X86_KERNELS
// __builtin_cpu_supports of older clangs does not know it by name.
bool HasF16c() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

Isa Detect() {
  Isa best = Isa::kPlain;
#if EV_X86_KERNELS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") && HasF16c()) {
    best = Isa::kAvx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      best = Isa::kAvx512;
    }
  }
#endif
  const char* wanted = std::getenv("EV_ISA");
  if (wanted != nullptr) {
    if (std::strcmp(wanted, "plain") == 0) return Isa::kPlain;
    if (std::strcmp(wanted, "avx2") == 0 && best > Isa::kAvx2) return Isa::kAvx2;
  }
  return best;
}

}  // namespace

Isa BestIsa() {
  static const Isa isa = Detect();
  return isa;
}

bool IsIntel() {
#if EV_X86_KERNELS
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

const char* IsaName(Isa isa) {
  switch (isa) {
    case Isa::kPlain: return "plain";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "unknown";
}

}  // namespace ev
