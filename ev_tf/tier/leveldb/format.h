// The constants and codings of FORMAT.md.  Values are never renumbered.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ev_tf/base/key.h"
#include "ev_tf/index/location.h"

namespace ev::leveldb_format {

inline constexpr char kFormatKey[] = {'\0'};
inline constexpr size_t kFormatKeyBytes = sizeof(kFormatKey);
inline constexpr char kMagic[] = {'e', 'v', '_', 'l', 'd', 'b', 't', '\0'};
inline constexpr uint32_t kVersion = 2;
inline constexpr size_t kFormatBytes = sizeof(kMagic) + 2 * sizeof(uint32_t);
inline constexpr size_t kRowKeyBytes = sizeof(Position);
inline constexpr size_t kKeyBytes = sizeof(Key);  // at the start of a value, before the row
static_assert(kFormatBytes == 16);
static_assert(kRowKeyBytes == 4 && kRowKeyBytes != kFormatKeyBytes);

inline void EncodeLittleEndian(uint64_t value, size_t bytes, char* out) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(value >> (8 * i));
}
inline uint64_t DecodeLittleEndian(const char* in, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i > 0; --i) value = value << 8 | static_cast<uint8_t>(in[i - 1]);
  return value;
}
inline void EncodeLittleEndian32(uint32_t value, char* out) { EncodeLittleEndian(value, sizeof(value), out); }
inline uint32_t DecodeLittleEndian32(const char* in) {
  return static_cast<uint32_t>(DecodeLittleEndian(in, sizeof(uint32_t)));
}

// Big-endian: the order of the bytes is that of the numbers.
inline void EncodePosition(Position position, char* row_key) {
  for (size_t i = 0; i < kRowKeyBytes; ++i) row_key[i] = static_cast<char>(position >> (8 * (kRowKeyBytes - 1 - i)));
}
inline Position DecodePosition(const char* row_key) {
  Position position = 0;
  for (size_t i = 0; i < kRowKeyBytes; ++i) position = position << 8 | static_cast<uint8_t>(row_key[i]);
  return position;
}

inline void EncodeKey(Key key, char* value) { EncodeLittleEndian(static_cast<uint64_t>(key), kKeyBytes, value); }
inline Key DecodeKey(const char* value) { return static_cast<Key>(DecodeLittleEndian(value, kKeyBytes)); }

}  // namespace ev::leveldb_format
