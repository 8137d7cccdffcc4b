#include "ev_tf/tier/ssd_log/format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace ev::ssd_log {
namespace {

std::string HexOf(Span<const std::byte> bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text += digits[static_cast<int>(b) >> 4];
    text += digits[static_cast<int>(b) & 15];
  }
  return text;
}

// The file of FORMAT.md, byte for byte: a change here is a change of the format.
TEST(SsdLogFormat, TheExampleOfThePage) {
  Geometry g;
  ASSERT_TRUE(MakeGeometry(16, 8192, &g).ok());
  std::vector<std::byte> bytes(64);
  EncodeFileHeader(g, 3, 7, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), sizeof(FileHeader)}),
            "45565353444c47310100000000100000100000000004000019000000640000000300000000000000"
            "0700000000000000000000001e2f6062");
  EncodeMark(7, 12, false, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), sizeof(Mark)}), "45565353444d524b07000000000000000c0000000000000000000000c510a9d8");
  const float row[4] = {1.0F, -2.0F, 0.5F, 0.0F};
  EncodeRecord(-5, 9, reinterpret_cast<const std::byte*>(row), 16, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), 40}),
            "fbffffffffffffff09000000000000001000000062b6989f0000803f000000c00000003f00000000");
  EncodeFiller(40, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), 40}),
            "0000000000000000000000000000000000000000d22626fa00000000000000000000000000000000");
}

TEST(SsdLogFormat, RecordsDoNotOverlapAndLittleIsWasted) {
  for (size_t row_bytes = 16; row_bytes < 20000; row_bytes += 16) {
    Geometry g;
    ASSERT_TRUE(MakeGeometry(row_bytes, 64 << 20, &g).ok());
    EXPECT_EQ(g.group_bytes % kSectorBytes, 0U);
    EXPECT_LE(g.records_per_group * g.record_bytes, g.group_bytes);
    EXPECT_LE(g.file_bytes(), 64U << 20);
    EXPECT_LE(static_cast<double>(g.group_bytes) / g.records_per_group, g.record_bytes * 1.13) << row_bytes;
    EXPECT_EQ(g.offset(g.records_per_group), kHeaderBytes + g.group_bytes);
  }
}

TEST(SsdLogFormat, NamesComeBack) {
  for (const uint32_t number : {0U, 12U, 999999U, 1048575U}) {
    uint32_t parsed = 1;
    EXPECT_TRUE(ParseSegmentName(SegmentName(number), &parsed));
    EXPECT_EQ(parsed, number);
  }
  uint32_t parsed = 0;
  for (const char* name : {"", "LOCK", "rows-.ssd", "rows-12.ssd", "rows-00001a.ssd", "rows-000012.ssd.tmp",
                           "rows-99999999999.ssd", "rows-0000012.ssd"}) {
    EXPECT_FALSE(ParseSegmentName(name, &parsed)) << name;
  }
}

}  // namespace
}  // namespace ev::ssd_log
