// How the keys of a table stand in its file: by bucket, FloorMod(key, 1000), in blocks of about one size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/checkpoint/format.h"

namespace ev::checkpoint {

inline int BucketOf(Key key) { return static_cast<int>(FloorMod(key, kBuckets)); }

// One of `count` parts of a table: the keys with BucketOf(key) % count == index.
struct Part {
  int64_t index = 0;
  int64_t count = 1;

  bool Has(Key key) const { return BucketOf(key) % count == index; }
  // Whether a key of this part may be in the block.
  bool Touches(const BlockEntry& block) const {
    return block.first_bucket + FloorMod(index - block.first_bucket, count) <= block.last_bucket;
  }
  // InvalidArgument unless 0 <= index < count <= kBuckets.  `name` begins the message.
  Status Check(const std::string& name) const;
};

inline Key KeyOf(Key key) { return key; }
inline Key KeyOf(const FilteredEntry& entry) { return entry.key; }

// Where those of bucket b begin once `items` are sorted by the bucket of their KeyOf, for each b; their number at [kBuckets].
template <typename Items>
std::vector<size_t> BucketStarts(const Items& items) {
  std::vector<size_t> starts(kBuckets + 1, 0);
  for (const auto& item : items) ++starts[static_cast<size_t>(BucketOf(KeyOf(item))) + 1];
  for (size_t b = 0; b < kBuckets; ++b) starts[b + 1] += starts[b];
  return starts;
}

// Sorts them so: put(i, place) for each of `items`, in their order.  Returns their BucketStarts.
template <typename Items, typename Put>
std::vector<size_t> PlaceByBucket(const Items& items, const Put& put) {
  std::vector<size_t> starts = BucketStarts(items);
  std::vector<size_t> next(starts.begin(), starts.end() - 1);
  for (size_t i = 0; i < items.size(); ++i) put(i, next[static_cast<size_t>(BucketOf(KeyOf(items[i])))]++);
  return starts;
}

// *sorted = `items` so sorted.  Returns their BucketStarts.
template <typename T>
std::vector<size_t> SortByBucket(const std::vector<T>& items, std::vector<T>* sorted) {
  sorted->resize(items.size());
  return PlaceByBucket(items, [&](size_t i, size_t place) { (*sorted)[place] = items[i]; });
}

// Sorted keys that become one block.
struct BlockRange {
  size_t first;
  size_t n;
  int first_bucket;
  int last_bucket;
};

// Blocks for keys sorted by bucket, whose rows take `row_bytes` each in the file.
std::vector<BlockRange> CutIntoBlocks(const std::vector<size_t>& starts, size_t row_bytes);

}  // namespace ev::checkpoint
