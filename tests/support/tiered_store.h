// A Store over one tier below, of each kind, with rows whose floats all say one number.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ev_tf/store/store.h"
#include "ev_tf/tier/ssd_log/ssd_log_tier.h"
#include "ev_tf/tier/tier_factory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ev::test {

struct LowerKind {
  std::string name;
  TierKind kind = TierKind::kDram;
  bool async_compaction = false;
};

class TieredStore {
 public:
  static constexpr int64_t kDim = 6;
  static constexpr float kNone = -12345;          // what a key without a row says
  static constexpr size_t kGroupsPerSegment = 1;  // of a log: a few rows, so that segments come and go

  // missing: why there is no such tier here, else empty.
  explicit TieredStore(const LowerKind& kind, CacheStrategy strategy = CacheStrategy::kLru) : kind_(kind) {
    StoreOptions options;
    options.hot_bytes = 1 << 20;
    options.cache_strategy = strategy;
    options.open_lower = [this](size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
      return OpenLower(record_bytes, relocator, out);
    };
    store_ = std::make_unique<Store>(options, RowLayout(kDim), &defaults_);
    const Status opened = store_->Open();
    if (opened.code() == StatusCode::kUnavailable) {
      missing_ = opened.message();
    } else {
      EV_EXPECT_OK(opened);
    }
  }

  Store& store() { return *store_; }
  const std::string& missing() const { return missing_; }
  // The newest of the tiers below that were opened.
  Tier* lower() { return lower_; }
  void Destroy() { store_.reset(); }

  // The row of `key` becomes what it was, or 0 if there was none, plus `delta`.
  Status Add(Key key, float delta) {
    const Span<const Key> keys(&key, 1);
    const EpochGuard guard(store_->epochs());
    ColdRows cold;
    store_->FindCold(keys, &cold);
    EV_RETURN_IF_ERROR(store_->Fetch(&cold));
    std::lock_guard<std::mutex> lock(store_->stripes().of(StripeOf(HashKey(key))));
    RowRefs refs;
    size_t inserted = 0;
    EV_RETURN_IF_ERROR(store_->FindOrInsert(keys, cold, store_->NextTick(), &refs, &inserted));
    const float now = inserted != 0 ? 0.0f : refs.rows[0][0];
    std::fill_n(refs.rows[0], kDim, now + delta);
    return OkStatus();
  }

  // As a lookup does: what the row of `key` says, and it comes up.  The gtest failures are of the calling test.
  float Look(Key key) {
    const Span<const Key> keys(&key, 1);
    float row[kDim];
    int64_t missing = 0;
    {
      const EpochGuard guard(store_->epochs());
      ColdRows cold;
      const uint32_t tick = store_->NextTick();
      EV_EXPECT_OK(store_->Gather(keys, tick, row, &missing, &cold));
      if (!cold.empty()) EV_EXPECT_OK(store_->Promote(cold, 1, tick));
    }
    return missing != 0 ? kNone : Said(row);
  }

  // What the row says, read under its lock; nothing moves.
  float Read(Key key) {
    const Span<const Key> keys(&key, 1);
    const EpochGuard guard(store_->epochs());
    ColdRows cold;
    store_->FindCold(keys, &cold);
    EV_EXPECT_OK(store_->Fetch(&cold));
    std::lock_guard<std::mutex> lock(store_->stripes().of(StripeOf(HashKey(key))));
    RowRefs refs;
    EV_EXPECT_OK(store_->Read(keys, cold, &refs));
    return refs.rows[0] == nullptr ? kNone : Said(refs.rows[0]);
  }

  size_t Remove(Key key) {
    const EpochGuard guard(store_->epochs());
    std::lock_guard<std::mutex> lock(store_->stripes().of(StripeOf(HashKey(key))));
    return store_->Remove(Span<const Key>(&key, 1));
  }

  // Everything goes down that can.
  Status Down() { return store_->Demote(0); }

  // 0: hot, 1: below, -1: nowhere.
  int WhereIs(Key key) {
    int32_t tier = 0;
    const EpochGuard guard(store_->epochs());
    store_->FindTiers(Span<const Key>(&key, 1), &tier);
    return tier;
  }

  // Rows and copies that the tier below keeps, once all that wait for their readers have gone.
  size_t RowsBelow() {
    store_->epochs().Collect();
    return lower_->size();
  }

  // Where the row of `key` was put last, by a demotion.
  Position PutAt(Key key) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = put_at_.find(key);
    return it == put_at_.end() ? kNoLocation : it->second;
  }

 private:
  // Remembers where rows are put.
  class Spy final : public Tier {
   public:
    Spy(std::unique_ptr<Tier> tier, TieredStore* owner) : tier_(std::move(tier)), owner_(owner) {}
    const char* name() const override { return tier_->name(); }
    size_t row_bytes() const override { return tier_->row_bytes(); }
    Status Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) override {
      return tier_->Get(keys, positions, rows);
    }
    Status Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) override {
      EV_RETURN_IF_ERROR(tier_->Put(keys, rows, positions));
      std::lock_guard<std::mutex> lock(owner_->mu_);
      for (size_t i = 0; i < keys.size(); ++i) owner_->put_at_[keys[i]] = positions[i];
      return OkStatus();
    }
    void Remove(Span<const Key> keys, Span<const Position> positions) override { tier_->Remove(keys, positions); }
    Status Flush() override { return tier_->Flush(); }
    size_t size() const override { return tier_->size(); }
    size_t bytes() const override { return tier_->bytes(); }

   private:
    const std::unique_ptr<Tier> tier_;
    TieredStore* const owner_;
  };

  static float Said(const float* row) {
    for (int64_t d = 1; d < kDim; ++d) EXPECT_EQ(row[d], row[0]) << "a row of two moments";
    return row[0];
  }

  Status OpenLower(size_t record_bytes, Relocator* relocator, std::shared_ptr<Tier>* out) {
    const std::string path = dir_ / ("lower" + std::to_string(opened_++));
    std::unique_ptr<Tier> tier;
    if (kind_.kind == TierKind::kSsdLog) {
      SsdLogOptions options;
      options.path = path;
      options.row_bytes = record_bytes;
      options.segment_bytes = ssd_log::kHeaderBytes + kGroupsPerSegment * 4096;
      options.io_mode = SsdIoMode::kBuffered;
      options.durable = false;
      options.async_compaction = kind_.async_compaction;
      options.relocator = relocator;
      std::unique_ptr<SsdLogTier> log;
      EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &log));
      tier = std::move(log);
    } else {
      if (kind_.kind == TierKind::kPmemLibpmem) std::filesystem::create_directory(path);
      TierOptions options;
      options.kind = kind_.kind;
      options.row_bytes = record_bytes;
      options.path = path;
      options.relocator = relocator;
      EV_RETURN_IF_ERROR(OpenTier(options, &tier));
    }
    *out = std::make_shared<Spy>(std::move(tier), this);
    lower_ = out->get();
    return OkStatus();
  }

  const LowerKind kind_;
  TempDir dir_;
  const std::vector<float> default_rows_ = std::vector<float>(kDim, 0.5f);
  const DefaultRows defaults_{default_rows_, kDim};
  int opened_ = 0;
  std::string missing_;
  std::mutex mu_;
  std::map<Key, Position> put_at_;  // guarded by mu_
  Tier* lower_ = nullptr;
  std::unique_ptr<Store> store_;  // before what it uses goes
};

// Runs `body` on a thread of its own, and returns when it is done: for what a test does where a thread holds a guard.
inline void Elsewhere(const std::function<void()>& body) { std::thread(body).join(); }

}  // namespace ev::test
