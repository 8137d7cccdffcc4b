// Damaged segment files: a Status, never a crash, a wrong row or a large allocation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/ssd_log_segment.h"
#include "tests/support/random.h"

namespace ev {
namespace {

using ::testing::HasSubstr;
using testing::OpenBytes;
using testing::SampleSegment;

TEST(SsdLogDecoder, TheSampleIsWhole) {
  size_t rows = 0;
  const Status status = OpenBytes(SampleSegment(), &rows);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(rows, 8U);
}

TEST(SsdLogDecoder, EveryLength) {
  const std::string sample = SampleSegment();
  for (size_t n = 0; n <= sample.size(); ++n) {
    size_t rows = 0;
    const Status status = OpenBytes(sample.substr(0, n), &rows);
    if (n < ssd_log::kHeaderBytes) {
      EXPECT_TRUE(status.ok() && rows == 0) << n << status.ToString();  // made, and never synced
    } else if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kCorruption);
      EXPECT_THAT(status.message(), HasSubstr("disk/rows-000000.ssd: size: expected at least"));
    }
  }
}

TEST(SsdLogDecoder, EveryBitFlipIsFoundOrHarmless) {
  const std::string sample = SampleSegment();
  int found = 0;
  for (size_t at = 0; at < sample.size(); at += at < 600 || at > ssd_log::kHeaderBytes ? 1 : 97) {
    for (int bit = 0; bit < 8; bit += 3) {
      std::string bytes = sample;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      size_t rows = 0;
      const Status status = OpenBytes(bytes, &rows);
      if (status.ok()) continue;
      ++found;
      EXPECT_TRUE(status.code() == StatusCode::kCorruption || status.code() == StatusCode::kFailedPrecondition)
          << status.ToString();
      EXPECT_THAT(status.message(), HasSubstr("rows-000000.ssd"));
    }
  }
  EXPECT_GT(found, 1000) << "of the header and the synced rows";
}

TEST(SsdLogDecoder, EachDamageHasItsWords) {
  const std::string sample = SampleSegment();
  auto with = [&](size_t at, char byte) {
    std::string bytes = sample;
    bytes[at] = byte;
    return OpenBytes(bytes).ToString();
  };
  EXPECT_THAT(with(0, 'x'),
              HasSubstr("Corruption: disk/rows-000000.ssd @ 0: magic: expected 0x31474c4453535645, found"));
  EXPECT_THAT(with(8, 1), HasSubstr("FailedPrecondition: disk/rows-000000.ssd: version: expected 2, found 1"));
  EXPECT_THAT(with(33, 7), HasSubstr("Corruption: disk/rows-000000.ssd @ 0: header crc"));
  EXPECT_THAT(with(ssd_log::kHeaderBytes + 30, 'x'), HasSubstr("Corruption: disk/rows-000000.ssd @ 4096: crc 0x"));
  testing::FaultEnv env;
  env.SetContents("disk/rows-000000.ssd", sample);
  SsdLogOptions options = testing::FuzzOptions(&env);
  options.row_bytes = 64;
  std::unique_ptr<SsdLogTier> tier;
  EXPECT_THAT(SsdLogTier::Open(options, &tier).ToString(),
              HasSubstr("FailedPrecondition: disk/rows-000000.ssd: row_bytes: expected 64, found 48"));
}

// Each decoder by itself, on bytes that are all random, or right but for a few.
TEST(SsdLogDecoder, EachDecoderTakesAnyBytes) {
  namespace log = ssd_log;
  test::Random random(1);
  log::Geometry geometry;
  ASSERT_TRUE(log::MakeGeometry(48, 6 << 10, &geometry).ok());
  std::vector<std::byte> row(48, std::byte{7});
  int whole = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> bytes(512);
    const bool right = random.OneIn(2);
    log::EncodeFileHeader(geometry, 3, 9, log::SequenceWindow(1000), bytes.data());
    log::EncodeMark(9, 5, true, bytes.data() + 128);
    log::EncodeRecord(-5, 77, row.data(), 48, bytes.data() + 256);
    const std::vector<std::byte> before = bytes;
    const size_t spoiled = right ? random.Below(4) : 500;
    for (size_t k = 0; k < spoiled; ++k) bytes[random.Below(bytes.size())] = static_cast<std::byte>(random.Bits());
    log::FileHeader header{};
    log::Mark mark{};
    const bool same_header = std::equal(before.begin(), before.begin() + sizeof(header), bytes.begin());
    EXPECT_EQ(log::DecodeFileHeader(bytes, geometry, 3, "f", &header).ok(), same_header);
    const bool same_mark = std::equal(before.begin() + 128, before.begin() + 128 + sizeof(mark), bytes.begin() + 128);
    EXPECT_EQ(log::DecodeMark({bytes.data() + 128, 384}, 9, &mark), same_mark);
    const bool same_record =
        std::equal(before.begin() + 256, before.begin() + 256 + geometry.record_bytes, bytes.begin() + 256);
    const log::RecordView view = log::DecodeRecord(bytes.data() + 256, 48, log::SequenceWindow(1000));
    EXPECT_EQ(view.kind == log::RecordKind::kRow, same_record);
    if (view.kind == log::RecordKind::kRow) {
      EXPECT_EQ(view.key, -5);
      EXPECT_EQ(view.sequence, 77U);
    }
    if (view.kind == log::RecordKind::kBad) {
      EXPECT_EQ(log::BadRecord(bytes.data() + 256, 48, "f", 256).code(), StatusCode::kCorruption);
    }
    whole += same_header && same_mark && same_record ? 1 : 0;
    std::string name(reinterpret_cast<const char*>(bytes.data()), random.Below(40));
    uint32_t number = 0;
    if (i % 3 == 0) name = "rows-" + std::to_string(random.Bits() >> random.Below(64)) + ".ssd";
    static_cast<void>(log::ParseSegmentName(name, &number));
  }
  EXPECT_GT(whole, 100);
}

TEST(SsdLogDecoder, RandomBytes) {
  const char* wanted = std::getenv("EV_SEED");
  const uint64_t seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "EV_SEED=" << seed);
  std::mt19937_64 random(seed);
  const std::string sample = SampleSegment();
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = i % 2 == 0 ? sample : std::string(random() % 9000, '\0');
    const size_t from = i % 4 < 2 ? 0 : std::min<size_t>(bytes.size(), 512);
    for (size_t n = random() % 300, k = 0; k < n && from < bytes.size(); ++k) {
      bytes[from + random() % (bytes.size() - from)] = static_cast<char>(random());
    }
    static_cast<void>(OpenBytes(bytes));
  }
}

}  // namespace
}  // namespace ev
