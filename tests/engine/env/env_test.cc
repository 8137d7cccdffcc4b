#include "ev_tf/env/env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <numeric>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/guarded_copy.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using ::testing::HasSubstr;

TEST(Env, FilesAreClosedLaterAndBeforeSpaceIsSaidToBeOut) {
  class Watched final : public File {
   public:
    explicit Watched(std::atomic<int>* open) : open_(open) { ++*open_; }
    ~Watched() override { --*open_; }
    const std::string& path() const override { return path_; }
    bool direct() const override { return false; }
    Status ReadAt(uint64_t, Span<std::byte>) override { return OkStatus(); }
    Status WriteAt(uint64_t, Span<const std::byte>) override { return OkStatus(); }
    Status Allocate(uint64_t, uint64_t) override { return OkStatus(); }
    Status Truncate(uint64_t) override { return OkStatus(); }
    Status Sync() override { return OkStatus(); }
    Status Size(uint64_t*) override { return OkStatus(); }
    const std::byte* Map(size_t) override { return nullptr; }

   private:
    std::atomic<int>* const open_;
    const std::string path_;
  };
  std::atomic<int> open{0};
  for (int i = 0; i < 100; ++i) Env::Default().CloseLater(std::make_unique<Watched>(&open));
  Env::Default().CloseNow();
  EXPECT_EQ(open, 0);
  EXPECT_FALSE(Env::Default().CloseNow()) << "there is nothing left";
}

// The operating system's Env with each way to read, direct and not.
class EnvReads : public ::testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  EnvReads() : pool_(NewPreadPoolEnv()) {}
  Env& env() { return std::get<0>(GetParam()) ? *pool_ : Env::Default(); }

  void SetUp() override {
    OpenOptions how;
    how.create = true;
    how.direct = std::get<1>(GetParam());
    EV_ASSERT_OK(env().Open(dir_ / "file", how, &file_));
    AlignedBytes bytes = NewAlignedBytes(kBytes);
    for (size_t i = 0; i < kBytes; ++i) bytes.get()[i] = static_cast<std::byte>(i / 512 + i);
    EV_ASSERT_OK(file_->WriteAt(0, {bytes.get(), kBytes}));
    EV_ASSERT_OK(file_->Sync());
  }

  static constexpr size_t kBytes = 1 << 20;
  test::TempDir dir_;
  std::unique_ptr<Env> pool_;
  std::unique_ptr<File> file_;
};

TEST_P(EnvReads, ABatchIsWhatIsInTheFile) {
  for (const uint32_t length : {512, 1024, 4096, 65536}) {
    std::vector<ReadRequest> requests;
    for (uint64_t at = 0; at + length <= kBytes; at += length) requests.push_back({file_.get(), at, length});
    std::atomic<size_t> right{0};
    ReadStats stats;
    EV_ASSERT_OK(env().ReadBatch(
        requests, kReadMemory,
        [&](size_t i, const std::byte* data) {
          bool same = true;
          for (size_t b = 0; b < length; ++b) {
            const size_t at = requests[i].offset + b;
            same = same && data[b] == static_cast<std::byte>(at / 512 + at);
          }
          right += same ? 1 : 0;
          return OkStatus();
        },
        &stats));
    EXPECT_EQ(right, requests.size());
    EXPECT_EQ(stats.reads, requests.size());
    EXPECT_EQ(stats.bytes, kBytes);
    EXPECT_GT(stats.max_depth, 1U) << env().read_backend();
  }
}

TEST_P(EnvReads, ABatchTakesNoMoreMemoryThanItIsGiven) {
  constexpr uint32_t kLength = 65536;
  std::vector<ReadRequest> requests;
  for (uint64_t at = 0; at < kBytes; at += kLength) requests.push_back({file_.get(), at, kLength});
  for (const size_t memory : {size_t{1}, size_t{kLength}, size_t{4 * kLength + 1}}) {
    std::atomic<size_t> visits{0}, inside{0}, most_inside{0};
    ReadStats stats;
    const auto visit = [&](size_t, const std::byte*) {
      const size_t now = ++inside;
      for (size_t most = most_inside; most < now && !most_inside.compare_exchange_weak(most, now);) {
      }
      ++visits;
      --inside;
      return OkStatus();
    };
    EV_ASSERT_OK(env().ReadBatch(requests, memory, visit, &stats));
    EXPECT_EQ(visits, requests.size());
    EXPECT_LE(most_inside, std::max<size_t>(1, memory / kLength));
    EXPECT_EQ(stats.max_depth, std::max<size_t>(1, memory / kLength)) << env().read_backend();
  }
}

// The device has to have something to do while the bytes of a long read are used.
TEST_P(EnvReads, ALongReadThatWasUsedMakesRoomForTheNext) {
  if (env().read_backend() != "io_uring") GTEST_SKIP() << "each thread of the pool reads when it has used what it read";
  constexpr uint32_t kLength = 65536;
  constexpr size_t kDepth = 4;
  std::vector<ReadRequest> requests;
  for (uint64_t at = 0; at < kBytes; at += kLength) requests.push_back({file_.get(), at, kLength});
  size_t visits = 0;
  ReadStats stats;
  EV_ASSERT_OK(env().ReadBatch(
      requests, kDepth * kLength,
      [&](size_t, const std::byte*) {
        EXPECT_EQ(stats.reads, std::min(requests.size(), kDepth + visits)) << "begun before visit " << visits;
        ++visits;
        return OkStatus();
      },
      &stats));
  EXPECT_EQ(visits, requests.size());
}

// Errors among long reads, which are visited one by one, also where there is more memory than all of them take.
TEST_P(EnvReads, AnErrorEndsABatchOfLongReads) {
  constexpr uint32_t kLength = 5 * 4096;
  std::vector<ReadRequest> requests;
  for (uint64_t at = 0; at + kLength <= kBytes; at += kLength) requests.push_back({file_.get(), at, kLength});
  for (const size_t memory : {size_t{3 * kLength}, size_t{1} << 30}) {
    std::atomic<size_t> visits{0};
    ReadStats stats;
    Status status = env().ReadBatch(
        requests, memory,
        [&](size_t i, const std::byte*) { return visits++, i == 20 ? Corruption("row") : OkStatus(); }, &stats);
    EXPECT_EQ(status.code(), StatusCode::kCorruption);
    EXPECT_LE(visits, requests.size());
    std::vector<ReadRequest> past = requests;
    past[30].offset = kBytes - 4096;
    status = env().ReadBatch(
        past, memory, [](size_t, const std::byte*) { return OkStatus(); }, &stats);
    EXPECT_EQ(status.code(), StatusCode::kIoError);
    EXPECT_THAT(status.message(), HasSubstr("file @ 1044480: read: expected 20480 bytes, found 4096"));
  }
}

TEST_P(EnvReads, AReadPastTheEndIsAnErrorWithItsPlace) {
  std::vector<ReadRequest> requests;
  for (int i = 0; i < 300; ++i) requests.push_back({file_.get(), static_cast<uint64_t>(i) * 512, 512});
  requests[200].offset = kBytes + 4096;
  ReadStats stats;
  const Status status = env().ReadBatch(
      requests, kReadMemory, [](size_t, const std::byte*) { return OkStatus(); }, &stats);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr("file @ 1052672: read: expected 512 bytes, found 0"));
}

TEST_P(EnvReads, AnErrorOfTheReceiverEndsTheBatch) {
  std::vector<ReadRequest> requests(1000, ReadRequest{file_.get(), 0, 512});
  ReadStats stats;
  const Status status = env().ReadBatch(
      requests, kReadMemory, [](size_t i, const std::byte*) { return i == 100 ? Corruption("row") : OkStatus(); },
      &stats);
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
}

INSTANTIATE_TEST_SUITE_P(All, EnvReads, ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST(Env, ErrorsHaveTheirKind) {
  Env& env = Env::Default();
  test::TempDir dir;
  std::unique_ptr<File> file;
  EXPECT_EQ(env.Open(dir / "none", {}, &file).code(), StatusCode::kNotFound);
  EXPECT_EQ(env.Unlink(dir / "none").code(), StatusCode::kNotFound);
  std::vector<std::string> names;
  EXPECT_EQ(env.List(dir / "none", &names).code(), StatusCode::kNotFound);
  OpenOptions how;
  how.create = true;
  EV_ASSERT_OK(env.Open(dir / "b", how, &file));
  EV_ASSERT_OK(env.Open(dir / "a", how, &file));
  EXPECT_EQ(env.CreateDirectories(dir / "a").code(), StatusCode::kIoError);
  EV_ASSERT_OK(env.Rename(dir / "b", dir / "c"));
  EV_ASSERT_OK(env.SyncDirectory(dir.path()));
  EV_ASSERT_OK(env.List(dir.path(), &names));
  EXPECT_EQ(names, (std::vector<std::string>{"a", "c"}));
}

TEST(Env, ASecondNameIsALinkOrACopyThatSaysSo) {
  Env& env = Env::Default();
  const test::TempDir dir;
  const test::SmallDisk disk(4 << 20);
  const std::string bytes(3'000'001, 'x');
  OpenOptions how;
  how.create = true;
  std::unique_ptr<File> file;
  EV_ASSERT_OK(env.Open(dir / "a", how, &file));
  EV_ASSERT_OK(file->WriteAt(0, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}));
  LinkKind kind{};
  EV_ASSERT_OK(env.Link(dir / "a", dir / "b", &kind));
  EXPECT_EQ(kind, LinkKind::kHardLink);
  EXPECT_EQ(env.Link(dir / "a", dir / "b", &kind).code(), StatusCode::kIoError) << "that name is taken";
  EXPECT_EQ(env.Link(dir / "none", dir / "c", &kind).code(), StatusCode::kNotFound);
  EXPECT_EQ(env.Link(dir / "a", dir / "none/c", &kind).code(), StatusCode::kNotFound);
  if (!disk.mounted()) GTEST_SKIP() << "no second file system: " << disk.why();
  EV_ASSERT_OK(env.Link(dir / "a", disk.path() + "/copy", &kind));
  EXPECT_EQ(kind, LinkKind::kCopy);
  uint64_t size = 0;
  std::unique_ptr<File> copy;
  EV_ASSERT_OK(env.Open(disk.path() + "/copy", {}, &copy));
  EV_ASSERT_OK(copy->Size(&size));
  std::string read(size, '\0');
  EV_ASSERT_OK(copy->ReadAt(0, {reinterpret_cast<std::byte*>(read.data()), read.size()}));
  EXPECT_TRUE(read == bytes);
  // A second one has no room, and leaves nothing.
  EXPECT_EQ(env.Link(dir / "a", disk.path() + "/more", &kind).code(), StatusCode::kOutOfSpace);
  std::vector<std::string> names;
  EV_ASSERT_OK(env.List(disk.path(), &names));
  EXPECT_EQ(names, std::vector<std::string>{"copy"});
}

TEST(Env, ALockIsForOne) {
  test::TempDir dir;
  std::unique_ptr<FileLock> lock;
  std::unique_ptr<FileLock> second;
  EV_ASSERT_OK(Env::Default().Lock(dir / "LOCK", &lock));
  EXPECT_EQ(Env::Default().Lock(dir / "LOCK", &second).code(), StatusCode::kUnavailable);
  lock.reset();
  EV_ASSERT_OK(Env::Default().Lock(dir / "LOCK", &second));
}

TEST(Env, AFullDiskIsOutOfSpace) {
  test::SmallDisk disk(1 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk: " << disk.why();
  OpenOptions how;
  how.create = true;
  how.direct = true;
  std::unique_ptr<File> file;
  EV_ASSERT_OK(Env::Default().Open(disk.path() + "/file", how, &file));
  const AlignedBytes bytes = NewAlignedBytes(2 << 20);
  std::memset(bytes.get(), 1, 2 << 20);
  const Status status = file->WriteAt(0, {bytes.get(), 2 << 20});
  EXPECT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_EQ(file->Allocate(0, 8 << 20).code(), StatusCode::kOutOfSpace);
}

TEST(GuardedCopy, CopiesPiecesInTheirOrder) {
  test::TempDir dir;
  std::unique_ptr<File> file;
  OpenOptions how;
  how.create = true;
  EV_ASSERT_OK(Env::Default().Open(dir / "file", how, &file));
  std::vector<std::byte> bytes(64 << 10);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / 256 + i);
  EV_ASSERT_OK(file->WriteAt(0, bytes));
  const std::byte* map = file->Map(bytes.size() + (1 << 20));
  ASSERT_NE(map, nullptr);
  GuardedCopy copy;
  for (const size_t length : {1, 280, 5000}) {
    std::vector<iovec> pieces;
    for (size_t i = 0; i < GuardedCopy::kMaxPieces; ++i) {
      pieces.push_back({const_cast<std::byte*>(map) + (i * 7919) % (bytes.size() - length), length});
    }
    ASSERT_TRUE(copy.Run(pieces));
    for (size_t i = 0; i < pieces.size(); ++i) {
      ASSERT_EQ(std::memcmp(copy.data() + i * length, pieces[i].iov_base, length), 0) << "piece " << i;
    }
  }
  EXPECT_TRUE(copy.Run({}));
}

TEST(GuardedCopy, WhatCannotBeReadIsFalseAndNoSignal) {
  test::TempDir dir;
  std::unique_ptr<File> file;
  OpenOptions how;
  how.create = true;
  EV_ASSERT_OK(Env::Default().Open(dir / "file", how, &file));
  const std::vector<std::byte> bytes(64 << 10, std::byte{7});
  EV_ASSERT_OK(file->WriteAt(0, bytes));
  auto* map = const_cast<std::byte*>(file->Map(bytes.size()));
  ASSERT_NE(map, nullptr);
  GuardedCopy copy;
  const std::vector<iovec> pieces = {{map, 100}, {map + (32 << 10), 100}};
  EXPECT_TRUE(copy.Run(pieces));
  EV_ASSERT_OK(file->Truncate(16 << 10));  // under the mapping
  EXPECT_FALSE(copy.Run(pieces));
  ASSERT_TRUE(copy.Run(Span<const iovec>(pieces.data(), 1)));
  EXPECT_EQ(copy.data()[99], std::byte{7});
  const iovec nowhere{nullptr, 100};
  EXPECT_FALSE(copy.Run(Span<const iovec>(&nowhere, 1)));
}

}  // namespace
}  // namespace ev
