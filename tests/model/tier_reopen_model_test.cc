// Random work on tiers whose rows outlive them, closed and opened again at random: the rows are those of a dictionary.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/support/fault_env.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/ssd_log_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#if EV_TEST_HAVE_LEVELDB
#include "ev_tf/tier/leveldb/leveldb_tier.h"
#endif

namespace ev {
namespace {

constexpr Key kKeys = 80;

std::vector<Key> DrawKeys(test::Random* random) {
  std::vector<Key> keys;
  for (Key key = 0; key < kKeys; ++key) {
    if (random->OneIn(6)) keys.push_back(key - kKeys / 2);
  }
  return keys;
}

// A removal need not last (ssd_log_tier.h): a removed key is absent, or has a row that it once had.
TEST(TierReopenModel, SsdLog) {
  for (uint64_t run = 0; run < 4; ++run) {
    SCOPED_TRACE(::testing::Message() << "run " << run << ", EV_SEED=" << test::Seed());
    test::Random random(run);
    testing::FaultEnv env(run + 1);
    env.direct_allowed = run % 2 == 0;
    SsdLogOptions options;
    options.path = "disk";
    options.row_bytes = run < 2 ? 40 : 600;
    options.segment_bytes = 16 << 10;
    options.env = &env;
    options.existing = SsdExisting::kRecover;
    options.async_compaction = run == 3;
    testing::LogTable table(options);
    EV_ASSERT_OK(table.Open());
    std::unordered_map<Key, uint64_t> model;
    std::unordered_map<Key, uint64_t> removed;  // the version that it had last
    const auto check = [&] {
      std::unordered_map<Key, uint64_t> found;
      EV_ASSERT_OK(table.ReadAll(&found));
      for (const auto& [key, version] : model) {
        ASSERT_EQ(found.count(key), 1u) << key;
        ASSERT_EQ(found[key], version) << key;
        found.erase(key);
      }
      for (const auto& [key, version] : found) {
        ASSERT_EQ(removed.count(key), 1u) << key << " was never put";
        ASSERT_LE(version, removed[key]) << key;
        model[key] = version;  // it is back, and stays
      }
    };
    const int steps = test::Rounds(600, 4);
    for (int step = 1; step <= steps && !HasFatalFailure(); ++step) {
      const auto version = static_cast<uint64_t>(step);
      const std::vector<Key> keys = DrawKeys(&random);
      switch (random.Below(8)) {
        case 0:
          for (const Key key : keys) {
            const auto it = model.find(key);
            if (it == model.end()) continue;
            removed[key] = std::max(removed[key], it->second);
            table.Remove(key);
            model.erase(it);
          }
          break;
        case 1: EV_ASSERT_OK(table->Flush()); break;
        case 2: EV_ASSERT_OK(table->Settle()); break;
        case 3:
          table.Close();
          table.index().Clear();
          EV_ASSERT_OK(table.Open());
          check();
          break;
        default:
          EV_ASSERT_OK(table.Put(keys, version));
          for (const Key key : keys) model[key] = version;
      }
      if (random.OneIn(10)) check();
    }
  }
}

#if EV_TEST_HAVE_LEVELDB
TEST(TierReopenModel, LevelDb) {
  const test::TempDir dir;
  test::Random random(9);
  LevelDbOptions options;
  options.path = dir / "table";
  options.row_bytes = 48;
  options.tuning.write_buffer_bytes = 64 << 10;
  std::unique_ptr<LevelDbTier> tier;
  EV_ASSERT_OK(LevelDbTier::Open(options, &tier));
  using Rows = std::map<std::pair<Key, Position>, std::vector<std::byte>>;
  Rows model;
  Rows removed;  // since the last flush: they may be back
  const auto scan = [&] {
    Rows found;
    EXPECT_TRUE(tier->Scan([&](Key key, Position position, Span<const std::byte> row) {
                      found[{key, position}].assign(row.begin(), row.end());
                    })
                    .ok());
    return found;
  };
  const int steps = test::Rounds(400, 4);
  for (int step = 1; step <= steps; ++step) {
    switch (random.Below(6)) {
      case 0: {
        tier.reset();
        EV_ASSERT_OK(LevelDbTier::Open(options, &tier));
        Rows found = scan();
        for (const auto& [where, row] : model) {
          ASSERT_EQ(found.count(where), 1u) << "step " << step;
          ASSERT_EQ(found[where], row) << "step " << step;
        }
        for (const auto& [where, row] : found) {
          if (model.count(where) != 0) continue;
          ASSERT_EQ(removed.count(where), 1u) << "step " << step << ": was never put, or was flushed away";
          ASSERT_EQ(removed[where], row) << "step " << step;
        }
        model = std::move(found);
        removed.clear();
        break;
      }
      case 1:
        EV_ASSERT_OK(tier->Flush());
        removed.clear();
        break;
      case 2:
        for (auto it = model.begin(); it != model.end();) {
          if (random.OneIn(2)) {
            tier->Remove({&it->first.first, 1}, {&it->first.second, 1});
            removed[it->first] = it->second;
            it = model.erase(it);
          } else {
            ++it;
          }
        }
        break;
      default: {
        const std::vector<Key> keys = DrawKeys(&random);
        std::vector<std::byte> rows(keys.size() * options.row_bytes);
        std::vector<Position> positions(keys.size());
        for (size_t i = 0; i < keys.size(); ++i) {
          testing::FillRow(keys[i], static_cast<uint64_t>(step),
                           {rows.data() + i * options.row_bytes, options.row_bytes});
        }
        EV_ASSERT_OK(tier->Put(keys, rows, positions));
        for (size_t i = 0; i < keys.size(); ++i) {
          const auto [it, fresh] = model.try_emplace({keys[i], positions[i]}, rows.data() + i * options.row_bytes,
                                                     rows.data() + (i + 1) * options.row_bytes);
          ASSERT_TRUE(fresh) << "a position in use was given again";
        }
      }
    }
    ASSERT_EQ(tier->size(), model.size()) << "step " << step;
    if (!random.OneIn(8)) continue;
    ASSERT_EQ(scan(), model) << "step " << step;
  }
}
#endif

}  // namespace
}  // namespace ev
