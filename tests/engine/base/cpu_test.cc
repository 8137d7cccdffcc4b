#include "ev_tf/base/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace ev {
namespace {

// Runs under EV_ISA=plain, avx2, avx512 and without it: the same programs test every kernel.
TEST(Cpu, TheEnvironmentLowersTheInstructionSet) {
  const char* wanted = std::getenv("EV_ISA");
  if (wanted == nullptr) GTEST_SKIP() << "EV_ISA is not set";
  if (std::string(wanted) == "plain") {
    EXPECT_EQ(BestIsa(), Isa::kPlain);
  } else if (std::string(wanted) == "avx2") {
    EXPECT_LE(BestIsa(), Isa::kAvx2);
  }
}

TEST(Cpu, SanitizedThreadsRunPlainKernels) {
#if EV_X86_KERNELS
  GTEST_SKIP() << "this build has vector kernels";
#else
  EXPECT_EQ(BestIsa(), Isa::kPlain);
#endif
}

TEST(Cpu, EachInstructionSetHasAName) {
  EXPECT_STREQ(IsaName(Isa::kPlain), "plain");
  EXPECT_STREQ(IsaName(Isa::kAvx2), "avx2");
  EXPECT_STREQ(IsaName(Isa::kAvx512), "avx512");
}

}  // namespace
}  // namespace ev
