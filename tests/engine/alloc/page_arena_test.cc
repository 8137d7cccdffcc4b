#include "ev_tf/alloc/page_arena.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/threads.h"

namespace {

// Bytes asked of operator new by this program, to find what grows and never shrinks.
std::atomic<int64_t> g_allocated_bytes{0};

}  // namespace

// Not inlined: GCC would take new and free for a pair that does not match.
__attribute__((noinline)) void* operator new(size_t size) {
  g_allocated_bytes.fetch_add(static_cast<int64_t>(size), std::memory_order_relaxed);
  void* p = std::malloc(size);
  if (p == nullptr) std::abort();
  return p;
}
__attribute__((noinline)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace ev {
namespace {

constexpr size_t kChunkPages = kHugePageBytes / PageArena::kPageBytes;

TEST(PageArena, PagesAreAlignedAndTheirOwn) {
  PageArena arena;
  std::set<char*> pages;
  for (size_t i = 0; i < 3 * kChunkPages + 1; ++i) {
    char* page = nullptr;
    EV_ASSERT_OK(arena.Allocate(&page));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(page) % PageArena::kPageBytes, 0u);
    EXPECT_TRUE(pages.insert(page).second) << "page " << i << " was given twice";
    std::memset(page, static_cast<int>(i), PageArena::kPageBytes);
  }
  EXPECT_EQ(arena.held_bytes(), 4 * kHugePageBytes);
  for (char* page : pages) arena.Free(page);
  EXPECT_EQ(arena.held_bytes(), 0u) << "a chunk of which every page is free goes back";
}

TEST(PageArena, AFreedPageServesTheNextRequest) {
  PageArena arena;
  std::vector<char*> pages(2 * kChunkPages);
  for (char*& page : pages) EV_ASSERT_OK(arena.Allocate(&page));
  for (size_t i = 0; i < pages.size(); i += 2) arena.Free(pages[i]);
  for (size_t i = 0; i < pages.size(); i += 2) EV_ASSERT_OK(arena.Allocate(&pages[i]));
  EXPECT_EQ(arena.held_bytes(), 2 * kHugePageBytes) << "memory held is memory used";
  EXPECT_EQ(std::set<char*>(pages.begin(), pages.end()).size(), pages.size());
  for (char* page : pages) arena.Free(page);
}

TEST(PageArena, RandomAllocationsKeepTheContentsOfEachPage) {
  PageArena arena;
  test::Random random(1);
  std::vector<std::pair<char*, uint64_t>> live;
  for (int step = 0; step < 20000; ++step) {
    if (live.empty() || random.Below(100) < (step < 10000 ? 60u : 40u)) {
      char* page = nullptr;
      EV_ASSERT_OK(arena.Allocate(&page));
      const uint64_t mark = random.Bits();
      std::memcpy(page, &mark, sizeof(mark));
      std::memcpy(page + PageArena::kPageBytes - sizeof(mark), &mark, sizeof(mark));
      live.emplace_back(page, mark);
      continue;
    }
    std::swap(live[random.Below(live.size())], live.back());
    const auto [page, mark] = live.back();
    ASSERT_EQ(std::memcmp(page, &mark, sizeof(mark)), 0);
    ASSERT_EQ(std::memcmp(page + PageArena::kPageBytes - sizeof(mark), &mark, sizeof(mark)), 0);
    arena.Free(page);
    live.pop_back();
    ASSERT_GE(arena.held_bytes(), live.size() * PageArena::kPageBytes);
  }
  for (const auto& entry : live) arena.Free(entry.first);
  EXPECT_EQ(arena.held_bytes(), 0u);
}

// A chunk that becomes full and has a page again, over and over, as the index does under churn.
TEST(PageArena, AChunkOnTheEdgeOfFullCostsNoMemory) {
  PageArena arena;
  std::vector<char*> pages(kChunkPages);
  for (char*& page : pages) EV_ASSERT_OK(arena.Allocate(&page));
  const int64_t before = g_allocated_bytes.load();
  for (int i = 0; i < 100000; ++i) {
    arena.Free(pages.back());
    EV_ASSERT_OK(arena.Allocate(&pages.back()));
  }
  EXPECT_LT(g_allocated_bytes.load() - before, 4096);
  for (char* page : pages) arena.Free(page);
}

TEST(PageArena, ManyThreadsShareIt) {
  PageArena arena;
  test::RunTogether(4, [&](int thread) {
    std::vector<char*> pages;
    for (int round = 0; round < 20; ++round) {
      for (int i = 0; i < 40; ++i) {
        char* page = nullptr;
        EV_EXPECT_OK(arena.Allocate(&page));
        std::memset(page, thread, 64);
        pages.push_back(page);
      }
      for (char* page : pages) {
        EXPECT_EQ(page[0], thread);
        EXPECT_EQ(page[63], thread);
        arena.Free(page);
      }
      pages.clear();
    }
  });
  EXPECT_EQ(arena.held_bytes(), 0u);
}

}  // namespace
}  // namespace ev
