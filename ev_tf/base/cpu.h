// Which instruction set the kernels run on: the best one this CPU has, found once.
//
// EV_ISA=plain|avx2|avx512 in the environment lowers it, so that the plain twins can be tested on any machine.  Thread
// sanitizer builds always run plain: their twins use the atomics that the sanitizer understands.
#pragma once

#include <cstdint>

namespace ev {

enum class Isa : uint8_t { kPlain, kAvx2, kAvx512 };

Isa BestIsa();
const char* IsaName(Isa isa);
// Which order of misses keeps a core busiest differs by maker: docs/adr/0008-a-lookup-is-a-pipeline.md.
bool IsIntel();

}  // namespace ev

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define EV_X86_KERNELS 1
#else
#define EV_X86_KERNELS 0
#endif

#define EV_ALWAYS_INLINE inline __attribute__((always_inline))
// After the parameters of a lambda that a kernel takes: GCC leaves a long one out of line.
#define EV_INLINE_LAMBDA __attribute__((always_inline))
// On a function that reads rows while others write them (see embedding_variable.h): the race is on floats, by contract.
#define EV_RACY_ROWS __attribute__((no_sanitize("thread")))

namespace ev {

// Always inline: GCC takes a function that only prefetches for one without effect, and drops the call.
EV_ALWAYS_INLINE void PrefetchForRead(const void* p) { __builtin_prefetch(p, 0, 3); }
EV_ALWAYS_INLINE void PrefetchForWrite(const void* p) { __builtin_prefetch(p, 1, 3); }

}  // namespace ev
