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
  const uint64_t sequence = (uint64_t{1} << 32) + 9;
  EncodeFileHeader(g, 3, 7, SequenceWindow(sequence), bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), sizeof(FileHeader)}),
            "45565353444c47310200000000100000100000000002000010000000800000000700000000000000"
            "090000000100000003000000d591df60");
  EncodeMark(7, 12, false, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), sizeof(Mark)}), "45565353444d524b07000000000000000c0000000000000000000000c510a9d8");
  const float row[4] = {1.0F, -2.0F, 0.5F, 0.0F};
  EncodeRecord(-5, sequence, reinterpret_cast<const std::byte*>(row), 16, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), 32}), "fbffffffffffffff0900000022e0118f0000803f000000c00000003f00000000");
  EncodeFiller(32, bytes.data());
  EXPECT_EQ(HexOf({bytes.data(), 32}), "00000000000000000000000069c7c9f700000000000000000000000000000000");
}

// Rows of 2^k bytes fill groups of 2^n, or nearly.
TEST(SsdLogFormat, GroupsOfRowsOfPowersOfTwo) {
  struct Case {
    size_t row_bytes;
    uint32_t group_bytes;
    uint32_t records;
  };
  for (const Case& c : {Case{16, 512, 16}, Case{32, 1024, 21}, Case{48, 512, 8}, Case{64, 2048, 25}, Case{112, 512, 4},
                        Case{128, 1024, 7}, Case{256, 4096, 15}, Case{512, 16384, 31}, Case{1024, 32768, 31}}) {
    SCOPED_TRACE(c.row_bytes);
    Geometry g;
    ASSERT_TRUE(MakeGeometry(c.row_bytes, 64 << 20, &g).ok());
    EXPECT_EQ(g.record_bytes, c.row_bytes + 16);
    EXPECT_EQ(g.group_bytes, c.group_bytes);
    EXPECT_EQ(g.records_per_group, c.records);
  }
}

// What a record says of `sequence` in a file of that base.
uint64_t Restored(uint64_t sequence, uint64_t base) {
  std::vector<std::byte> record(sizeof(RecordHeader) + 16);
  const std::vector<std::byte> row(16, std::byte{1});
  EncodeRecord(1, sequence, row.data(), 16, record.data());
  const RecordView view = DecodeRecord(record.data(), 16, SequenceWindow(base));
  EXPECT_EQ(view.kind, RecordKind::kRow);
  return view.sequence;
}

TEST(SsdLogFormat, ASequenceIsTheOneInTheWindow) {
  constexpr uint64_t kHalf = uint64_t{1} << 31;
  constexpr uint64_t kAll = uint64_t{1} << 32;
  // At the beginning of a log the window is from 0 on.
  for (const uint64_t base : {uint64_t{0}, uint64_t{1}, uint64_t{1000}, kHalf - 1, kHalf}) {
    SCOPED_TRACE(base);
    const SequenceWindow window(base);
    EXPECT_EQ(window.base(), base);
    EXPECT_EQ(window.first(), 1U);
    EXPECT_EQ(window.last(), kAll - 1);
    for (const uint64_t s : {uint64_t{1}, uint64_t{999}, kHalf, kHalf + 1, kAll - 1}) EXPECT_EQ(Restored(s, base), s);
    EXPECT_EQ(Restored(kAll + 1, base), 1U) << "just outside";
  }
  for (const uint64_t base :
       {kHalf + 1, kAll, kAll + 12345, 7 * kAll + kHalf + 1, (uint64_t{1} << 62) + 77, kMaxBase}) {
    SCOPED_TRACE(base);
    const SequenceWindow window(base);
    EXPECT_EQ(window.first(), base - kHalf);
    EXPECT_EQ(window.last(), base + kHalf - 1);
    for (const uint64_t s : {base - kHalf, base - kHalf + 3, base - 1, base, base + 1, base + kHalf - 1}) {
      if (static_cast<uint32_t>(s) == kNoSequence) continue;
      EXPECT_EQ(Restored(s, base), s);
    }
    EXPECT_EQ(Restored(base + kHalf + 5, base), base - kHalf + 5) << "outside";
    EXPECT_EQ(Restored(base - kHalf - 2, base), base + kHalf - 2) << "outside";
  }
  const SequenceWindow odd(3 * kAll + kHalf);  // the first number of it is a filler's
  EXPECT_EQ(odd.first(), 3 * kAll + 1);
  EXPECT_EQ(odd.last(), 4 * kAll - 1);
}

TEST(SsdLogFormat, AFillerIsZerosAndNothingElse) {
  const SequenceWindow window(1);
  std::vector<std::byte> record(sizeof(RecordHeader) + 16);
  EncodeFiller(32, record.data());
  EXPECT_EQ(DecodeRecord(record.data(), 16, window).kind, RecordKind::kFiller);
  const std::vector<std::byte> zeros(16);
  std::vector<std::byte> row = zeros;
  row[15] = std::byte{1};
  const uint64_t no_sequence = uint64_t{5} << 32;
  for (const Key key : {0, -5}) {
    for (const auto& bytes : {zeros, row}) {
      EncodeRecord(key, no_sequence, bytes.data(), 16, record.data());  // with a checksum that is right
      const bool filler = key == 0 && bytes == zeros;
      EXPECT_EQ(DecodeRecord(record.data(), 16, window).kind, filler ? RecordKind::kFiller : RecordKind::kBad);
      if (filler) continue;
      EXPECT_EQ(BadRecord(record.data(), 16, "f", 4096).ToString(),
                "Corruption: f @ 4096: filler: expected zeros, found key " + std::to_string(key) + " and a row");
    }
  }
  EncodeRecord(0, no_sequence + 1, zeros.data(), 16, record.data());
  EXPECT_EQ(DecodeRecord(record.data(), 16, window).kind, RecordKind::kRow) << "key 0 is a key, a row of zeros a row";
}

TEST(SsdLogFormat, AVersionIsRefusedByName) {
  Geometry g;
  ASSERT_TRUE(MakeGeometry(16, 8192, &g).ok());
  std::vector<std::byte> bytes(64);
  FileHeader header{};
  EncodeFileHeader(g, 3, 7, SequenceWindow(1), bytes.data());
  EXPECT_TRUE(DecodeFileHeader(bytes, g, 3, "f", &header).ok());
  EXPECT_EQ(header.sequence, 1U);
  for (const int version : {1, 3}) {
    bytes[8] = static_cast<std::byte>(version);
    EXPECT_EQ(DecodeFileHeader(bytes, g, 3, "f", &header).ToString(),
              "FailedPrecondition: f: version: expected 2, found " + std::to_string(version) +
                  ": this file is for another release");
  }
  EncodeFileHeader(g, 3, 7, SequenceWindow(kMaxBase + 1), bytes.data());
  EXPECT_EQ(DecodeFileHeader(bytes, g, 3, "f", &header).ToString(),
            "Corruption: f @ 40: sequence: expected at most 9223372036854775808, found 9223372036854775809");
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
