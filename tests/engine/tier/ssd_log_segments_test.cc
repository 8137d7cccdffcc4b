// Sealed segments of a log: linked by a save, and made part of another log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <numeric>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/tier/ssd_log/segment_file.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "tests/support/fault_env.h"
#include "tests/support/ssd_log_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using testing::FaultEnv;
using ::testing::HasSubstr;
using testing::LogTable;

constexpr size_t kRowBytes = 112;

SsdLogOptions Small(const std::string& path, Env* env = nullptr) {
  SsdLogOptions options;
  options.path = path;
  options.row_bytes = kRowBytes;
  options.segment_bytes = 20 << 10;
  options.io_mode = SsdIoMode::kBuffered;
  options.durable = false;
  options.delete_on_close = true;
  options.env = env;
  return options;
}

// Puts rows of keys 0 to n - 1, a few at a time.
void Fill(LogTable* table, Key n, uint64_t version) {
  for (Key first = 0; first < n; first += 64) {
    std::vector<Key> keys;
    for (Key k = first; k < std::min<Key>(n, first + 64); ++k) keys.push_back(k);
    EV_ASSERT_OK(table->Put(keys, version));
  }
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

SlotBits AllSlots(uint32_t slots) {
  SlotBits bits((slots + 63) / 64);
  for (uint32_t s = 0; s < slots; ++s) bits[s / 64] |= uint64_t{1} << (s % 64);
  return bits;
}

// The slots of a segment that hold rows, with their keys.
std::map<uint32_t, Key> RowsOf(const SegmentFile& file, SlotBits* live) {
  // Which slots are fillers only the file says: those that are asked for and no rows are an error.
  std::map<uint32_t, Key> rows;
  const Status all =
      ssd_log::ReadSegment(&Env::Default(), file, AllSlots(file.slots), [&](uint32_t slot, Key key, const std::byte*) {
        rows[slot] = key;
        return OkStatus();
      });
  EXPECT_EQ(all.ok(), rows.size() == file.slots) << all.ToString();
  live->assign((file.slots + 63) / 64, 0);
  for (const auto& [slot, key] : rows) (*live)[slot / 64] |= uint64_t{1} << (slot % 64);
  return rows;
}

TEST(SsdLogSegments, WhatIsHeldStaysUntilItIsLetGo) {
  const test::TempDir dir;
  LogTable table(Small(dir / "log"));
  EV_ASSERT_OK(table.Open());
  Fill(&table, 2000, 1);
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  EV_ASSERT_OK(table->HoldSealed(&sealed, &hold));
  ASSERT_GT(sealed.size(), 8U);
  EXPECT_LT(sealed.size(), table->metrics().segments) << "the open one is written to";
  std::map<std::string, std::string> bytes;
  for (const auto& one : sealed) bytes[one.file.path] = Bytes(one.file.path);
  for (uint64_t version = 2; version < 6; ++version) {
    Fill(&table, 2000, version);
    EV_ASSERT_OK(table->Settle());
  }
  EXPECT_EQ(table->metrics().segments_unlinked, 0U);
  for (const auto& [path, before] : bytes) EXPECT_TRUE(Bytes(path) == before) << path;
  hold.reset();
  EV_ASSERT_OK(table->Settle());
  for (const auto& [path, before] : bytes) EXPECT_FALSE(Bytes(path) == before) << path;
  std::unordered_map<Key, uint64_t> versions;
  EV_ASSERT_OK(table.ReadAll(&versions));
  EXPECT_EQ(versions.size(), 2000U);
}

// Rows of the table that are in no sealed segment.
size_t RowsOutside(LogTable* table) {
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  EV_EXPECT_OK((*table)->HoldSealed(&sealed, &hold));
  size_t outside = 0;
  for (const Key key : table->index().Keys()) {
    Position position = 0;
    EXPECT_TRUE(table->index().Find(key, &position));
    outside += std::any_of(sealed.begin(), sealed.end(),
                           [&](const SegmentedTier::Sealed& one) {
                             return position >= one.first && position < one.first + one.file.slots;
                           })
                   ? 0
                   : 1;
  }
  return outside;
}

TEST(SsdLogSegments, FilesInUseAreClosedForASaveIfTheyHaveRowsEnough) {
  const test::TempDir dir;
  LogTable table(Small(dir / "log"));
  EV_ASSERT_OK(table.Open());
  const auto segments = [&] { return table->metrics().segments; };
  EV_ASSERT_OK(table->CloseSegments());  // there is none
  Fill(&table, 4, 1);
  EV_ASSERT_OK(table->CloseSegments());
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  EV_ASSERT_OK(table->HoldSealed(&sealed, &hold));
  EXPECT_TRUE(sealed.empty()) << "four rows are not worth a file";
  hold.reset();
  Fill(&table, 64, 1);
  EV_ASSERT_OK(table->CloseSegments());
  EXPECT_EQ(RowsOutside(&table), 0U) << "a half of the 128 that it has room for";
  EXPECT_EQ(segments(), 1U);
  const uint64_t bytes = table->bytes();
  EV_ASSERT_OK(table->CloseSegments());  // again, with nothing new
  EXPECT_EQ(segments(), 1U);
  EXPECT_EQ(table->bytes(), bytes);
  EXPECT_LT(bytes, size_t{20} << 10) << "space that was taken ahead has gone back";
  // Both streams: half of the rows are put anew, the others are copied from segments of which they are a half.
  Fill(&table, 2000, 2);
  for (int round = 0; round < 4; ++round) {
    for (Key first = 0; first < 2000; first += 40) {
      std::vector<Key> keys;
      for (Key k = first; k < first + 40; k += 2) keys.push_back(k);
      EV_ASSERT_OK(table.Put(keys, 3 + static_cast<uint64_t>(round)));
    }
  }
  EXPECT_GT(table->metrics().rows_copied, 0U);
  EV_ASSERT_OK(table->CloseSegments());
  EXPECT_LT(RowsOutside(&table), 64U) << "less than a quarter of a file in each stream";
  EV_ASSERT_OK(table->Settle());
  EXPECT_GE(table->metrics().live_share, 0.6);
  std::unordered_map<Key, uint64_t> versions;
  EV_ASSERT_OK(table.ReadAll(&versions));
  for (Key k = 0; k < 2000; ++k) EXPECT_EQ(versions[k], k % 2 == 0 ? 6U : 2U) << k;
}

// Each change that closing a file makes fails once: the file is still written to, and closed by the next save.
TEST(SsdLogSegments, AFileThatCannotBeClosedGoesOn) {
  int failures = 0;
  for (int64_t change = 0; change < 4; ++change) {
    SCOPED_TRACE(change);
    FaultEnv env;
    LogTable table(Small("disk/log", &env));
    EV_ASSERT_OK(table.Open());
    Fill(&table, 40, 1);
    env.FailAt(change, FaultEnv::Fault::kIoError, /*lasting=*/false);
    const bool failed = !table->CloseSegments().ok();
    failures += failed ? 1 : 0;
    env.Heal();
    for (Key k = 40; k < 50; ++k) EV_ASSERT_OK(table.Put({k}, 2));
    EXPECT_EQ(table->metrics().segments, failed ? 1U : 2U);
    std::unordered_map<Key, uint64_t> versions;
    EV_ASSERT_OK(table.ReadAll(&versions));
    for (Key k = 0; k < 50; ++k) EXPECT_EQ(versions[k], k < 40 ? 1U : 2U) << k;
    if (!failed) continue;
    EV_ASSERT_OK(table->CloseSegments());
    EXPECT_EQ(RowsOutside(&table), 0U);
  }
  EXPECT_GE(failures, 1);
}

#if !defined(NDEBUG)
// Whoever writes out what there is must end, although there is always one who appends meanwhile.
TEST(SsdLogSegments, AFileIsClosedHoweverBusyTheLogIs) {
  FaultEnv env;
  LogTable table(Small("disk/log", &env));
  EV_ASSERT_OK(table.Open());
  Fill(&table, 40, 1);
  std::vector<std::future<Status>> puts;
  int writes = 0;
  SyncPoints::Global().At("ssd_log.write", [&] {
    if (++writes > 10) return;
    puts.push_back(std::async(std::launch::async, [&table, key = Key{1000} + writes] { return table.Put({key}, 2); }));
    puts.back().wait_for(std::chrono::milliseconds(50));  // or it has to wait, as it should
  });
  EV_EXPECT_OK(table->CloseSegments());
  SyncPoints::Global().Clear();
  EXPECT_LE(writes, 3);
  for (std::future<Status>& put : puts) EV_EXPECT_OK(put.get());
  EXPECT_LE(RowsOutside(&table), 2U);
}
#endif

// A log whose files have room for so many rows that there can be 34 of them.
class FewFiles : public ::testing::Test {
 protected:
  FewFiles() {
    SsdLogOptions options = Small(dir_ / "log");
    options.row_bytes = 1;
    options.segment_slots = kSlots;
    EV_EXPECT_OK(SsdLogTier::Open(options, &tier_));
  }
  void Put(size_t rows, std::vector<Position>* positions) {
    std::vector<Key> keys(rows);
    std::iota(keys.begin(), keys.end(), next_);
    next_ += static_cast<Key>(rows);
    positions->resize(rows);
    EV_ASSERT_OK(tier_->Put(keys, std::vector<std::byte>(rows), *positions));
  }
  // One more closed file, with twenty rows of sixty.
  void AddFile() {
    std::vector<Position> positions;
    Put(60, &positions);
    tier_->Remove({}, {positions.data(), 40});
    EV_ASSERT_OK(tier_->Settle());
  }
  size_t Sealed(std::vector<SegmentedTier::Sealed>* sealed, std::unique_ptr<SegmentedTier::Hold>* hold) {
    EV_EXPECT_OK(tier_->HoldSealed(sealed, hold));
    return sealed->size();
  }

  static constexpr uint32_t kSlots = 30U << 20;
  const test::TempDir dir_;
  std::unique_ptr<SsdLogTier> tier_;
  Key next_ = 0;
};

// A file takes the positions of a full one: saves have a quarter of them for files that are not full.
TEST_F(FewFiles, AFileIsClosedForASaveAsLongAsThereAreFew) {
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  for (int file = 0; file < 7; ++file) AddFile();
  ASSERT_EQ(Sealed(&sealed, &hold), 7U);
  hold.reset();
  for (const size_t closed : {8U, 8U}) {  // the first one, and no more
    std::vector<Position> positions;
    ASSERT_NO_FATAL_FAILURE(Put(kSlots / 4, &positions));
    EV_ASSERT_OK(tier_->CloseSegments());
    EXPECT_EQ(Sealed(&sealed, &hold), closed);
    hold.reset();
  }
}

// So that rows can be put and compacted.
TEST_F(FewFiles, OfAnotherLogAreTakenAsLongAsAQuarterIsFree) {
  AddFile();
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  ASSERT_EQ(Sealed(&sealed, &hold), 1U);
  SlotBits live;
  EXPECT_GE(RowsOf(sealed[0].file, &live).size(), 20U);
  SsdLogOptions options = Small(dir_ / "other");
  options.row_bytes = 1;
  options.segment_slots = kSlots;
  std::unique_ptr<SsdLogTier> other;
  EV_ASSERT_OK(SsdLogTier::Open(options, &other));
  int taken = 0;
  for (; taken < 40 && other->CanAdopt(1, kSlots); ++taken) {
    Position first = 0;
    LinkKind kind{};
    EV_ASSERT_OK(other->Adopt(
        sealed[0].file, live, [](uint32_t, Key, const std::byte*) { return OkStatus(); }, &first, &kind));
  }
  EXPECT_EQ(taken, 26);
}

TEST(SsdLogSegments, AnotherLogTakesThemAndNeverChangesThem) {
  const test::TempDir dir;
  for (const LinkKind kind : {LinkKind::kHardLink, LinkKind::kCopy}) {
    const std::string other = kind == LinkKind::kHardLink ? dir / "other" : "/dev/shm" + dir.path() + "/other";
    auto first = std::make_unique<LogTable>(Small(dir / "log"));
    EV_ASSERT_OK(first->Open());
    Fill(first.get(), 2000, 1);
    std::vector<SegmentedTier::Sealed> sealed;
    std::unique_ptr<SegmentedTier::Hold> hold;
    EV_ASSERT_OK((*first)->HoldSealed(&sealed, &hold));
    // As a save does: other names, which outlive the log.
    for (auto& one : sealed) {
      const std::string link = dir / ("link" + std::to_string(one.first));
      LinkKind linked{};
      EV_ASSERT_OK(Env::Default().Link(one.file.path, link, &linked));
      EXPECT_EQ(linked, LinkKind::kHardLink);
      one.file.path = link;
    }
    hold.reset();
    first.reset();
    LogTable second(Small(other));
    EV_ASSERT_OK(second.Open());
    Fill(&second, 100, 7);  // it has rows, and numbers, of its own
    std::map<Key, Position> rows;
    std::map<std::string, std::string> bytes;
    for (const auto& one : sealed) {
      bytes[one.file.path] = Bytes(one.file.path);
      ASSERT_TRUE(second->CanAdopt(one.file.row_bytes, one.file.most_slots));
      SlotBits live;
      RowsOf(one.file, &live);
      Position at = 0;
      LinkKind linked{};
      EV_ASSERT_OK(second->Adopt(
          one.file, live,
          [&](uint32_t slot, Key key, const std::byte*) {
            rows[key] = at + slot;
            return OkStatus();
          },
          &at, &linked));
      if (kind == LinkKind::kHardLink) {
        EXPECT_EQ(linked, LinkKind::kHardLink);
      } else {
        EXPECT_NE(linked, LinkKind::kHardLink);
      }
    }
    EXPECT_GT(rows.size(), 1500U);
    for (const auto& [key, position] : rows) {
      std::vector<std::byte> row(kRowBytes);
      EV_ASSERT_OK(second->Get({&key, 1}, {&position, 1}, row));
      bool whole = false;
      EXPECT_EQ(testing::VersionOf(key, row, &whole), 1U);
      EXPECT_TRUE(whole);
    }
    EXPECT_EQ(second->size(), 100 + rows.size());
    // The rows go, the log is written to and compacted.
    for (const auto& [key, position] : rows) second->Remove({&key, 1}, {&position, 1});
    Fill(&second, 1000, 8);
    EV_ASSERT_OK(second->Settle());
    for (const auto& [path, before] : bytes) {
      EXPECT_TRUE(Bytes(path) == before) << path;
      std::filesystem::remove(path);
    }
    std::filesystem::remove_all("/dev/shm" + dir.path());
  }
}

TEST(SsdLogSegments, ADurableLogTakesNone) {
  const test::TempDir dir;
  SsdLogOptions options = Small(dir / "log");
  options.durable = true;
  options.delete_on_close = false;
  LogTable table(options);
  EV_ASSERT_OK(table.Open());
  Fill(&table, 500, 1);
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  EV_ASSERT_OK(table->Flush());
  EV_ASSERT_OK(table->HoldSealed(&sealed, &hold));
  ASSERT_FALSE(sealed.empty());
  EXPECT_FALSE(table->CanAdopt(sealed[0].file.row_bytes, sealed[0].file.most_slots));
}

// As a save relies on: the files of both streams that are held are whole on the device, and nobody writes to them.
TEST(SsdLogSegments, WhatADurableLogHoldsIsOnTheDevice) {
  size_t most = 0;
  for (uint64_t stop = 1; stop < 40; ++stop) {
    SCOPED_TRACE(stop);
    FaultEnv env(stop);
    std::vector<SegmentedTier::Sealed> sealed;
    std::map<std::string, std::string> bytes;
    {
      SsdLogOptions options = Small("disk/log", &env);
      options.durable = true;
      options.delete_on_close = false;
      LogTable table(options);
      EV_ASSERT_OK(table.Open());
      Fill(&table, 600, 1);
      for (uint64_t version = 2; version < stop; ++version) {
        std::vector<Key> keys;
        for (Key k = static_cast<Key>(version % 7); k < 600; k += k < 300 ? 5 : 40) keys.push_back(k);
        EV_ASSERT_OK(table.Put(keys, version));
      }
      std::unique_ptr<SegmentedTier::Hold> hold;
      if (stop % 3 == 0) EV_ASSERT_OK(table->CloseSegments());
      EV_ASSERT_OK(table->HoldSealed(&sealed, &hold));
      for (const auto& one : sealed) bytes[one.file.path] = env.Contents(one.file.path);
      EV_ASSERT_OK(table->Flush());
      for (const auto& [path, before] : bytes) EXPECT_TRUE(env.Contents(path) == before) << path;
      if (stop % 2 == 0) env.FailAt(0, FaultEnv::Fault::kPowerLoss);
    }
    env.LosePower();
    for (const auto& one : sealed) {
      const SlotBits none((one.file.slots + 63) / 64);
      EV_EXPECT_OK(
          ssd_log::ReadSegment(&env, one.file, none, [](uint32_t, Key, const std::byte*) { return OkStatus(); }));
    }
    most = std::max(most, sealed.size());
    if (HasFailure()) return;
  }
  EXPECT_GT(most, 5U);
}

// What could not be synced is never said to be safe, not even by a later sync that says so.
TEST(SsdLogSegments, AFailedSyncIsNotForgotten) {
  FaultEnv env;
  LogTable table(Small("disk/log", &env));
  EV_ASSERT_OK(table.Open());
  Fill(&table, 1000, 1);
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  env.FailAt(1, FaultEnv::Fault::kIoError, /*lasting=*/false);
  EXPECT_EQ(table->HoldSealed(&sealed, &hold).code(), StatusCode::kIoError);
  hold.reset();
  EV_ASSERT_OK(table->HoldSealed(&sealed, &hold));
  EXPECT_EQ(sealed.size() + 2, table->metrics().segments);  // without the open one and that one
}

// Nobody looks at what closing files for a save says: a sync that failed is told to the next put.
TEST(SsdLogSegments, AFailedSyncOfAClosedFileIsTold) {
  int told = 0;
  for (int64_t change = 0; change < 8; ++change) {
    SCOPED_TRACE(change);
    FaultEnv env;
    SsdLogOptions options = Small("disk/log", &env);
    options.durable = true;
    LogTable table(options);
    EV_ASSERT_OK(table.Open());
    Fill(&table, 40, 1);
    env.FailAt(change, FaultEnv::Fault::kIoError, /*lasting=*/false);
    const bool closed = table->CloseSegments().ok();
    env.Heal();
    const Status put = table.Put({100}, 2);
    EXPECT_TRUE(put.ok() || (!closed && put.code() == StatusCode::kIoError)) << put.ToString();
    told += put.ok() ? 0 : 1;
    EV_EXPECT_OK(table.Put({100}, 3));
    std::unordered_map<Key, uint64_t> versions;
    EV_ASSERT_OK(table.ReadAll(&versions));
    EXPECT_EQ(versions.size(), 41U);
  }
  EXPECT_GE(told, 1);
}

class DamagedSegment : public ::testing::Test {
 protected:
  DamagedSegment() {
    LogTable table(Small("disk/log", &env_));
    EV_EXPECT_OK(table.Open());
    Fill(&table, 200, 1);
    std::vector<SegmentedTier::Sealed> sealed;
    std::unique_ptr<SegmentedTier::Hold> hold;
    EV_EXPECT_OK(table->HoldSealed(&sealed, &hold));
    file_ = sealed.at(0).file;
    bytes_ = env_.Contents(file_.path);
    file_.path = "disk/saved";
  }
  Status Read(const std::string& bytes) {
    env_.SetContents(file_.path, bytes);
    return ssd_log::ReadSegment(&env_, file_, AllSlots(file_.slots),
                                [](uint32_t, Key, const std::byte*) { return OkStatus(); });
  }

  FaultEnv env_;
  SegmentFile file_;
  std::string bytes_;
};

TEST_F(DamagedSegment, EveryBitFlipInARecordIsFoundAndEveryCut) {
  EV_ASSERT_OK(Read(bytes_));
  uint64_t seed = 1;
  for (size_t at = 0; at < bytes_.size(); at += at < 1024 ? 1 : 3) {
    std::string bytes = bytes_;
    seed = seed * 6364136223846793005 + 1442695040888963407;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (seed >> 61)));
    const Status status = Read(bytes);
    if (status.ok()) {
      // The mark, and what holds nothing.
      EXPECT_TRUE((at >= 512 && at < 544) || bytes_[at] == 0) << at;
    } else {
      EXPECT_TRUE(status.code() == StatusCode::kCorruption || status.code() == StatusCode::kFailedPrecondition);
      EXPECT_THAT(status.message(), HasSubstr("disk/saved"));
    }
  }
  const size_t whole = bytes_.find_last_not_of('\0') + 1;
  for (size_t n = 0; n < whole; n += 97) {
    const Status status = Read(bytes_.substr(0, n));
    ASSERT_EQ(status.code(), StatusCode::kCorruption) << n;
    EXPECT_THAT(status.message(), HasSubstr("disk/saved"));
  }
  EXPECT_EQ(Read(bytes_ + std::string(4096, 'x')).code(), StatusCode::kOk)
      << "what is behind the records is not looked at";
}

TEST_F(DamagedSegment, EachHasItsWords) {
  const auto with = [&](auto&& change) {
    SegmentFile right = file_;
    change(&file_);
    const std::string words = Read(bytes_).ToString();
    file_ = right;
    return words;
  };
  EXPECT_THAT(with([](SegmentFile* f) { ++f->ordinal; }), HasSubstr("disk/saved @ 32: ordinal: expected 1, found 0"));
  EXPECT_THAT(with([](SegmentFile* f) { ++f->records_crc; }),
              HasSubstr("disk/saved @ 4096: crc of all records: expected"));
  EXPECT_THAT(with([](SegmentFile* f) { ++f->number; }), HasSubstr("number: expected 1, found 0"));
  EXPECT_THAT(with([](SegmentFile* f) { f->slots -= 1; }), HasSubstr("records: expected"));
  EXPECT_THAT(with([](SegmentFile* f) { f->row_bytes += 16; }), HasSubstr("rows of a segment: expected"));
  EXPECT_THAT(with([](SegmentFile* f) { f->most_slots *= 2; }), HasSubstr("FailedPrecondition: disk/saved: rows of"));
  EXPECT_THAT(Read("").ToString(), HasSubstr("Corruption: disk/saved"));
}

// Version 1 had 15 records of these rows in a group of 2048: no file has as many in all now.
TEST_F(DamagedSegment, AnotherVersionIsRefusedByNameWhateverItsLayout) {
  std::string bytes = bytes_;
  bytes[8] = 1;
  for (const uint32_t most : {file_.most_slots, 7 * 15U}) {
    file_.most_slots = most;
    EXPECT_THAT(Read(bytes).ToString(), HasSubstr("FailedPrecondition: disk/saved: version: expected 2, found 1"));
    EXPECT_THAT(ssd_log::CheckSegmentVersion(&env_, file_).ToString(),
                HasSubstr("FailedPrecondition: disk/saved: version: expected 2, found 1"));
  }
  env_.SetContents(file_.path, bytes_);
  EV_EXPECT_OK(ssd_log::CheckSegmentVersion(&env_, file_));
}

// The sequences of a log that has existed for much longer: those of the rows that it adopts are far above its own.
TEST(SsdLogSegments, RowsOfALogFarAheadAreCompactedAsOwnOnes) {
  FaultEnv env;
  constexpr uint64_t kFar = uint64_t{1} << 40;
  LogTable first(Small("disk/first", &env));
  EV_ASSERT_OK(first.Open());
  Fill(&first, 1000, 1);
  std::vector<SegmentedTier::Sealed> sealed;
  std::unique_ptr<SegmentedTier::Hold> hold;
  EV_ASSERT_OK(first->HoldSealed(&sealed, &hold));
  ssd_log::Geometry geometry;
  EV_ASSERT_OK(ssd_log::MakeGeometry(kRowBytes, 20 << 10, &geometry));
  LogTable second(Small("disk/second", &env));
  EV_ASSERT_OK(second.Open());
  Fill(&second, 100, 2);
  size_t rows = 100;
  for (auto& one : sealed) {
    std::string bytes = env.Contents(one.file.path);
    ssd_log::EncodeFileHeader(geometry, one.file.number, one.file.ordinal, ssd_log::SequenceWindow(kFar),
                              reinterpret_cast<std::byte*>(bytes.data()));
    one.file.path += ".far";
    env.SetContents(one.file.path, bytes);
    std::map<Key, uint32_t> slots;
    SlotBits live((one.file.slots + 63) / 64);
    static_cast<void>(
        ssd_log::ReadSegment(&env, one.file, AllSlots(one.file.slots), [&](uint32_t slot, Key key, const std::byte*) {
          if (key >= 100) live[slot / 64] |= uint64_t{1} << (slot % 64);
          return OkStatus();
        }));
    Position at = 0;
    LinkKind linked{};
    EV_ASSERT_OK(second->Adopt(
        one.file, live,
        [&](uint32_t slot, Key key, const std::byte*) {
          slots[key] = slot;
          return OkStatus();
        },
        &at, &linked));
    for (const auto& [key, slot] : slots) {
      Position old = 0;
      ASSERT_FALSE(second.index().Set(key, at + slot, &old));
    }
    rows += slots.size();
  }
  ASSERT_GT(rows, 800U);
  for (Key k = 0; k < 1000; k += 2) second.Remove(k);
  EV_ASSERT_OK(second->Settle());
  EXPECT_GT(second->metrics().rows_copied, 200U);
  EXPECT_LT(second->metrics().segments_made, 20U);
  std::unordered_map<Key, uint64_t> versions;
  EV_ASSERT_OK(second.ReadAll(&versions));
  for (const auto& [key, version] : versions) EXPECT_EQ(version, key < 100 ? 2U : 1U) << key;
  EXPECT_GT(versions.size(), 400U);
}

}  // namespace
}  // namespace ev
