#include "ev_tf/tier/ssd_log/ssd_log_tier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "ev_tf/env/buffer_pool.h"
#include "tests/support/fault_env.h"
#include "tests/support/ssd_log_model.h"

namespace ev {
namespace {

using testing::FaultEnv;
using testing::LogTable;
using Versions = std::unordered_map<Key, uint64_t>;

class SsdLogTierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "ssd_log_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  SsdLogOptions Small() const {
    SsdLogOptions options;
    options.path = dir_ + "/log";
    options.row_bytes = 256;
    options.segment_bytes = 64 << 10;
    options.durable = false;
    return options;
  }

  std::string dir_;
};

std::vector<Key> Range(Key first, Key end) {
  std::vector<Key> keys;
  for (Key k = first; k < end; ++k) keys.push_back(k);
  return keys;
}

void ExpectVersions(LogTable& table, const Versions& expected) {
  Versions found;
  const Status status = table.ReadAll(&found);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(found, expected);
  EXPECT_EQ(table->size(), expected.size());
}

// Takes a file out of the page cache.  False: it is still there.
bool DropFromCache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  EXPECT_GE(fd, 0);
  EXPECT_EQ(::fsync(fd), 0);
  EXPECT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  const size_t bytes = std::filesystem::file_size(path);
  void* map = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  std::vector<unsigned char> there((bytes + 4095) / 4096);
  EXPECT_EQ(::mincore(map, bytes, there.data()), 0);
  ::munmap(map, bytes);
  ::close(fd);
  return std::none_of(there.begin(), there.end(), [](unsigned char page) { return (page & 1) != 0; });
}

class SsdLogModes : public SsdLogTierTest, public ::testing::WithParamInterface<std::tuple<SsdIoMode, bool, bool>> {};

TEST_P(SsdLogModes, RandomWorkKeepsTheNewestRowsAndTheSpaceBound) {
  SsdLogOptions options = Small();
  options.io_mode = std::get<0>(GetParam());
  options.async_compaction = std::get<1>(GetParam());
  const std::unique_ptr<Env> pool = NewPreadPoolEnv();
  if (std::get<2>(GetParam())) options.env = pool.get();
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  std::mt19937_64 random(7);
  Versions model;
  for (uint64_t step = 1; step <= 400; ++step) {
    std::vector<Key> keys;
    for (int i = 0; i < 40; ++i) keys.push_back(static_cast<Key>(random() % 3000) - 1500);
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    const Status status = table.Put(keys, step);
    ASSERT_TRUE(status.ok()) << status.ToString();
    for (const Key k : keys) model[k] = step;
    for (int i = 0; i < 5; ++i) {
      const Key k = static_cast<Key>(random() % 3000) - 1500;
      table.Remove(k);
      model.erase(k);
    }
    if (step % 50 == 0) ExpectVersions(table, model);
  }
  Status status = table->Settle();
  ASSERT_TRUE(status.ok()) << status.ToString();
  ExpectVersions(table, model);
  const SsdLogMetrics m = table->metrics();
  EXPECT_GE(m.live_share, 0.6) << m.rows << " rows in " << m.file_bytes << " bytes";
  EXPECT_LE(m.index_bytes, m.segments * 512);
  EXPECT_GT(m.rows_copied, 0U);
  EXPECT_GT(m.segments_unlinked, 0U);
  for (const Key k : table.index().Keys()) table.Remove(k);
  EXPECT_EQ(table->size(), 0U);
  ASSERT_TRUE(table->Settle().ok());
  EXPECT_EQ(table->metrics().segments, 0U);
  EXPECT_EQ(table->bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, SsdLogModes,
                         ::testing::Combine(::testing::Values(SsdIoMode::kDirect, SsdIoMode::kBuffered),
                                            ::testing::Bool(), ::testing::Bool()));

// S1 where a log has few files, each stream's open one with space taken ahead.
TEST_F(SsdLogTierTest, ASmallLogKeepsTheSpaceBound) {
  for (const uint64_t segment_bytes : {64 << 10, 256 << 10, 1 << 20, 4 << 20}) {
    for (const Key keys : {400, 1000, 3000}) {
      SCOPED_TRACE(::testing::Message() << keys << " rows, segments of " << segment_bytes);
      SsdLogOptions options = Small();
      options.segment_bytes = segment_bytes;
      options.delete_on_close = true;
      LogTable table(options);
      ASSERT_TRUE(table.Open().ok());
      ASSERT_TRUE(table.Put(Range(0, keys), 1).ok());
      std::mt19937_64 random(11);
      for (uint64_t version = 2; version < 40; ++version) {
        const Key hot = random() % 4 == 0 ? keys : keys / 5;
        const Key first = static_cast<Key>(random() % static_cast<uint64_t>(hot - 40));
        ASSERT_TRUE(table.Put(Range(first, first + 40), version).ok());
        if (version % 4 != 0) continue;
        ASSERT_TRUE(table->Settle().ok());
        const SsdLogMetrics m = table->metrics();
        EXPECT_GE(m.live_share, 0.6) << m.rows << " rows in " << m.file_bytes << " bytes of " << m.segments << " files";
      }
    }
  }
}

TEST_F(SsdLogTierTest, RowsOfEverySizeComeBack) {
  for (const size_t row_bytes : {16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 5008, 65536, 1 << 20}) {
    SCOPED_TRACE(row_bytes);
    SsdLogOptions options = Small();
    options.path = dir_ + "/" + std::to_string(row_bytes);
    options.row_bytes = row_bytes;
    options.segment_bytes = std::max<uint64_t>(256 << 10, row_bytes * 5);
    options.delete_on_close = true;
    LogTable table(options);
    ASSERT_TRUE(table.Open().ok());
    const size_t n = row_bytes > 10000 ? 40 : 2000;
    Versions model;
    for (uint64_t version = 1; version <= 3; ++version) {
      const Status status = table.Put(Range(0, static_cast<Key>(n)), version);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    for (Key k = 0; k < static_cast<Key>(n); ++k) model[k] = 3;
    ExpectVersions(table, model);
    ASSERT_TRUE(table->Flush().ok());
    ExpectVersions(table, model);
    table.Close();
    EXPECT_TRUE(std::filesystem::is_empty(options.path));
  }
}

TEST_F(SsdLogTierTest, RecoversWhatWasFlushed) {
  SsdLogOptions options = Small();
  options.durable = true;
  Versions model;
  {
    LogTable table(options);
    ASSERT_TRUE(table.Open().ok());
    for (uint64_t version = 1; version <= 6; ++version) ASSERT_TRUE(table.Put(Range(0, 300), version).ok());
    ASSERT_TRUE(table.Put(Range(100, 120), 7).ok());
    for (Key k = 0; k < 300; ++k) model[k] = k >= 100 && k < 120 ? 7 : 6;
  }
  options.existing = SsdExisting::kRecover;
  for (int round = 0; round < 3; ++round) {
    LogTable table(options);
    const Status status = table.Open();
    ASSERT_TRUE(status.ok()) << status.ToString();
    ExpectVersions(table, model);
    EXPECT_EQ(table->recovery().torn_segments, 0U);
    ASSERT_TRUE(table.Put(Range(50, 60), static_cast<uint64_t>(10 + round)).ok());
    for (Key k = 50; k < 60; ++k) model[k] = static_cast<uint64_t>(10 + round);
  }
}

TEST_F(SsdLogTierTest, ADirectoryIsForOne) {
  LogTable first(Small());
  ASSERT_TRUE(first.Open().ok());
  LogTable second(Small());
  EXPECT_EQ(second.Open().code(), StatusCode::kUnavailable);
}

TEST_F(SsdLogTierTest, FilesOfAnEarlierRunAreRefusedOrDeleted) {
  SsdLogOptions options = Small();
  {
    LogTable table(options);
    ASSERT_TRUE(table.Open().ok());
    ASSERT_TRUE(table.Put(Range(0, 500), 1).ok());
  }
  LogTable refused(options);
  EXPECT_EQ(refused.Open().code(), StatusCode::kFailedPrecondition);
  options.existing = SsdExisting::kDelete;
  LogTable deleted(options);
  ASSERT_TRUE(deleted.Open().ok());
  EXPECT_EQ(deleted->bytes(), 0U);
}

TEST_F(SsdLogTierTest, OptionsThatCannotBeAreNamed) {
  std::unique_ptr<SsdLogTier> tier;
  SsdLogOptions options = Small();
  options.row_bytes = 0;
  EXPECT_EQ(SsdLogTier::Open(options, &tier).code(), StatusCode::kInvalidArgument);
  options = Small();
  options.segment_bytes = 100;
  EXPECT_EQ(SsdLogTier::Open(options, &tier).code(), StatusCode::kInvalidArgument);
  options = Small();
  options.path = "/proc/no/such";
  EXPECT_FALSE(SsdLogTier::Open(options, &tier).ok());
  ::setenv("TF_SSDHASH_ASYNC_COMPACTION", "1", 1);
  EXPECT_TRUE(options.ReadEnvironment().ok());
  EXPECT_TRUE(options.async_compaction);
  ::setenv("TF_SSDHASH_ASYNC_COMPACTION", "yes", 1);
  EXPECT_EQ(options.ReadEnvironment().code(), StatusCode::kInvalidArgument);
  ::unsetenv("TF_SSDHASH_ASYNC_COMPACTION");
  EXPECT_TRUE(options.ReadEnvironment().ok());
  EXPECT_FALSE(options.async_compaction);
}

TEST_F(SsdLogTierTest, AThousandTablesAtRestHoldNoBufferAndNoThread) {
  // Threads that read may still be there from another test, and end when they like.
  const auto tasks = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}); };
  const auto tasks_before = tasks();
  const size_t lent = BufferPool::Global().lent();
  std::vector<std::unique_ptr<LogTable>> tables;
  for (int i = 0; i < 1000; ++i) {
    SsdLogOptions options = Small();
    options.path = dir_ + "/" + std::to_string(i);
    options.async_compaction = true;
    tables.push_back(std::make_unique<LogTable>(options));
    ASSERT_TRUE(tables.back()->Open().ok());
    ASSERT_TRUE(tables.back()->Put(Range(0, 3), 1).ok());
    ASSERT_TRUE((*tables.back())->Flush().ok());
  }
  EXPECT_EQ(BufferPool::Global().lent(), lent);
  EXPECT_LE(tasks(), tasks_before + 4);
}

TEST_F(SsdLogTierTest, ReadsOfOneBatchGoTogether) {
  SsdLogOptions options = Small();
  options.segment_bytes = 4 << 20;
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 4000), 1).ok());
  ASSERT_TRUE(table->Flush().ok());
  Versions versions;
  ASSERT_TRUE(table.ReadAll(&versions).ok());
  const SsdLogMetrics m = table->metrics();
  EXPECT_LE(m.reads, 4000U / 8) << "neighbours share a page";
  EXPECT_GT(m.max_read_depth, 16U) << m.io;
}

TEST_F(SsdLogTierTest, RowsOfTheCacheAreReadTogetherWhereTheyAreNotInIt) {
  SsdLogOptions options = Small();
  options.segment_bytes = 4 << 20;
  options.io_mode = SsdIoMode::kBuffered;
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 8000), 1).ok());
  ASSERT_TRUE(table->Flush().ok());
  const bool dropped = DropFromCache(options.path + "/rows-000000.ssd");  // not in a file system that is memory
  Versions versions;
  ASSERT_TRUE(table.ReadAll(&versions).ok());
  EXPECT_EQ(versions.size(), 8000U);
  if (dropped) {
    EXPECT_GT(table->metrics().max_read_depth, 16U) << table->metrics().io;
  }
  for (int batch = 0; batch < 70; ++batch) {  // by then memory is looked at again
    versions.clear();
    ASSERT_TRUE(table.ReadAll(&versions).ok());
    ASSERT_EQ(versions.size(), 8000U);
  }
}

TEST_F(SsdLogTierTest, AFileThatIsCutIsAnErrorAndNoSignal) {
  SsdLogOptions options = Small();
  options.io_mode = SsdIoMode::kBuffered;
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 2000), 1).ok());
  ASSERT_TRUE(table->Flush().ok());
  std::filesystem::resize_file(options.path + "/rows-000001.ssd", 8192);
  Versions versions;
  const Status status = table.ReadAll(&versions);
  EXPECT_EQ(status.code(), StatusCode::kIoError) << status.ToString();
  EXPECT_THAT(status.message(), ::testing::HasSubstr("rows-000001.ssd @ "));
  const Key key = 0;  // of the first file
  Position position = 0;
  ASSERT_TRUE(table.index().Find(key, &position));
  std::vector<std::byte> row(256);
  EXPECT_TRUE(table->Get({&key, 1}, {&position, 1}, row).ok());
}

TEST_F(SsdLogTierTest, AStalePositionIsNotFoundOrTheOldRow) {
  SsdLogOptions options = Small();
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 1000), 1).ok());
  std::vector<std::pair<Key, Position>> old;
  for (Key k = 0; k < 1000; ++k) {
    old.emplace_back(k, 0);
    ASSERT_TRUE(table.index().Find(k, &old.back().second));
  }
  for (uint64_t v = 2; v < 10; ++v) ASSERT_TRUE(table.Put(Range(0, 1000), v).ok());
  for (const auto& [key, position] : old) {
    std::vector<std::byte> row(256);
    const Status status = table->Get({&key, 1}, {&position, 1}, row);
    bool whole = false;
    if (status.ok()) {
      testing::VersionOf(key, row, &whole);
      EXPECT_TRUE(whole);
    } else {
      EXPECT_EQ(status.code(), StatusCode::kNotFound) << status.ToString();
    }
  }
}

TEST_F(SsdLogTierTest, ABitFlipIsACorruptionWithFileAndOffset) {
  FaultEnv env;
  SsdLogOptions options = Small();
  options.env = &env;
  options.path = "disk";
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 50), 1).ok());
  ASSERT_TRUE(table->Flush().ok());
  table.Close();
  std::string bytes = env.Contents("disk/rows-000000.ssd");
  bytes[4096 + 272 * 3 + 100] ^= 1;
  // The mark says that the row was synced only where the log is durable; here it is the tail.
  env.SetContents("disk/rows-000000.ssd", bytes);
  options.existing = SsdExisting::kRecover;
  LogTable again(options);
  ASSERT_TRUE(again.Open().ok());
  EXPECT_EQ(again->recovery().torn_segments, 1U);
  EXPECT_EQ(again->recovery().rows, 3U);
}

TEST_F(SsdLogTierTest, ReadErrorsAreReturnedAndRowsStay) {
  FaultEnv env;
  SsdLogOptions options = Small();
  options.env = &env;
  options.path = "disk";
  LogTable table(options);
  ASSERT_TRUE(table.Open().ok());
  ASSERT_TRUE(table.Put(Range(0, 500), 1).ok());
  ASSERT_TRUE(table->Flush().ok());
  env.FailReads(true);
  Versions versions;
  EXPECT_EQ(table.ReadAll(&versions).code(), StatusCode::kIoError);
  env.FailReads(false);
  EXPECT_TRUE(table.ReadAll(&versions).ok());
  EXPECT_EQ(versions.size(), 500U);
}

TEST_F(SsdLogTierTest, AFullDiskStopsPutsAndLosesNothing) {
  for (int64_t at = 0; at < 60; ++at) {
    for (const auto fault : {FaultEnv::Fault::kDiskFull, FaultEnv::Fault::kIoError}) {
      SCOPED_TRACE(::testing::Message() << "fault " << static_cast<int>(fault) << " from change " << at);
      FaultEnv env(static_cast<uint64_t>(at));
      SsdLogOptions options = Small();
      options.env = &env;
      options.path = "disk";
      options.durable = at % 2 == 0;
      LogTable table(options);
      ASSERT_TRUE(table.Open().ok());
      Versions model;
      Status error;
      env.FailAt(at, fault);
      for (uint64_t v = 1; v <= 12 && error.ok(); ++v) {
        for (Key first = 0; first < 400 && error.ok(); first += 100) {
          const std::vector<Key> keys = Range(first, first + 100);
          error = table.Put(keys, v);
          if (!error.ok()) break;
          for (const Key k : keys) model[k] = v;
          if (v == 5) error = table->Flush();
        }
      }
      if (!error.ok()) {
        EXPECT_EQ(error.code(), fault == FaultEnv::Fault::kDiskFull ? StatusCode::kOutOfSpace : StatusCode::kIoError)
            << error.ToString();
      }
      ExpectVersions(table, model);
      env.Heal();
      Status after = table.Put(Range(0, 400), 99);  // may tell of an error that was kept
      if (!after.ok()) after = table.Put(Range(0, 400), 99);
      ASSERT_TRUE(after.ok()) << after.ToString();
      for (Key k = 0; k < 400; ++k) model[k] = 99;
      ASSERT_TRUE(table->Flush().ok());
      ExpectVersions(table, model);
    }
  }
}

}  // namespace
}  // namespace ev
