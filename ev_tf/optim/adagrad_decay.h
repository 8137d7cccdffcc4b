// Adagrad whose accumulator forgets, as DeepRec's AdagradDecay: once for each period of the training that has ended, the
// accumulator shrinks, but not below where it started.
//   if (periods > decays) { a = max(a * decay_rate, baseline);  decays += 1 }
//   a += grad^2;   value -= lr * grad / sqrt(a)
// A row shrinks when it is updated, by one period a time: a row that was away for three periods makes up for them in its
// next three updates.
// Slots: a; decays (one float a row), which counts the periods that the row has shrunk for, exactly up to 2^24.
#pragma once

#include "ev_tf/optim/optimizer.h"

namespace ev {

inline constexpr SlotWidths kAdagradDecaySlots = {2, {SlotWidth::kElement, SlotWidth::kRow}};

// periods: how many have ended before this step, step / steps of a period.
UpdateRule AdagradDecay(float lr, float decay_rate, float baseline, int64_t periods);

}  // namespace ev
