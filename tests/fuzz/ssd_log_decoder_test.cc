// Damaged segment files: a Status, never a crash, a wrong row or a large allocation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/fuzz/ssd_log_segment.h"

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
  EXPECT_THAT(with(8, 2), HasSubstr("FailedPrecondition: disk/rows-000000.ssd: version: expected 1, found 2"));
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
