#include "ev_tf/checkpoint/write_behind.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/fault_env.h"
#include "tests/support/status_matchers.h"
#include "tests/support/sync_points.h"

namespace ev::checkpoint {
namespace {

using testing::FaultEnv;

constexpr size_t kBytes = 4096;

class WriteBehindTest : public ::testing::Test {
 protected:
  void SetUp() override {
    OpenOptions how;
    how.create = true;
    EV_ASSERT_OK(env_.Open("file", how, &file_));
    behind_ = std::make_unique<WriteBehind>(&env_, file_.get());
  }
  // Piece i is full of the letter i.
  Status WritePiece(int i, LentBytes* buffer) {
    if (buffer->capacity == 0 && !buffer->Borrow(kBytes)) return OutOfSpace("no buffer");
    std::memset(buffer->memory.get(), 'a' + i, kBytes);
    return behind_->Write(static_cast<uint64_t>(i) * kBytes, kBytes, buffer);
  }

  FaultEnv env_;
  std::unique_ptr<File> file_;
  std::unique_ptr<WriteBehind> behind_;
};

TEST_F(WriteBehindTest, B1EveryPieceIsWrittenOutOfAFewBuffers) {
  const size_t lent = BufferPool::Global().lent();
  {
    LentBytes buffer;
    for (int i = 0; i < 26; ++i) {
      EV_ASSERT_OK(WritePiece(i, &buffer));
      EXPECT_LE(BufferPool::Global().lent(), lent + WriteBehind::kBehind + 1);
    }
    EV_ASSERT_OK(behind_->Finish());
  }
  const std::string contents = env_.Contents("file");
  ASSERT_EQ(contents.size(), 26 * kBytes);
  for (size_t i = 0; i < contents.size(); ++i) ASSERT_EQ(contents[i], static_cast<char>('a' + i / kBytes)) << i;
  behind_.reset();
  EXPECT_EQ(BufferPool::Global().lent(), lent);
}

TEST_F(WriteBehindTest, TheFirstErrorIsKeptAndNothingIsTakenAfterIt) {
  LentBytes buffer;
  EV_ASSERT_OK(WritePiece(0, &buffer));
  EV_ASSERT_OK(behind_->Finish());
  env_.FailAt(0, FaultEnv::Fault::kDiskFull, /*lasting=*/false);
  EV_ASSERT_OK(WritePiece(1, &buffer));  // the error is yet to come
  EXPECT_EQ(behind_->Finish().code(), StatusCode::kOutOfSpace);
  EXPECT_EQ(WritePiece(2, &buffer).code(), StatusCode::kOutOfSpace) << "although there would be room now";
  EXPECT_NE(buffer.memory, nullptr);
  EXPECT_EQ(behind_->Finish().code(), StatusCode::kOutOfSpace);
  EXPECT_LE(env_.Contents("file").size(), 2 * kBytes) << "the third was written";
}

TEST_F(WriteBehindTest, WhereThereIsNoThreadTheCallerWrites) {
  env_.threads_allowed = false;
  LentBytes buffer;
  for (int i = 0; i < 5; ++i) EV_ASSERT_OK(WritePiece(i, &buffer));
  EV_ASSERT_OK(behind_->Finish());
  EXPECT_EQ(env_.Contents("file").size(), 5 * kBytes);
  env_.FailAt(0, FaultEnv::Fault::kIoError, /*lasting=*/false);
  EXPECT_EQ(WritePiece(5, &buffer).code(), StatusCode::kIoError);
  EXPECT_EQ(behind_->Finish().code(), StatusCode::kIoError) << "it is kept here too";
}

// A file whose first write waits, and fails.
class StoppedFile final : public File {
 public:
  const std::string& path() const override { return path_; }
  bool direct() const override { return false; }
  Status ReadAt(uint64_t, Span<std::byte>) override { return OkStatus(); }
  Status WriteAt(uint64_t, Span<const std::byte>) override {
    EXPECT_TRUE(go_on.Wait());
    return IoError("stopped");
  }
  Status Allocate(uint64_t, uint64_t) override { return OkStatus(); }
  Status Truncate(uint64_t) override { return OkStatus(); }
  Status Sync() override { return OkStatus(); }
  Status Size(uint64_t*) override { return OkStatus(); }
  const std::byte* Map(size_t) override { return nullptr; }

  test::Event go_on;

 private:
  const std::string path_ = "stopped";
};

TEST_F(WriteBehindTest, WhoeverWaitsForRoomHearsOfTheError) {
  StoppedFile file;
  WriteBehind behind(&env_, &file);
  std::atomic<int> taken{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> writers;
  for (int i = 0; i < 5; ++i) {
    writers.emplace_back([&] {
      LentBytes buffer;
      ASSERT_TRUE(buffer.Borrow(kBytes));
      ++(behind.Write(0, kBytes, &buffer).ok() ? taken : refused);
    });
  }
  while (taken < WriteBehind::kBehind) std::this_thread::yield();
  EXPECT_EQ(refused, 0) << "the others wait";
  file.go_on.Set();
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(taken, WriteBehind::kBehind);
  EXPECT_EQ(refused, 5 - WriteBehind::kBehind);
  EXPECT_EQ(behind.Finish().code(), StatusCode::kIoError);
}

TEST_F(WriteBehindTest, ItEndsWhateverIsOnItsWay) {
  for (int round = 0; round < 100; ++round) {
    behind_ = std::make_unique<WriteBehind>(&env_, file_.get());
    LentBytes buffer;
    for (int i = 0; i < round % 5; ++i) EV_ASSERT_OK(WritePiece(i, &buffer));
    behind_.reset();
  }
}

}  // namespace
}  // namespace ev::checkpoint
