#include "ev_tf/checkpoint/write_behind.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>

#include "tests/support/fault_env.h"
#include "tests/support/status_matchers.h"

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
    used_.insert(buffer->memory.get());
    std::memset(buffer->memory.get(), 'a' + i, kBytes);
    return behind_->Write(static_cast<uint64_t>(i) * kBytes, kBytes, buffer);
  }

  FaultEnv env_;
  std::unique_ptr<File> file_;
  std::unique_ptr<WriteBehind> behind_;
  std::set<std::byte*> used_;
};

TEST_F(WriteBehindTest, B1EveryPieceIsWrittenOutOfAFewBuffers) {
  const size_t lent = BufferPool::Global().lent();
  {
    LentBytes buffer;
    for (int i = 0; i < 26; ++i) EV_ASSERT_OK(WritePiece(i, &buffer));
    EV_ASSERT_OK(behind_->Finish());
  }
  const std::string contents = env_.Contents("file");
  ASSERT_EQ(contents.size(), 26 * kBytes);
  for (size_t i = 0; i < contents.size(); ++i) ASSERT_EQ(contents[i], static_cast<char>('a' + i / kBytes)) << i;
  EXPECT_LE(used_.size(), WriteBehind::kBehind + 1u);
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
