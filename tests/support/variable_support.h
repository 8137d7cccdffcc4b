// Short ways to make and ask an EmbeddingVariable.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ev_tf/base/executor.h"
#include "ev_tf/variable/embedding_variable.h"
#include "tests/support/reference_rules.h"
#include "tests/support/status_matchers.h"

namespace ev::test {

// [rows, dim], every element another small number that float holds exactly.
inline std::vector<float> DefaultMatrix(int64_t rows, int64_t dim) {
  std::vector<float> matrix(static_cast<size_t>(rows * dim));
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<float>(i % 4096) / 1024 - 2;
  return matrix;
}

inline VariableOptions Options(int64_t dim, bool with_meta = false) {
  VariableOptions options;
  options.name = "table";
  options.dim = dim;
  options.record_frequency = options.record_version = with_meta;
  return options;
}

inline std::unique_ptr<EmbeddingVariable> NewVariable(const VariableOptions& options,
                                                      const std::vector<float>& defaults) {
  std::unique_ptr<EmbeddingVariable> variable;
  EV_EXPECT_OK(EmbeddingVariable::Create(options, defaults, &variable));
  return variable;
}

inline std::vector<float> Lookup(const EmbeddingVariable& variable, const std::vector<Key>& keys) {
  SerialExecutor executor;
  std::vector<float> rows(keys.size() * static_cast<size_t>(variable.dim()));
  EV_EXPECT_OK(variable.Lookup(keys, rows, executor));
  return rows;
}

inline void Apply(EmbeddingVariable* variable, const RuleCase& rule, const std::vector<Key>& keys,
                  const std::vector<float>& grads, int64_t global_step = -1) {
  SerialExecutor executor;
  EV_EXPECT_OK(variable->Apply(rule.rule, rule.Slots(variable->dim()), keys, grads, global_step, executor));
}

// SGD with a learning rate of 1.
inline void Descend(EmbeddingVariable* variable, const std::vector<Key>& keys, const std::vector<float>& grads) {
  SerialExecutor executor;
  EV_EXPECT_OK(variable->Apply(Sgd(1.0f), {}, keys, grads, -1, executor));
}

// After FlushEvictions().  A row that has left DRAM counts as there as long as somebody reads it, as compaction in the background
// may for a moment.
inline VariableMetrics MetricsAfterEvictions(EmbeddingVariable* variable) {
  VariableMetrics metrics;
  for (int i = 0; i < 1000; ++i) {
    EV_EXPECT_OK(variable->FlushEvictions());
    metrics = variable->metrics();
    if (metrics.hot_rows <= metrics.hot_capacity) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return metrics;
}

// What ReadRows tells of some keys; parts of missing keys are -9.
struct StoredRows {
  std::vector<bool> found;
  std::vector<float> values;
  std::vector<float> slots;
  std::vector<int64_t> frequencies;
  std::vector<int64_t> versions;
};

inline StoredRows ReadRows(const EmbeddingVariable& variable, const std::vector<Key>& keys) {
  const size_t n = keys.size();
  size_t slot_floats = 0;
  for (const SlotSpec& slot : variable.slots()) slot_floats += static_cast<size_t>(slot.dim);
  StoredRows rows;
  rows.values.assign(n * static_cast<size_t>(variable.dim()), -9.0f);
  rows.slots.assign(n * slot_floats, -9.0f);
  rows.frequencies.assign(n, -9);
  rows.versions.assign(n, -9);
  const auto found = std::make_unique<bool[]>(n + 1);
  EV_EXPECT_OK(variable.ReadRows(keys, {rows.values, rows.slots, rows.frequencies, rows.versions}, {found.get(), n}));
  rows.found.assign(found.get(), found.get() + n);
  return rows;
}

}  // namespace ev::test
