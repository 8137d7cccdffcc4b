#include "ev_tf/admission/counting_bloom.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "ev_tf/base/cpu.h"

namespace ev {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr size_t kMinCounters = 64;  // of a stripe: with fewer the counters of one key would often be the same
constexpr size_t kLead = 8;          // keys whose counters are asked for before they are looked at
constexpr size_t kMostHugeBytes = size_t{256} << 20;  // of a generation in huge pages: a key raises counters in several
constexpr uint64_t kSecondHash = 0xd6e8feb86659fd93ULL;

}  // namespace

Status CountingBloom::Make(const AdmissionOptions& options, std::unique_ptr<CountingBloom>* out) {
  const double bits = -std::log(options.false_positive_probability) / (kLn2 * kLn2);
  const int hashes = std::clamp(static_cast<int>(std::lround(bits * kLn2)), 1, kMaxHashes);
  // Keys fall into stripes by chance: four standard deviations above the mean.
  const double keys = static_cast<double>(options.max_element_size) / kStripes;
  const double counters = std::max<double>(std::ceil((keys + 4 * std::sqrt(keys)) * bits), kMinCounters);
  if (counters * kStripes * 4 > static_cast<double>(std::numeric_limits<int64_t>::max()) / 2) {
    return InvalidArgument("max_element_size: expected what fits into memory, found " +
                           std::to_string(options.max_element_size));
  }
  std::unique_ptr<CountingBloom> bloom(new CountingBloom(options, hashes, static_cast<size_t>(counters)));
  const size_t bytes = bloom->generation_bytes();
  const size_t huge_from = bytes > kMostHugeBytes ? kNoHugePages : kHugePageBytes;
  for (MemoryRegion& generation : bloom->generations_) {
    EV_RETURN_IF_ERROR(MemoryRegion::Reserve(bytes, huge_from, &generation));
  }
  bloom->bytes_ = static_cast<int64_t>(bloom->generation_bytes());
  *out = std::move(bloom);
  return OkStatus();
}

CountingBloom::CountingBloom(const AdmissionOptions& options, int hashes, size_t counters)
    : Admission(static_cast<uint32_t>(options.filter_freq)),
      counter_bytes_(std::min(options.counter_bytes, 4)),
      hashes_(hashes),
      counters_(counters) {
  begun_.fill(-1);
}

void CountingBloom::Find(Key key, Places* places) const {
  uint64_t at = HashKey(key) << kStripeBits;
  const uint64_t step = HashKey(static_cast<Key>(HashKey(key) ^ kSecondHash)) | 1;
  for (int i = 0; i < hashes_; ++i, at += step) {
    places->at[i] = static_cast<size_t>((static_cast<unsigned __int128>(at) * counters_) >> 64);
  }
}

template <typename T>
uint32_t CountingBloom::Smallest(const MemoryRegion& memory, int stripe, const Places& places) const {
  const T* counters = Stripe<T>(memory, stripe);
  T smallest = std::numeric_limits<T>::max();
  for (int i = 0; i < hashes_; ++i) smallest = std::min(smallest, counters[places.at[i]]);
  return smallest;
}

uint32_t CountingBloom::SmallestOf(const MemoryRegion& memory, int stripe, const Places& places) const {
  switch (counter_bytes_) {
    case 1: return Smallest<uint8_t>(memory, stripe, places);
    case 2: return Smallest<uint16_t>(memory, stripe, places);
    default: return Smallest<uint32_t>(memory, stripe, places);
  }
}

template <typename T>
void CountingBloom::CountIn(int stripe, Span<const Key> keys, Span<const uint32_t> counts, Span<uint32_t> frequencies) {
  T* counters = Stripe<T>(young(stripe), stripe);
  Places ring[kLead];
  const auto prepare = [&](size_t i) {
    Places& places = ring[i % kLead];
    Find(keys[i], &places);
    for (int h = 0; h < hashes_; ++h) PrefetchForRead(counters + places.at[h]);
  };
  for (size_t i = 0; i < std::min(kLead, keys.size()); ++i) prepare(i);
  for (size_t i = 0; i < keys.size(); ++i) {
    const Places& places = ring[i % kLead];
    const uint64_t raised = uint64_t{Smallest<T>(young(stripe), stripe, places)} + counts[i];
    const auto counter = static_cast<T>(std::min<uint64_t>(raised, std::numeric_limits<T>::max()));
    for (int h = 0; h < hashes_; ++h) counters[places.at[h]] = std::max(counters[places.at[h]], counter);
    const uint64_t before = aged_[stripe] ? Smallest<T>(old(stripe), stripe, places) : 0;
    frequencies[i] = static_cast<uint32_t>(std::min<uint64_t>(before + counter, UINT32_MAX));
    if (i + kLead < keys.size()) prepare(i + kLead);
  }
}

Status CountingBloom::Count(int stripe, Span<const Key> keys, Span<const uint32_t> counts, uint32_t version_plus1,
                            Span<uint32_t> frequencies) {
  if (version_plus1 != 0 && begun_[stripe] < 0) begun_[stripe] = int64_t{version_plus1} - 1;
  switch (counter_bytes_) {
    case 1: CountIn<uint8_t>(stripe, keys, counts, frequencies); break;
    case 2: CountIn<uint16_t>(stripe, keys, counts, frequencies); break;
    default: CountIn<uint32_t>(stripe, keys, counts, frequencies); break;
  }
  return OkStatus();
}

FilteredKey CountingBloom::Get(int stripe, Key key) const {
  Places places;
  Find(key, &places);
  const uint64_t before = aged_[stripe] ? SmallestOf(old(stripe), stripe, places) : 0;
  const uint64_t count = before + SmallestOf(young(stripe), stripe, places);
  return {key, static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX)), 0};
}

void CountingBloom::Zero(int generation, int stripe) {
  generations_[generation].Zero(static_cast<size_t>(stripe) * stripe_bytes(), stripe_bytes());
}

void CountingBloom::DropOlder(int stripe, int64_t step, int64_t steps_to_live) {
  if (begun_[stripe] < 0) begun_[stripe] = step;
  if (step - begun_[stripe] <= steps_to_live) return;
  younger_[stripe] ^= 1;
  Zero(younger_[stripe], stripe);
  if (!aged_[stripe]) bytes_.fetch_add(static_cast<int64_t>(stripe_bytes()), std::memory_order_relaxed);
  aged_[stripe] = true;
  begun_[stripe] = step;
}

void CountingBloom::Clear(int stripe) {
  Zero(younger_[stripe], stripe);
  if (aged_[stripe]) bytes_.fetch_sub(static_cast<int64_t>(stripe_bytes()), std::memory_order_relaxed);
  aged_[stripe] = false;
  begun_[stripe] = -1;
}

}  // namespace ev
