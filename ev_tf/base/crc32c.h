// CRC-32C (Castagnoli), the checksum of every byte that outlives the process.
//
// Hardware (SSE4.2) where the CPU has it, a table otherwise: the same value from both.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ev {

// The checksum of data[0, n), or, with `crc` the checksum of what came before, of both together.
uint32_t Crc32c(const void* data, size_t n, uint32_t crc = 0);

// The twin without special instructions.
uint32_t Crc32cPlain(const void* data, size_t n, uint32_t crc = 0);

}  // namespace ev
