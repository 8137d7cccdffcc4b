#include "ev_tf/batch/partition.h"

#include <algorithm>

namespace ev {
namespace {

// Below this a second thread costs more than it saves.
constexpr size_t kKeysPerPart = 8192;

}  // namespace

void Partition::Build(Span<const Key> keys, Executor& executor) {
  const size_t n = keys.size();
  if (entries_.size() < n) {
    entries_.resize(n);
    tops_.resize(n);
  }
  const int parts =
      static_cast<int>(std::clamp<size_t>(n / kKeysPerPart, 1, static_cast<size_t>(executor.parallelism())));
  const auto part_start = [&](int part) { return n * static_cast<size_t>(part) / static_cast<size_t>(parts); };

  // next[part][stripe]: first how many keys, then where the next one goes.
  std::vector<std::array<size_t, kStripes>> next(static_cast<size_t>(parts));
  executor.Run(parts, [&](int part) {
    std::array<size_t, kStripes> counts{};
    const size_t end = part_start(part + 1);
    for (size_t i = part_start(part); i < end; ++i) {
      tops_[i] = TopOf(HashKey(keys[i]));
      ++counts[static_cast<size_t>(StripeOfTop(tops_[i]))];
    }
    next[part] = counts;
  });
  size_t total = 0;
  for (int stripe = 0; stripe < kStripes; ++stripe) {
    starts_[stripe] = total;
    for (auto& part : next) {
      const size_t count = part[stripe];
      part[stripe] = total;
      total += count;
    }
  }
  starts_[kStripes] = total;
  executor.Run(parts, [&](int part) {
    std::array<size_t, kStripes> at = next[part];
    KeyAt* entries = entries_.data();
    const size_t end = part_start(part + 1);
    for (size_t i = part_start(part); i < end; ++i) {
      entries[at[static_cast<size_t>(StripeOfTop(tops_[i]))]++] = {keys[i], static_cast<uint32_t>(i), tops_[i]};
    }
  });
}

}  // namespace ev
