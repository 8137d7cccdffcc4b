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
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kFormatBytes = sizeof(kMagic) + 2 * sizeof(uint32_t);
inline constexpr size_t kRowKeyBytes = sizeof(Key) + sizeof(Position);
static_assert(kFormatBytes == 16);
static_assert(kRowKeyBytes == 12 && kRowKeyBytes != kFormatKeyBytes);

inline constexpr uint64_t kSignBit = uint64_t{1} << 63;

inline void EncodeBigEndian(uint64_t value, size_t bytes, char* out) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
}
inline uint64_t DecodeBigEndian(const char* in, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<uint8_t>(in[i]);
  return value;
}
inline void EncodeLittleEndian32(uint32_t value, char* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}
inline uint32_t DecodeLittleEndian32(const char* in) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(in[i]);
  return value;
}

inline void EncodeRowKey(Key key, Position position, char* out) {
  EncodeBigEndian(static_cast<uint64_t>(key) ^ kSignBit, sizeof(Key), out);
  EncodeBigEndian(position, sizeof(Position), out + sizeof(Key));
}
inline Key DecodeKey(const char* row_key) { return static_cast<Key>(DecodeBigEndian(row_key, sizeof(Key)) ^ kSignBit); }
inline Position DecodePosition(const char* row_key) {
  return static_cast<Position>(DecodeBigEndian(row_key + sizeof(Key), sizeof(Position)));
}

}  // namespace ev::leveldb_format
