// Location: where the row of a key is, in 32 bits: which tier, and which row of it.
#pragma once

#include <cstdint>

namespace ev {

using Location = uint32_t;
using Position = uint32_t;  // a row of one tier

inline constexpr int kPositionBits = 30;
inline constexpr int kMaxTiers = 4;
inline constexpr Position kMaxPosition = (Position{1} << kPositionBits) - 2;  // 2^30 - 1 rows a tier
inline constexpr Location kNoLocation = ~Location{0};                         // the key has no row

constexpr Location MakeLocation(int tier, Position position) {
  return (static_cast<Location>(tier) << kPositionBits) | position;
}
constexpr int TierOf(Location location) { return static_cast<int>(location >> kPositionBits); }
constexpr Position PositionOf(Location location) { return location & ((Location{1} << kPositionBits) - 1); }

}  // namespace ev
