// PageArena: pages of one size, cut from huge pages, shared by every index of the process.
//
// Index segments grow page by page: with one page size every freed page fits the next request, so that memory held is
// memory used even while all segments grow at once.  A chunk of which every page is free goes back to the system.
//
// Threads: any method, from any thread, at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "ev_tf/alloc/memory.h"
#include "ev_tf/base/status.h"

namespace ev {

class PageArena {
 public:
  static constexpr size_t kPageBytes = 32 << 10;  // 64 pages of a 2 MiB chunk: one bit each in a word

  static PageArena& Global();

  // A page of unspecified contents, aligned to its size.
  Status Allocate(char** page);
  void Free(char* page);

  // Bytes of chunks held, pages free in them included.
  size_t held_bytes() const;

 private:
  struct Chunk {
    MemoryRegion memory;
    uint64_t free_pages = 0;  // bit i: page i is free
  };

  mutable std::mutex mu_;
  std::unordered_map<uintptr_t, Chunk> chunks_;  // guarded by mu_; by address
  std::vector<uintptr_t> open_;                  // guarded by mu_; chunks that have a free page, and some that are gone
};

}  // namespace ev
