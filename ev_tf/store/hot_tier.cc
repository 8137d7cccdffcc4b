#include "ev_tf/store/hot_tier.h"

#include <cstring>

namespace ev {

void HotTier::Pack(Position position, std::byte* record) const {
  std::memcpy(record, rows_.row(position), rows_.row_bytes());
  if (!rows_.pool().with_meta()) return;
  std::memset(record + rows_.row_bytes(), 0, kRowPartAlignment);
  std::memcpy(record + rows_.row_bytes(), rows_.meta(position), sizeof(RowMeta));
}

void HotTier::Unpack(const std::byte* record, Position position) const {
  std::memcpy(rows_.row(position), record, rows_.row_bytes());
  if (rows_.pool().with_meta()) std::memcpy(rows_.meta(position), record + rows_.row_bytes(), sizeof(RowMeta));
}

}  // namespace ev
