#include "ev_tf/base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace ev {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

// tables[k][b]: the effect of byte b with k bytes behind it, so that eight bytes go in one step.
struct Tables {
  std::array<std::array<uint32_t, 256>, 8> t{};
  constexpr Tables() {
    for (uint32_t b = 0; b < 256; ++b) {
      uint32_t crc = b;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
      t[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; ++b) {
      for (size_t k = 1; k < 8; ++k) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xff];
    }
  }
};
constexpr Tables kTables;

#if defined(__x86_64__)
// The instruction takes a word a cycle, but gives its result three cycles later: three runs of this many bytes go side by side.
constexpr size_t kLaneBytes = 1024;

// What kLaneBytes zeros behind them make of a state, by its bytes: the states of all of them, combined by exclusive or.
class LaneShift {
 public:
  LaneShift() {
    std::array<uint32_t, 32> of_bit{};
    for (int bit = 0; bit < 32; ++bit) {
      uint32_t state = uint32_t{1} << bit;
      for (size_t i = 0; i < kLaneBytes; ++i) state = (state >> 8) ^ kTables.t[0][state & 0xff];
      of_bit[static_cast<size_t>(bit)] = state;
    }
    for (size_t byte = 0; byte < 4; ++byte) {
      for (size_t value = 0; value < 256; ++value) {
        for (size_t bit = 0; bit < 8; ++bit) {
          if ((value >> bit & 1) != 0) t_[byte][value] ^= of_bit[byte * 8 + bit];
        }
      }
    }
  }
  uint32_t operator()(uint32_t state) const {
    return t_[0][state & 0xff] ^ t_[1][(state >> 8) & 0xff] ^ t_[2][(state >> 16) & 0xff] ^ t_[3][state >> 24];
  }

 private:
  std::array<std::array<uint32_t, 256>, 4> t_{};
};

uint64_t WordAt(const unsigned char* p) {
  uint64_t word = 0;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

__attribute__((target("sse4.2"))) uint32_t Crc32cSse42(const void* data, size_t n, uint32_t crc) {
  static const LaneShift shift;
  const auto* p = static_cast<const unsigned char*>(data);
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; n >= 3 * kLaneBytes; n -= 3 * kLaneBytes, p += 3 * kLaneBytes) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kLaneBytes; i += 8) {
      state = _mm_crc32_u64(state, WordAt(p + i));
      second = _mm_crc32_u64(second, WordAt(p + kLaneBytes + i));
      third = _mm_crc32_u64(third, WordAt(p + 2 * kLaneBytes + i));
    }
    state = shift(shift(static_cast<uint32_t>(state)) ^ static_cast<uint32_t>(second)) ^ third;
  }
  for (; n >= 8; n -= 8, p += 8) state = _mm_crc32_u64(state, WordAt(p));
  auto narrow = static_cast<uint32_t>(state);
  for (; n > 0; --n, ++p) narrow = _mm_crc32_u8(narrow, *p);
  return ~narrow;
}
#endif

using Function = uint32_t (*)(const void*, size_t, uint32_t);

Function Choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2")) return Crc32cSse42;
#endif
  return Crc32cPlain;
}

}  // namespace

uint32_t Crc32cPlain(const void* data, size_t n, uint32_t crc) {
  const auto* p = static_cast<const unsigned char*>(data);
  const auto& t = kTables.t;
  uint32_t state = ~crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint32_t low = 0;
    std::memcpy(&low, p, 4);
    low ^= state;
    state = t[7][low & 0xff] ^ t[6][(low >> 8) & 0xff] ^ t[5][(low >> 16) & 0xff] ^ t[4][low >> 24] ^ t[3][p[4]] ^
            t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
  }
  for (; n > 0; --n, ++p) state = (state >> 8) ^ t[0][(state ^ *p) & 0xff];
  return ~state;
}

uint32_t Crc32c(const void* data, size_t n, uint32_t crc) {
  static const Function function = Choose();
  return function(data, n, crc);
}

}  // namespace ev
