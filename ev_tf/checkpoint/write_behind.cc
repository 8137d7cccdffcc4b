#include "ev_tf/checkpoint/write_behind.h"

#include <system_error>
#include <utility>

namespace ev::checkpoint {

LentBytes& LentBytes::operator=(LentBytes&& other) noexcept {
  std::swap(memory, other.memory);
  std::swap(capacity, other.capacity);
  return *this;
}

bool LentBytes::Borrow(size_t bytes) {
  Release();
  memory = BufferPool::Global().Take(bytes);
  capacity = memory == nullptr ? 0 : bytes;
  return memory != nullptr;
}

void LentBytes::Release() {
  if (memory != nullptr) BufferPool::Global().Give(std::move(memory), capacity);
  capacity = 0;
}

WriteBehind::~WriteBehind() {
  {
    std::lock_guard<std::mutex> lock(mu_);
    ending_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status WriteBehind::Write(uint64_t offset, size_t bytes, LentBytes* buffer) {
  std::unique_lock<std::mutex> lock(mu_);
  changed_.wait(lock, [this] { return on_their_way_ < kBehind || !error_.ok(); });
  EV_RETURN_IF_ERROR(error_);
  if (!HasThread()) {
    lock.unlock();
    Status status = file_->WriteAt(offset, {buffer->memory.get(), bytes});
    lock.lock();
    if (error_.ok()) error_ = status;
    return status;
  }
  waiting_.push_back({offset, bytes, std::move(*buffer)});
  ++on_their_way_;
  if (!empty_.empty()) {
    *buffer = std::move(empty_.back());
    empty_.pop_back();
  }
  lock.unlock();
  changed_.notify_all();
  return OkStatus();
}

bool WriteBehind::HasThread() {
  if (static_cast<int>(threads_.size()) <= on_their_way_) {
    try {
      threads_.push_back(env_->StartThread("ev-save", [this] { Loop(); }));
    } catch (const std::system_error&) {  // no more threads for this process
    }
  }
  return !threads_.empty();
}

Status WriteBehind::Finish() {
  std::unique_lock<std::mutex> lock(mu_);
  changed_.wait(lock, [this] { return on_their_way_ == 0; });
  return error_;
}

void WriteBehind::Loop() {
  std::unique_lock<std::mutex> lock(mu_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Piece piece = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    const Status status = file_->WriteAt(piece.offset, {piece.buffer.memory.get(), piece.bytes});
    lock.lock();
    if (error_.ok()) error_ = status;
    empty_.push_back(std::move(piece.buffer));
    --on_their_way_;
    changed_.notify_all();
  }
}

}  // namespace ev::checkpoint
