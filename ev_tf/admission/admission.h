// Admission: may a key have a row yet?  Counts how often updates name keys that have no row; the update that brings a key's
// count to `threshold` admits it.  A key has a row or a count, never both: its count goes into the row, and is forgotten.
// A variable without a filter has no Admission at all.
//
// Threads:     a method that takes a stripe wants the lock of that stripe held by the caller, and keys of that stripe only;
//              bytes() and size() may be asked at any time.
// Invariants:  A1  Count gives at least how often the key was counted since it was last forgotten or dropped.
//              A2  exact() members give just that.
//              A3  a failed Count changes nothing.
//              A4  keys of exact() members that Forget or DropOlder dropped are counted from 0 again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev {

// What is known of a key without a row.
struct FilteredKey {
  Key key;
  uint32_t frequency;      // how often it was counted, at least 1; stays at UINT32_MAX
  uint32_t version_plus1;  // global step of the last update that named it + 1; 0 = never given
};

class Admission {
 public:
  explicit Admission(uint32_t threshold) : threshold_(threshold) {}
  virtual ~Admission() = default;
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  virtual bool exact() const = 0;
  uint32_t threshold() const { return threshold_; }

  // Counts keys[i] another counts[i] times, at least once; frequencies[i] = its count then.  version_plus1 != 0 becomes the
  // keys' version.  Requires: distinct keys.  OutOfSpace: no memory to count in.
  virtual Status Count(int stripe, Span<const Key> keys, Span<const uint32_t> counts, uint32_t version_plus1,
                       Span<uint32_t> frequencies) = 0;
  // The keys have a row now, or are to be as if they had never come.
  virtual void Forget(int stripe, Span<const Key> keys) = 0;
  // What is known of a key; a frequency of 0 if nothing is.
  virtual FilteredKey Get(int stripe, Key key) const = 0;
  // Visits what is known of all keys of a stripe, in no order; members that keep no keys visit nothing.
  virtual void Scan(int stripe, const std::function<void(const FilteredKey&)>& visit) const = 0;
  // Drops what was counted more than `steps_to_live` steps before `step`; what has no version gets `step` for one.
  // Members that keep no versions of keys drop it after no less, and no more than twice as long.
  virtual void DropOlder(int stripe, int64_t step, int64_t steps_to_live) = 0;
  virtual void Clear(int stripe) = 0;

  virtual int64_t size() const = 0;   // keys with a count; 0 for members that keep no keys
  virtual int64_t bytes() const = 0;  // memory held

 private:
  const uint32_t threshold_;
};

struct AdmissionOptions {
  int64_t filter_freq = 0;  // updates that must name a key before it has a row; 0: no filter
  // Both given: a counting Bloom filter laid out for so many keys, of which that share is admitted too early when all of
  // them have come.  Neither: exact counts.
  int64_t max_element_size = 0;
  double false_positive_probability = 0;
  int counter_bytes = 8;  // of a counter of the Bloom filter: 1, 2, 4 or 8

  bool enabled() const { return filter_freq > 0; }
};

inline constexpr int64_t kMaxCountedFrequency = 65535;  // of exact counts, as in DeepRec

// *out = null without a filter.  InvalidArgument: a number out of range, or a filter_freq that no counter can reach.
// OutOfSpace: the Bloom filter does not fit.
Status MakeAdmission(const AdmissionOptions& options, std::unique_ptr<Admission>* out);

}  // namespace ev
