#include "ev_tf/batch/dedup.h"

#include <gtest/gtest.h>

#include <unordered_map>
#include <vector>

#include "tests/support/keys.h"
#include "tests/support/random.h"

namespace ev {
namespace {

constexpr size_t kSizes[] = {0, 1, 31, 32, 33, 65536};

// What a stripe must give, written for the reader and not for speed.
struct Expected {
  std::vector<Key> keys;                         // in the order of their first appearance
  std::vector<std::vector<uint32_t>> positions;  // of each key, ascending
};

Expected Reference(const std::vector<KeyAt>& entries) {
  Expected expected;
  std::unordered_map<Key, size_t> place;
  for (const KeyAt& entry : entries) {
    const auto [it, is_new] = place.emplace(entry.key, expected.keys.size());
    if (is_new) {
      expected.keys.push_back(entry.key);
      expected.positions.emplace_back();
    }
    expected.positions[it->second].push_back(entry.position);
  }
  return expected;
}

void ExpectDeduplicated(const std::vector<KeyAt>& entries, StripeDedup* dedup) {
  dedup->Run(Span<const KeyAt>(entries));
  const Expected expected = Reference(entries);
  ASSERT_EQ(std::vector<Key>(dedup->keys().begin(), dedup->keys().end()), expected.keys);
  std::vector<uint32_t> all;
  for (size_t i = 0; i < expected.keys.size(); ++i) {
    const Span<const uint32_t> positions = dedup->positions(i);
    ASSERT_EQ(std::vector<uint32_t>(positions.begin(), positions.end()), expected.positions[i]) << "key " << i;
    all.insert(all.end(), positions.begin(), positions.end());
  }
  ASSERT_EQ(std::vector<uint32_t>(dedup->positions().begin(), dedup->positions().end()), all);
}

std::vector<KeyAt> Entries(const std::vector<Key>& keys, uint32_t step) {
  std::vector<KeyAt> entries;
  for (const Key key : keys)
    entries.push_back({key, static_cast<uint32_t>(entries.size()) * step, TopOf(HashKey(key))});
  return entries;
}

TEST(StripeDedup, ANewOneMayRunOnNothing) {
  StripeDedup dedup;
  ExpectDeduplicated({}, &dedup);
}

TEST(StripeDedup, EqualsTheReferenceForEverySizeInAnyOrder) {
  test::Random random(1);
  StripeDedup dedup;  // one for all runs: what an earlier run left must not be seen
  for (int round = 0; round < 60; ++round) {
    const size_t n = kSizes[random.Below(std::size(kSizes) - (round % 20 == 0 ? 0 : 1))];
    const uint64_t range = uint64_t{1} << random.Below(18);
    std::vector<Key> keys(n);
    for (Key& key : keys) key = static_cast<Key>(random.Below(range)) - static_cast<Key>(range / 2);
    ExpectDeduplicated(Entries(keys, 1 + static_cast<uint32_t>(random.Below(3))), &dedup);
  }
}

TEST(StripeDedup, AllKeysEqual) {
  StripeDedup dedup;
  for (const size_t n : kSizes) ExpectDeduplicated(Entries(std::vector<Key>(n, -1), 1), &dedup);
}

TEST(StripeDedup, AllKeysDistinctAndTheEdges) {
  StripeDedup dedup;
  std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (Key key = 100; key < 3000; ++key) keys.push_back(key);
  keys.insert(keys.end(), test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  ExpectDeduplicated(Entries(keys, 1), &dedup);
}

// The table takes the low bits of the hash's top half: keys that share them all want one place and walk past its end.
TEST(StripeDedup, KeysThatCollideInItsTable) {
  std::vector<Key> keys;
  for (uint64_t low = 0; low < 500; ++low) keys.push_back(test::KeyOfHash(0x55ffffff00000000ULL | low));
  keys.insert(keys.end(), keys.begin(), keys.end());
  StripeDedup dedup;
  ExpectDeduplicated(Entries(keys, 1), &dedup);
}

}  // namespace
}  // namespace ev
