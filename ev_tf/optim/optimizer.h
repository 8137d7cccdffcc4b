// The arithmetic of one optimizer on one row.
//
// An UpdateRule is an optimizer with the hyperparameters of one step.  Each optimizer has a header of its own
// (sgd.h, momentum.h, adagrad.h, adagrad_decay.h, adam.h, adamw.h, ftrl.h, rms_prop.h, row_wise_adagrad.h) that makes its
// rule and says which slots it keeps; the rule's kernel exists as plain C++ and as AVX2 / AVX-512 twins chosen once at
// run time (base/cpu.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ev {

inline constexpr int kMaxSlots = 4;  // slots one rule may use
inline constexpr int kMaxHyper = 8;  // hyperparameters one rule may use

using Hyper = std::array<float, kMaxHyper>;

// How many floats a slot has.
enum class SlotWidth : uint8_t {
  kElement,  // one for each element of the value: the variable's dim
  kRow,      // one for the whole row
};

// The slots a rule keeps in each row, in the order of its header.
struct SlotWidths {
  int count = 0;
  std::array<SlotWidth, kMaxSlots> width{};

  // Floats of slot i of a variable of `dim`.
  int64_t dim(int i, int64_t dim) const { return width[static_cast<size_t>(i)] == SlotWidth::kRow ? 1 : dim; }
};

// Updates one row in place.  `value` and `grad` are `dim` floats; slot[i] is the i-th slot the rule asked for, in the
// order of the optimizer's header.  `grad` is already summed over the duplicates of the key.
using UpdateRowFn = void (*)(const Hyper& hyper, int64_t dim, const float* grad, float* value, float* const* slot);

struct UpdateRule {
  const char* name = nullptr;  // "adagrad"
  UpdateRowFn update = nullptr;
  SlotWidths slots;  // what `update` takes
  Hyper hyper{};
};

}  // namespace ev
