// What every filter promises (admission/admission.h), over exact counts and counting Bloom filters of every width.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/batch/partition.h"
#include "tests/support/keys.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace ev {
namespace {

struct FilterCase {
  std::string name;
  AdmissionOptions options;
  uint32_t most;  // that a count can reach
};

AdmissionOptions Bloom(int counter_bytes, int64_t keys = 20000, double probability = 1e-9) {
  AdmissionOptions options;
  options.filter_freq = 3;
  options.max_element_size = keys;
  options.false_positive_probability = probability;
  options.counter_bytes = counter_bytes;
  return options;
}

AdmissionOptions Exact(int64_t filter_freq = 3) {
  AdmissionOptions options;
  options.filter_freq = filter_freq;
  return options;
}

std::unique_ptr<Admission> Make(const AdmissionOptions& options) {
  std::unique_ptr<Admission> filter;
  EV_EXPECT_OK(MakeAdmission(options, &filter));
  return filter;
}

int StripeOfKey(Key key) { return StripeOf(HashKey(key)); }

// Counts keys of any stripe; gives their counts.
std::vector<uint32_t> Count(Admission* filter, const std::vector<Key>& keys, const std::vector<uint32_t>& counts,
                            uint32_t version_plus1 = 0) {
  std::vector<uint32_t> frequencies(keys.size());
  std::map<int, std::vector<size_t>> places;
  for (size_t i = 0; i < keys.size(); ++i) places[StripeOfKey(keys[i])].push_back(i);
  for (const auto& [stripe, at] : places) {
    std::vector<Key> some;
    std::vector<uint32_t> some_counts, out(at.size());
    for (const size_t i : at) {
      some.push_back(keys[i]);
      some_counts.push_back(counts[i]);
    }
    EV_EXPECT_OK(filter->Count(stripe, some, some_counts, version_plus1, out));
    for (size_t j = 0; j < at.size(); ++j) frequencies[at[j]] = out[j];
  }
  return frequencies;
}

uint32_t CountOnce(Admission* filter, Key key, uint32_t version_plus1 = 0) {
  return Count(filter, {key}, {1}, version_plus1)[0];
}

void Forget(Admission* filter, const std::vector<Key>& keys) {
  for (const Key key : keys) filter->Forget(StripeOfKey(key), Span<const Key>(&key, 1));
}

void DropOlder(Admission* filter, int64_t step, int64_t steps_to_live) {
  for (int s = 0; s < kStripes; ++s) filter->DropOlder(s, step, steps_to_live);
}

std::map<Key, std::pair<uint32_t, uint32_t>> Contents(const Admission& filter) {
  std::map<Key, std::pair<uint32_t, uint32_t>> contents;
  for (int s = 0; s < kStripes; ++s) {
    filter.Scan(s, [&](const FilteredKey& found) {
      EXPECT_EQ(StripeOfKey(found.key), s);
      EXPECT_TRUE(contents.emplace(found.key, std::pair(found.frequency, found.version_plus1)).second) << found.key;
    });
  }
  EXPECT_EQ(static_cast<size_t>(filter.size()), contents.size());
  return contents;
}

class AdmissionContract : public testing::TestWithParam<FilterCase> {
 protected:
  std::unique_ptr<Admission> filter_ = Make(GetParam().options);
};

TEST_P(AdmissionContract, CountsEveryKey) {
  const std::vector<Key> keys(test::kEdgeKeys.begin(), test::kEdgeKeys.end());
  for (uint32_t round = 1; round <= 4; ++round) {
    std::vector<uint32_t> ones(keys.size(), 1);
    EXPECT_EQ(Count(filter_.get(), keys, ones), std::vector<uint32_t>(keys.size(), round));
  }
  for (const Key key : keys) EXPECT_EQ(filter_->Get(StripeOfKey(key), key).frequency, 4u);
  EXPECT_EQ(filter_->Get(StripeOfKey(77), 77).frequency, 0u) << "a key that never came";
  EXPECT_EQ(filter_->threshold(), 3u);
}

TEST_P(AdmissionContract, NeverCountsLessThanCame) {  // A1, and A2 where exact
  test::Random random(1);
  std::map<Key, uint32_t> model;
  std::vector<Key> keys = test::KeysOfPrefix(5, 6, 3000);  // one stripe fuller than the others
  for (Key key = 0; key < 9000; ++key) keys.push_back(key * 7919 - 5000);
  for (int round = 0; round < 30; ++round) {
    std::set<Key> batch;
    for (int i = 0; i < 2000; ++i) batch.insert(keys[random.Below(keys.size())]);
    const std::vector<Key> distinct(batch.begin(), batch.end());
    std::vector<uint32_t> counts;
    for (size_t i = 0; i < distinct.size(); ++i) counts.push_back(1 + static_cast<uint32_t>(random.Below(3)));
    const std::vector<uint32_t> frequencies = Count(filter_.get(), distinct, counts);
    for (size_t i = 0; i < distinct.size(); ++i) {
      const uint32_t expected = std::min(model[distinct[i]] += counts[i], GetParam().most);
      if (filter_->exact()) {
        ASSERT_EQ(frequencies[i], expected) << distinct[i];
      } else {
        ASSERT_GE(frequencies[i], expected) << distinct[i];
      }
    }
    if (!filter_->exact()) continue;
    for (int i = 0; i < 300; ++i) {
      const Key key = keys[random.Below(keys.size())];
      Forget(filter_.get(), {key});
      model.erase(key);
    }
  }
  if (!filter_->exact()) return;
  std::map<Key, std::pair<uint32_t, uint32_t>> expected;
  for (const auto& [key, count] : model) expected[key] = {count, 0};
  EXPECT_EQ(Contents(*filter_), expected);
  EXPECT_LE(filter_->bytes(), static_cast<int64_t>(model.size()) * 32 + 64 * 64 * 16);
}

TEST_P(AdmissionContract, CountsStayAtTheirEnd) {
  const uint32_t most = GetParam().most;
  EXPECT_EQ(Count(filter_.get(), {-5}, {most - 1})[0], most - 1);
  EXPECT_EQ(CountOnce(filter_.get(), -5), most);
  EXPECT_EQ(CountOnce(filter_.get(), -5), most);
  EXPECT_EQ(Count(filter_.get(), {-5}, {most})[0], most);
}

TEST_P(AdmissionContract, ForgottenKeysBeginAgain) {  // A4
  for (int i = 0; i < 3; ++i) CountOnce(filter_.get(), 8);
  Forget(filter_.get(), {8, 9});
  EXPECT_EQ(CountOnce(filter_.get(), 8), filter_->exact() ? 1u : 4u);
}

TEST_P(AdmissionContract, ClearForgetsAll) {
  const int64_t empty = filter_->bytes();
  for (Key key = 0; key < 500; ++key) CountOnce(filter_.get(), key, 1);
  DropOlder(filter_.get(), 1000, 10000);
  for (int s = 0; s < kStripes; ++s) filter_->Clear(s);
  EXPECT_EQ(filter_->size(), 0);
  EXPECT_EQ(filter_->bytes(), empty);
  EXPECT_TRUE(Contents(*filter_).empty());
  for (Key key = 0; key < 500; ++key) ASSERT_EQ(CountOnce(filter_.get(), key), 1u);
}

TEST_P(AdmissionContract, NothingIsDroppedTooEarly) {
  CountOnce(filter_.get(), 1, 100 + 1);
  CountOnce(filter_.get(), 2, 105 + 1);
  DropOlder(filter_.get(), 110, 10);
  EXPECT_EQ(filter_->Get(StripeOfKey(1), 1).frequency, 1u);
  EXPECT_EQ(filter_->Get(StripeOfKey(2), 2).frequency, 1u);
  DropOlder(filter_.get(), 115, 10);
  EXPECT_EQ(filter_->Get(StripeOfKey(2), 2).frequency, 1u);
  EXPECT_EQ(CountOnce(filter_.get(), 2, 115 + 1), 2u);
}

TEST_P(AdmissionContract, WhatIsTwiceAsOldIsDropped) {
  for (Key key = 0; key < 300; ++key) CountOnce(filter_.get(), key, 100 + 1);
  DropOlder(filter_.get(), 111, 10);
  DropOlder(filter_.get(), 122, 10);
  for (Key key = 0; key < 300; ++key) ASSERT_EQ(filter_->Get(StripeOfKey(key), key).frequency, 0u) << key;
  EXPECT_EQ(CountOnce(filter_.get(), 7, 123), 1u);
}

std::vector<FilterCase> Cases() {
  AdmissionOptions unsized = Bloom(2);
  unsized.max_element_size = 0;
  unsized.false_positive_probability = 0;
  return {{"counter", Exact(), UINT32_MAX},       {"bloom_uint8", Bloom(1), 255},
          {"bloom_uint16", Bloom(2), 65535},      {"bloom_uint32", Bloom(4), UINT32_MAX},
          {"bloom_uint64", Bloom(8), UINT32_MAX}, {"bloom_without_a_size", unsized, UINT32_MAX}};
}

INSTANTIATE_TEST_SUITE_P(Filters, AdmissionContract, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(Counter, DropsExactlyWhatIsOlder) {
  const std::unique_ptr<Admission> filter = Make(Exact());
  std::map<Key, std::pair<uint32_t, uint32_t>> expected;
  for (Key key = -3000; key < 3000; ++key) {
    const auto version = static_cast<uint32_t>(FloorMod(key * 31, 200));
    CountOnce(filter.get(), key, version + 1);
    if (150 - static_cast<int64_t>(version) <= 20) expected[key] = {1, version + 1};
  }
  const int64_t full = filter->bytes();
  DropOlder(filter.get(), 150, 20);
  EXPECT_EQ(Contents(*filter), expected);
  DropOlder(filter.get(), 1000, 0);
  EXPECT_TRUE(Contents(*filter).empty());
  EXPECT_LT(filter->bytes(), full);
}

TEST(Counter, WhatHasNoVersionStartsToAge) {
  const std::unique_ptr<Admission> filter = Make(Exact());
  CountOnce(filter.get(), 5);
  DropOlder(filter.get(), 40, 10);
  EXPECT_EQ(Contents(*filter), (std::map<Key, std::pair<uint32_t, uint32_t>>{{5, {1, 41}}}));
  DropOlder(filter.get(), 50, 10);
  EXPECT_EQ(filter->size(), 1);
  DropOlder(filter.get(), 51, 10);
  EXPECT_EQ(filter->size(), 0);
}

TEST(Counter, TakesAboutTwoDozenBytesAKey) {
  const std::unique_ptr<Admission> filter = Make(Exact());
  std::vector<Key> keys(2000);
  const std::vector<uint32_t> ones(keys.size(), 1);
  for (Key first = 0; first < 400000; first += static_cast<Key>(keys.size())) {
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = first + static_cast<Key>(i);
    Count(filter.get(), keys, ones);
    if (first < 50000) continue;
    ASSERT_LE(filter->bytes(), 32 * filter->size());
  }
  EXPECT_EQ(filter->size(), 400000);
  const int64_t full = filter->bytes();
  for (Key key = 0; key < 390000; ++key) Forget(filter.get(), {key});  // as keys that were admitted do
  EXPECT_LT(filter->bytes(), full / 10);
  EXPECT_EQ(filter->Get(StripeOfKey(395000), 395000).frequency, 1u);
}

TEST(CountingBloom, KeepsItsProbability) {
  for (const double probability : {0.1, 0.01, 0.001}) {
    const std::unique_ptr<Admission> filter = Make(Bloom(1, 50000, probability));
    std::vector<Key> keys(50000);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) * 3 - 70000;
    Count(filter.get(), keys, std::vector<uint32_t>(keys.size(), 1));
    int too_many = 0;
    for (Key key = 1'000'000; key < 1'200'000; ++key) too_many += filter->Get(StripeOfKey(key), key).frequency != 0;
    EXPECT_LE(too_many, 200'000 * probability * 1.2) << probability;
    const auto counters = static_cast<double>(filter->bytes());
    EXPECT_LE(counters, 50000 * 2.1 * -std::log(probability) * 1.2) << "counters of a byte: m = -n ln p / (ln 2)^2";
  }
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The model zoo's max_element_size, of each of its tables: 41 GB of counters, and 2 MiB for each that is raised if they were
// in huge pages.
TEST(CountingBloom, OneLaidOutForABillionKeysTakesMemoryForThoseThatCome) {
  const int64_t before = ResidentBytes();
  AdmissionOptions options = Bloom(8, int64_t{1} << 30, 0.01);
  const std::unique_ptr<Admission> filter = Make(options);
  std::vector<Key> keys(1000);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i) * 77 - 500;
  const std::vector<uint32_t> ones(keys.size(), 1);
  EXPECT_EQ(Count(filter.get(), keys, ones, 1), ones);
  for (int stripe = 0; stripe < kStripes; ++stripe) filter->DropOlder(stripe, 100, 10);
  EXPECT_EQ(Count(filter.get(), keys, ones, 101), std::vector<uint32_t>(keys.size(), 2));
  EXPECT_GT(filter->bytes(), int64_t{40} << 30);
  EXPECT_LT(ResidentBytes() - before, int64_t{256} << 20);
  for (int stripe = 0; stripe < kStripes; ++stripe) filter->Clear(stripe);
  EXPECT_EQ(Count(filter.get(), keys, ones), ones);
}

TEST(MakeAdmission, ChecksItsOptions) {
  std::unique_ptr<Admission> filter;
  EV_EXPECT_OK(MakeAdmission(AdmissionOptions{}, &filter));
  EXPECT_EQ(filter, nullptr);
  const auto expect = [&](AdmissionOptions options, std::initializer_list<std::string> parts) {
    test::ExpectError(MakeAdmission(options, &filter), StatusCode::kInvalidArgument, parts);
    EXPECT_EQ(filter, nullptr);
  };
  expect(Exact(-1), {"filter_freq", "at least 0", "-1"});
  expect(Exact(65536), {"filter_freq", "at most 65535", "65536"});
  expect(Bloom(3), {"counter_type", "1, 2, 4 or 8", "3"});
  AdmissionOptions options = Bloom(1);
  options.filter_freq = 256;
  expect(options, {"filter_freq", "at most 255", "256"});
  expect(Bloom(1, 100, 1.0), {"false_positive_probability", "less than 1"});
  expect(Bloom(1, 100, 0), {"max_element_size together"});
  expect(Bloom(1, 0, 0.1), {"max_element_size together"});
  expect(Bloom(1, int64_t{1} << 62, 0.1), {"max_element_size", "fits"});
}

}  // namespace
}  // namespace ev
