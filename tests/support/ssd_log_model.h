// A log with an index over it: what a store does with a tier, for one thread, and nothing else.
#pragma once

#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "tests/support/map_index.h"
#include "tests/support/rows.h"

namespace ev::testing {

class LogTable {
 public:
  explicit LogTable(SsdLogOptions options) : options_(std::move(options)) { options_.relocator = &index_; }

  Status Open() {
    tier_.reset();
    if (options_.existing == SsdExisting::kRecover) {
      options_.visitor = [this](Key key, Position position) {
        Position old = 0;
        return !index_.Set(key, position, &old);
      };
    }
    return SsdLogTier::Open(options_, &tier_);
  }
  Status Put(const std::vector<Key>& keys, uint64_t version) {
    std::vector<std::byte> rows(keys.size() * options_.row_bytes);
    for (size_t i = 0; i < keys.size(); ++i)
      FillRow(keys[i], version, {rows.data() + i * options_.row_bytes, options_.row_bytes});
    std::vector<Position> positions(keys.size());
    EV_RETURN_IF_ERROR(tier_->Put(keys, rows, positions));
    for (size_t i = 0; i < keys.size(); ++i) {
      Position old = 0;
      if (index_.Set(keys[i], positions[i], &old)) tier_->Remove({&keys[i], 1}, {&old, 1});
    }
    return OkStatus();
  }
  void Remove(Key key) {
    Position old = 0;
    if (index_.Erase(key, &old)) tier_->Remove({&key, 1}, {&old, 1});
  }
  // Rows of all keys, each checked to be whole: key -> version.
  Status ReadAll(std::unordered_map<Key, uint64_t>* versions) {
    const std::vector<Key> keys = index_.Keys();
    std::vector<Position> positions(keys.size());
    std::vector<std::byte> rows(keys.size() * options_.row_bytes);
    Status status = NotFound("");
    for (int tries = 0; tries < 100 && status.code() == StatusCode::kNotFound;
         ++tries) {  // moved meanwhile: look again
      for (size_t i = 0; i < keys.size(); ++i) index_.Find(keys[i], &positions[i]);
      status = tier_->Get(keys, positions, rows);
    }
    EV_RETURN_IF_ERROR(status);
    for (size_t i = 0; i < keys.size(); ++i) {
      bool whole = false;
      (*versions)[keys[i]] = VersionOf(keys[i], {rows.data() + i * options_.row_bytes, options_.row_bytes}, &whole);
      if (!whole) return Corruption("row of key " + std::to_string(keys[i]) + " is not whole");
    }
    return OkStatus();
  }
  SsdLogTier* operator->() { return tier_.get(); }
  void Close() { tier_.reset(); }
  MapIndex& index() { return index_; }

 private:
  SsdLogOptions options_;
  MapIndex index_;
  std::unique_ptr<SsdLogTier> tier_;
};

}  // namespace ev::testing
