// Chains of saves of a test: their files, and whether they load as what the variable is.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/variable/checkpoint.h"
#include "tests/support/variable_support.h"

namespace ev::test {

inline std::unique_ptr<EmbeddingVariable> LoadFiles(const VariableOptions& options,
                                                    const std::vector<std::string>& paths, const LoadOptions& load = {},
                                                    Env* env = nullptr) {
  const auto executor = NewThreadPoolExecutor(2);
  std::unique_ptr<EmbeddingVariable> variable;
  EV_EXPECT_OK(LoadTable(options, paths, load, *executor, &variable, env));
  return variable;
}

// All that a save keeps of a variable.
struct State {
  std::vector<Key> keys;  // sorted
  StoredRows rows;
  std::map<Key, std::pair<uint32_t, uint32_t>> counts;  // frequency, version + 1
};

inline State StateOf(const EmbeddingVariable& variable) {
  State state;
  state.keys = variable.Keys();
  std::sort(state.keys.begin(), state.keys.end());
  state.rows = ReadRows(variable, state.keys);
  for (const FilteredKey& key : variable.FilteredKeys()) {
    state.counts[key.key] = {key.frequency, key.version_plus1};
  }
  return state;
}

inline void ExpectSame(const State& a, const State& b) {
  ASSERT_EQ(a.keys, b.keys);
  ASSERT_EQ(a.rows.values, b.rows.values);
  ASSERT_EQ(a.rows.slots, b.rows.slots);
  ASSERT_EQ(a.rows.frequencies, b.rows.frequencies);
  ASSERT_EQ(a.rows.versions, b.rows.versions);
  ASSERT_EQ(a.counts, b.counts);
}

}  // namespace ev::test
