// The ceilings: what a loop that already knows where each row stands can do on the same memory, and the tables to compare.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/engine/harness.h"
#include "benchmarks/engine/ids.h"
#include "ev_tf/base/executor.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev::bench {

inline constexpr size_t kLineFloats = 16;
inline constexpr size_t kAhead = 16;  // rows; the best of 4, 8, 16 and 32 on the machines tried

// Float j of the value of row `row`: what the fill writes and the check expects.
inline float ValueOf(uint64_t row, size_t j) { return static_cast<float>((row + 7 * j) % 1048573); }

using Line = float __attribute__((vector_size(64), aligned(4)));  // one load or store

template <size_t kFloats>
inline void PrefetchRow(const float* row, int write) {
  for (size_t f = 0; f < kFloats; f += kLineFloats) {
    if (write) {
      __builtin_prefetch(row + f, 1, 3);
    } else {
      __builtin_prefetch(row + f, 0, 3);
    }
  }
}

// out[i] = rows[at[i]], rows of kFloats floats.
template <size_t kFloats>
void GatherKnown(const float* rows, const uint32_t* at, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    PrefetchRow<kFloats>(rows + at[i + kAhead < n ? i + kAhead : i] * kFloats, 0);
    const float* from = rows + at[i] * kFloats;
    float* to = out + i * kFloats;
    for (size_t f = 0; f < kFloats; f += kLineFloats) {
      *reinterpret_cast<Line*>(to + f) = *reinterpret_cast<const Line*>(from + f);
    }
  }
}

// rows[at[i]] += grads[i], each part of the row (value and slots, `parts` of kDim floats each): what an update must move.
template <size_t kDim>
void UpdateKnown(float* rows, int64_t parts, const uint32_t* at, size_t n, const float* grads) {
  const size_t floats = kDim * static_cast<size_t>(parts);
  for (size_t i = 0; i < n; ++i) {
    const float* next = rows + at[i + kAhead < n ? i + kAhead : i] * floats;
    for (size_t f = 0; f < floats; f += kLineFloats) __builtin_prefetch(next + f, 1, 3);
    float* row = rows + at[i] * floats;
    const float* grad = grads + i * kDim;
    for (int64_t part = 0; part < parts; ++part) {
      for (size_t f = 0; f < kDim; f += kLineFloats) {
        *reinterpret_cast<Line*>(row + part * kDim + f) += *reinterpret_cast<const Line*>(grad + f);
      }
    }
  }
}

// Splits [0, n) over the threads of `executor`, as evenly as it goes, and runs body(first, count) on each.
template <typename Body>
void InParallel(Executor& executor, size_t n, const Body& body) {
  const auto tasks = static_cast<size_t>(executor.parallelism());
  executor.Run(static_cast<int>(tasks), [&](int t) {
    const size_t first = n * static_cast<size_t>(t) / tasks;
    body(first, n * static_cast<size_t>(t + 1) / tasks - first);
  });
}

// A variable with rows 0 to `rows` - 1 under KeyOfRow, values ValueOf, inserted in 65,536s without any hint of their number.
inline std::unique_ptr<EmbeddingVariable> FilledVariable(uint64_t rows, int64_t dim, Span<const SlotSpec> slots) {
  const std::vector<float> defaults(static_cast<size_t>(dim), 0.5f);
  VariableOptions options;
  options.name = "bench";
  options.dim = dim;
  std::unique_ptr<EmbeddingVariable> variable;
  Check(EmbeddingVariable::Create(options, defaults, &variable));
  const auto width = static_cast<size_t>(dim);
  std::vector<Key> keys;
  std::vector<float> values;
  size_t slot_floats = 0;
  for (const SlotSpec& slot : slots) slot_floats += static_cast<size_t>(slot.dim);
  std::vector<float> slot_values(kBatch * slot_floats, 0.1f);
  for (uint64_t row = 0; row < rows; row += keys.size()) {
    keys.resize(std::min<uint64_t>(kBatch, rows - row));
    values.resize(keys.size() * width);
    for (size_t i = 0; i < keys.size(); ++i) {
      keys[i] = KeyOfRow(row + i);
      for (size_t j = 0; j < width; ++j) values[i * width + j] = ValueOf(row + i, j);
    }
    EmbeddingVariable::ConstRowBatch batch;
    batch.values = values;
    batch.slots = Span<const float>(slot_values.data(), keys.size() * slot_floats);
    Check(variable->WriteRows(keys, slots, batch));
  }
  if (variable->size() != static_cast<int64_t>(rows)) Fail("the fill lost rows");
  return variable;
}

}  // namespace ev::bench
