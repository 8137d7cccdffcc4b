#include "benchmarks/engine/plain_leveldb.h"

#include <leveldb/db.h>

#include <atomic>
#include <cstring>

#include "benchmarks/engine/harness.h"

namespace ev::bench {
namespace {

class PlainLevelDb final : public Tier {
 public:
  PlainLevelDb(const std::string& path, size_t row_bytes) : row_bytes_(row_bytes) {
    leveldb::Options options;
    options.create_if_missing = true;
    leveldb::DB* db = nullptr;
    const leveldb::Status status = leveldb::DB::Open(options, path, &db);
    if (!status.ok()) Fail(status.ToString());
    db_.reset(db);
  }
  const char* name() const override { return "plain"; }
  size_t row_bytes() const override { return row_bytes_; }
  Status Get(Span<const Key> keys, Span<const Position> /*positions*/, Span<std::byte> rows) override {
    std::string row;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!db_->Get(leveldb::ReadOptions(), Bytes(keys[i]), &row).ok()) return NotFound("a row");
      std::memcpy(rows.data() + i * row_bytes_, row.data(), row_bytes_);
    }
    return OkStatus();
  }
  Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override {
    for (size_t i = 0; i < keys.size(); ++i) {
      const leveldb::Slice row(reinterpret_cast<const char*>(rows.data()) + i * row_bytes_, row_bytes_);
      if (!db_->Put(leveldb::WriteOptions(), Bytes(keys[i]), row).ok()) return IoError("a row");
      positions[i] = next_.fetch_add(1, std::memory_order_relaxed) % kMaxPosition;  // tells the store of a newer row
    }
    size_.fetch_add(keys.size(), std::memory_order_relaxed);
    return OkStatus();
  }
  void Remove(Span<const Key> keys, Span<const Position> /*positions*/) override {
    size_.fetch_sub(keys.size(), std::memory_order_relaxed);
  }
  Status Flush() override { return OkStatus(); }
  size_t size() const override { return size_.load(std::memory_order_relaxed); }
  size_t bytes() const override { return 0; }

 private:
  static leveldb::Slice Bytes(const Key& key) { return {reinterpret_cast<const char*>(&key), sizeof(key)}; }

  const size_t row_bytes_;
  std::unique_ptr<leveldb::DB> db_;
  std::atomic<Position> next_{0};
  std::atomic<size_t> size_{0};
};

}  // namespace

std::unique_ptr<Tier> OpenPlainLevelDb(const std::string& path, size_t row_bytes) {
  return std::make_unique<PlainLevelDb>(path, row_bytes);
}

}  // namespace ev::bench
