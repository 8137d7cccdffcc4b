// Damaged table files that name segments: a Status, never a crash, a wrong row or a large allocation.
#include <gtest/gtest.h>

#include <cstring>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/variable/checkpoint.h"
#include "tests/support/fault_env.h"
#include "tests/support/random.h"
#include "tests/support/tiers.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using checkpoint::BlockEntry;
using checkpoint::BlockKind;
using testing::FaultEnv;

constexpr char kPath[] = "disk/table";
constexpr Key kRows = 300;

class SegmentTable : public ::testing::Test {
 protected:
  SegmentTable() {
    VariableOptions options = test::Options(8, true);
    options.storage.dram_bytes = 1 << 10;
    options.storage.open_lower = [this](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
      SsdLogOptions log;
      log.path = "log";
      log.row_bytes = record_bytes;
      log.segment_bytes = 12 << 10;
      log.io_mode = SsdIoMode::kBuffered;
      log.durable = false;
      log.relocator = relocator;
      log.env = &env_;
      std::unique_ptr<SsdLogTier> tier;
      EV_RETURN_IF_ERROR(SsdLogTier::Open(log, &tier));
      *out = std::move(tier);
      return OkStatus();
    };
    const auto variable = test::NewVariable(options, std::vector<float>(8, 1.0f));
    std::vector<Key> keys;
    for (Key k = 0; k < kRows; ++k) keys.push_back(k * 17 - 1000);
    EV_EXPECT_OK(variable->WriteRows(keys, {}, {std::vector<float>(keys.size() * 8, 2.0f), {}, {}, {}}));
    EV_EXPECT_OK(variable->FlushEvictions());
    SaveOptions save;
    save.link_segments = true;
    SaveReport report;
    EV_EXPECT_OK(SaveTable(*variable, kPath, executor_, &env_, save, &report));
    EXPECT_GT(report.segments_linked, 0);
    bytes_ = env_.Contents(kPath);
  }
  Status Open(const std::string& bytes) {
    env_.SetContents(kPath, bytes);
    std::unique_ptr<EmbeddingVariable> variable;
    const std::vector<std::string> paths = {kPath};
    Status status = LoadTable(test::Options(8, true), paths, {}, executor_, &variable, &env_);
    EXPECT_TRUE(!status.ok() || variable->size() == kRows);
    return status;
  }

  FaultEnv env_;
  SerialExecutor executor_;
  std::string bytes_;
};

TEST_F(SegmentTable, EveryBitFlipIsFoundOrInAGap) {
  EV_ASSERT_OK(Open(bytes_));
  test::Random random{1};
  for (size_t at = 0; at < bytes_.size(); at += 2) {
    std::string bytes = bytes_;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.Below(8)));
    const bool in_a_gap = bytes_[at] == 0;
    EXPECT_TRUE(!Open(bytes).ok() || in_a_gap) << at;
  }
}

// Bytes under right checksums, as a hostile writer makes them.
TEST_F(SegmentTable, RightChecksumsOverWrongNumbers) {
  checkpoint::Footer footer{};
  std::memcpy(&footer, bytes_.data() + bytes_.size() - sizeof(footer), sizeof(footer));
  std::vector<size_t> segments;
  for (size_t i = 0; i < footer.blocks; ++i) {
    BlockEntry entry{};
    std::memcpy(&entry, bytes_.data() + footer.directory_offset + i * sizeof(entry), sizeof(entry));
    if (entry.kind == BlockKind::kSegment) segments.push_back(i);
  }
  test::Random random{2};
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = bytes_;
    char* at = bytes.data() + footer.directory_offset + segments[random.Below(segments.size())] * sizeof(BlockEntry);
    BlockEntry entry{};
    std::memcpy(&entry, at, sizeof(entry));
    const size_t field = random.Below(i % 2 == 0 ? 32 : entry.bytes);
    bytes[entry.offset + field] = static_cast<char>(random.Bits());
    entry.crc = Crc32c(bytes.data() + entry.offset, entry.bytes);
    if (random.OneIn(8)) entry.rows = static_cast<uint32_t>(random.Bits());
    std::memcpy(at, &entry, sizeof(entry));
    checkpoint::Footer right = footer;
    right.directory_crc = Crc32c(bytes.data() + footer.directory_offset, footer.blocks * sizeof(BlockEntry));
    right.crc = Crc32c(&right, offsetof(checkpoint::Footer, crc));
    std::memcpy(bytes.data() + bytes.size() - sizeof(right), &right, sizeof(right));
    env_.SetContents(kPath, bytes);
    std::unique_ptr<EmbeddingVariable> variable;
    const std::vector<std::string> paths = {kPath};
    if (!LoadTable(test::Options(8, true), paths, {}, executor_, &variable, &env_).ok()) ++refused;
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace ev
