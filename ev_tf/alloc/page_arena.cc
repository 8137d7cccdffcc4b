#include "ev_tf/alloc/page_arena.h"

namespace ev {
namespace {

constexpr uint64_t kAllFree = ~uint64_t{0};
static_assert(kHugePageBytes / PageArena::kPageBytes == 64, "one bit of a word for each page of a chunk");

uintptr_t ChunkOf(const char* page) { return reinterpret_cast<uintptr_t>(page) / kHugePageBytes * kHugePageBytes; }

}  // namespace

PageArena& PageArena::Global() {
  static auto* arena = new PageArena();  // never destroyed: variables may outlive static destruction
  return *arena;
}

Status PageArena::Allocate(char** page) {
  std::lock_guard<std::mutex> lock(mu_);
  while (!open_.empty()) {
    auto it = chunks_.find(open_.back());
    if (it != chunks_.end()) break;
    open_.pop_back();
  }
  if (open_.empty()) {
    Chunk chunk;
    EV_RETURN_IF_ERROR(MemoryRegion::Reserve(kHugePageBytes, 0, &chunk.memory));
    chunk.free_pages = kAllFree;
    const auto address = reinterpret_cast<uintptr_t>(chunk.memory.data());
    chunks_.emplace(address, std::move(chunk));
    open_.push_back(address);
  }
  Chunk& chunk = chunks_[open_.back()];
  const int index = __builtin_ctzll(chunk.free_pages);
  chunk.free_pages &= chunk.free_pages - 1;
  if (chunk.free_pages == 0) open_.pop_back();  // Free opens it again: an address stands there once
  *page = chunk.memory.data() + static_cast<size_t>(index) * kPageBytes;
  return OkStatus();
}

void PageArena::Free(char* page) {
  std::lock_guard<std::mutex> lock(mu_);
  auto it = chunks_.find(ChunkOf(page));
  Chunk& chunk = it->second;
  const bool was_full = chunk.free_pages == 0;
  chunk.free_pages |= uint64_t{1} << ((page - chunk.memory.data()) / kPageBytes);
  if (chunk.free_pages == kAllFree) {
    chunks_.erase(it);  // its entry in open_, if any, is found stale by Allocate
  } else if (was_full) {
    open_.push_back(it->first);
  }
}

size_t PageArena::held_bytes() const {
  std::lock_guard<std::mutex> lock(mu_);
  return chunks_.size() * kHugePageBytes;
}

}  // namespace ev
