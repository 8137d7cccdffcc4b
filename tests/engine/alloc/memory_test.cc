#include "ev_tf/alloc/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "tests/support/status_matchers.h"

namespace ev {
namespace {

TEST(MemoryRegion, IsZeroAlignedAndRoundedUp) {
  for (const size_t bytes : {size_t{1}, kHugePageBytes - 1, kHugePageBytes, kHugePageBytes + 1}) {
    MemoryRegion region;
    EV_ASSERT_OK(MemoryRegion::Reserve(bytes, 0, &region));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(region.data()) % kHugePageBytes, 0u);
    EXPECT_EQ(region.size() % kHugePageBytes, 0u);
    EXPECT_GE(region.size(), bytes);
    EXPECT_LT(region.size(), bytes + kHugePageBytes);
    EXPECT_EQ(region.data()[0], 0);
    EXPECT_EQ(region.data()[region.size() - 1], 0);
    region.data()[0] = region.data()[region.size() - 1] = 1;  // both ends are ours
  }
}

TEST(MemoryRegion, MovesItsMemory) {
  MemoryRegion a;
  EV_ASSERT_OK(MemoryRegion::Reserve(1, kHugePageBytes, &a));
  a.data()[5] = 7;
  char* const data = a.data();
  MemoryRegion b = std::move(a);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(b.data()[5], 7);
  MemoryRegion c;
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
}

TEST(MemoryRegion, ZeroesWhatItIsAskedTo) {
  for (const size_t huge_from : {size_t{0}, kHugePageBytes, kNoHugePages}) {
    for (const auto& [offset, bytes] : {std::pair<size_t, size_t>{0, 0},
                                        {100, 50},
                                        {100, 5000},
                                        {4096, 8192},
                                        {4000, 100000},
                                        {kHugePageBytes - 5000, 10000},
                                        {3, 2 * kHugePageBytes - 3}}) {
      MemoryRegion region;
      EV_ASSERT_OK(MemoryRegion::Reserve(2 * kHugePageBytes, huge_from, &region));
      std::fill_n(region.data(), region.size(), 1);
      region.Zero(offset, bytes);
      for (size_t i = 0; i < region.size(); ++i) {
        ASSERT_EQ(region.data()[i] == 0, i >= offset && i < offset + bytes) << i << " of " << offset << " + " << bytes;
      }
    }
  }
}

TEST(MemoryRegion, NoAddressSpaceIsAStatusThatSaysHowMuch) {
  const size_t bytes = size_t{1} << 60;
  MemoryRegion region;
  test::ExpectError(MemoryRegion::Reserve(bytes, 0, &region), StatusCode::kOutOfSpace,
                    {"memory", std::to_string(bytes + kHugePageBytes)});
  EXPECT_EQ(region.data(), nullptr);
}

}  // namespace
}  // namespace ev
