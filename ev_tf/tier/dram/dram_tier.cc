#include "ev_tf/tier/dram/dram_tier.h"

#include <cstring>

namespace ev {

Status DramTier::Get(Span<const Key> keys, Span<const Position> positions, Span<std::byte> rows) {
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(rows.data() + i * row_bytes(), row(positions[i]), row_bytes());
  }
  return OkStatus();
}

Status DramTier::Put(Span<const Key> keys, Span<const std::byte> rows, Span<Position> positions) {
  EV_RETURN_IF_ERROR(pool_.Allocate(keys.size(), positions.data()));
  for (size_t i = 0; i < keys.size(); ++i) {
    std::memcpy(row(positions[i]), rows.data() + i * row_bytes(), row_bytes());
  }
  return OkStatus();
}

void DramTier::Remove(Span<const Key> /*keys*/, Span<const Position> positions) { pool_.Free(positions); }

}  // namespace ev
