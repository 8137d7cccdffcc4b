// ShrinkRule: which rows are not worth keeping: those that no step has updated for long, or whose weights came to nothing.
// What leaves by it leaves every tier, unlike what the eviction pool moves down.
#pragma once

#include <cstdint>

#include "ev_tf/row/row_layout.h"

namespace ev {

struct ShrinkRule {
  int64_t steps_to_live = 0;          // > 0: a row leaves at a step more than this after its version
  float l2_weight_threshold = -1.0f;  // > 0: a row leaves if half the sum of the squares of its value is below

  bool by_age() const { return steps_to_live > 0; }
  bool by_weight() const { return l2_weight_threshold > 0; }
  bool enabled() const { return by_age() || by_weight(); }
};

enum class Verdict : uint8_t {
  kStays,
  kLeaves,
  kStartsToAge,  // it has no version yet: the step of this look becomes it
};

// `value` is the row's, of dim floats, and is read by weight only; `meta` is read by age only.
Verdict Judge(const ShrinkRule& rule, const float* value, int64_t dim, const RowMeta* meta, int64_t step);

}  // namespace ev
