#include "ev_tf/checkpoint/buckets.h"

#include <algorithm>
#include <string>

namespace ev::checkpoint {
namespace {

// A block ends with its bucket once it has this many bytes, or with its row once it has the other many.
constexpr size_t kWantedBlockBytes = 128 << 10;
constexpr size_t kMaxBlockBytes = 1 << 20;

}  // namespace

Status Part::Check(const std::string& name) const {
  if (count >= 1 && count <= kBuckets && index >= 0 && index < count) return OkStatus();
  return InvalidArgument(name + ": partition: expected 0 <= partition < partitions <= " + std::to_string(kBuckets) +
                         ", found " + std::to_string(index) + " of " + std::to_string(count));
}

std::vector<BlockRange> CutIntoBlocks(const std::vector<size_t>& starts, size_t row_bytes) {
  const size_t wanted = std::max<size_t>(1, kWantedBlockBytes / row_bytes);
  const size_t most = std::max<size_t>(1, kMaxBlockBytes / row_bytes);
  std::vector<BlockRange> blocks;
  BlockRange block{0, 0, 0, 0};
  const auto close = [&] {
    if (block.n > 0) blocks.push_back(block);
    block = {block.first + block.n, 0, 0, 0};
  };
  for (int b = 0; b < kBuckets; ++b) {
    size_t left = starts[static_cast<size_t>(b) + 1] - starts[static_cast<size_t>(b)];
    while (left > 0) {
      if (block.n == 0) block.first_bucket = b;
      const size_t taken = std::min(left, most - block.n);
      block.n += taken;
      block.last_bucket = b;
      left -= taken;
      if (block.n == most) close();
    }
    if (block.n >= wanted) close();
  }
  close();
  return blocks;
}

}  // namespace ev::checkpoint
