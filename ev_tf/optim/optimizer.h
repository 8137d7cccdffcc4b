// The arithmetic of one optimizer on one row.
//
// An UpdateRule is an optimizer with the hyperparameters of one step.  Each optimizer has a header of its own
// (sgd.h, momentum.h, adagrad.h, adam.h, adamw.h, ftrl.h) that makes its rule; the rule's kernel exists as plain C++
// and as AVX2 / AVX-512 twins chosen once at run time (base/cpu.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ev {

inline constexpr int kMaxSlots = 4;  // slots one rule may use
inline constexpr int kMaxHyper = 8;  // hyperparameters one rule may use

using Hyper = std::array<float, kMaxHyper>;

// Updates one row in place.  `value` and `grad` are `dim` floats; slot[i] is the i-th slot the rule asked for, in the
// order of the optimizer's header.  `grad` is already summed over the duplicates of the key.
using UpdateRowFn = void (*)(const Hyper& hyper, int64_t dim, const float* grad, float* value, float* const* slot);

struct UpdateRule {
  const char* name = nullptr;  // "adagrad"
  UpdateRowFn update = nullptr;
  int slots = 0;  // how many slots `update` takes
  Hyper hyper{};
};

}  // namespace ev
