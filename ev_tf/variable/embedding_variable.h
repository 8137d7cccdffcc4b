// EmbeddingVariable: a trainable table from any int64 key to a row of floats.  The one facade that ops/ and the Python
// module may use; everything else of the engine is behind it.
//
// Threads:     any method, from any thread, at once.
// Ownership:   spans are borrowed for the call.
// Invariants:  V1  a Lookup never inserts, and a missing key always reads default_rows[FloorMod(key, default_value_dim)];
//                  with a filter, default_value_no_permission in every element.
//              V2  a key is inserted by the first Apply (or WriteRows) that names it, exactly once, from that default row
//                  and the slots' initial values.  With a filter, by the Apply that brings its count, duplicates and all,
//                  to filter_freq, and its frequency is then that count; gradients of earlier ones are dropped.
//              V3  updates of one key are one after another: none is lost, whatever calls run at once.
//              V4  size() equals the number of keys that Keys() returns when nobody writes.
//              V5  a failed call changes nothing; but OutOfSpace and IoError may come after a part of an Apply.
//              V6  rows that are kept below DRAM read and train as rows in DRAM do, to the bit.
//              V7  what Shrink or Remove dropped is in no tier any more: the key begins as if it had never come.
//              V8  values come and go as floats.  What a row of a narrower type keeps is rounded to the nearest, after each
//                  update, too; the arithmetic between is that of floats, and slots are floats.
//              V9  a frozen variable never changes: what would change it is FailedPrecondition (Remove: drops nothing), lookups
//                  bring rows into DRAM and write nowhere.
// A Lookup takes no lock on rows: while an Apply writes the same row it may see some floats from before and some from
// after, as a lookup of a tf.Variable may.  ReadRows sees value and slots of a row from one moment.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/admission/admission.h"
#include "ev_tf/base/executor.h"
#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/eviction/shrink.h"
#include "ev_tf/optim/optimizer.h"
#include "ev_tf/row/row_layout.h"
#include "ev_tf/tier/segmented_tier.h"
#include "ev_tf/variable/storage_options.h"

namespace ev {

class Env;
struct SaveOptions;
struct SaveReport;

struct VariableOptions {
  std::string name;                            // for messages
  int64_t dim = 0;                             // elements per embedding, 1 to kMaxDim
  ValueType value_type = ValueType::kFloat32;  // of an embedding's elements
  bool record_frequency = false;               // keep RowMeta::frequency
  bool record_version = false;                 // keep RowMeta::version
  StorageOptions storage;                      // where the rows are kept
  AdmissionOptions admission;                  // which keys have a row
  float default_value_no_permission = 0.0f;    // what every element of a key without a row reads, with a filter
  ShrinkRule shrink;                           // which rows Shrink drops; by age only with record_version
};

// Gauges and counters since creation.  Bytes are of memory held, not of memory asked for.
struct VariableMetrics {
  int64_t rows = 0;
  int64_t row_bytes = 0;       // one row: value and slots, padded
  int64_t row_pool_bytes = 0;  // rows in use and free ones
  int64_t index_bytes = 0;     // key -> row
  int64_t meta_bytes = 0;      // frequency and version; what is known of rows in tiers
  int64_t lookup_keys = 0;     // keys given to Lookup
  int64_t lookup_misses = 0;   // of these, keys that read their default row
  int64_t update_keys = 0;     // keys given to Apply, duplicates counted
  int64_t update_rows = 0;     // rows updated: keys after dedup
  int64_t inserts = 0;
  int64_t removes = 0;
  int64_t filtered_keys = 0;  // with exact counts: keys that are counted and have no row
  int64_t filter_bytes = 0;   // of the counts
  // After SaveBase:
  int64_t changed_keys = 0;        // which the next delta holds
  int64_t changed_keys_bytes = 0;  // what it takes to know them
  // With tiers below DRAM, over all of them:
  int64_t hot_rows = 0;            // rows in DRAM
  int64_t hot_capacity = 0;        // rows that DRAM should hold; 0: no limit
  int64_t lower_rows = 0;          // rows and copies of rows below
  int64_t lower_bytes = 0;         // memory or disk of the tiers below
  int64_t promotions = 0;          // rows brought up
  int64_t demotions = 0;           // rows moved down
  int64_t clean_demotions = 0;     // of these, rows whose copy below was still good: nothing was written
  int64_t cold_reads = 0;          // rows read from below
  int64_t late_reads = 0;          // of these, one by one, after a row had moved under a call
  std::vector<TierMetrics> tiers;  // each tier by itself, the fastest first
};

class EmbeddingVariable {
 public:
  // `default_rows` is row-major [default_value_dim, dim], at least one row, and is copied.
  // InvalidArgument: dim out of range; default_rows empty or not a multiple of dim.
  static Status Create(const VariableOptions& options, Span<const float> default_rows,
                       std::unique_ptr<EmbeddingVariable>* out);
  ~EmbeddingVariable();

  const VariableOptions& options() const;
  int64_t dim() const { return options().dim; }
  int64_t size() const;
  std::vector<SlotSpec> slots() const;
  VariableMetrics metrics() const;
  // Row-major [default_value_dim, dim].  Constant after Create.
  Span<const float> default_rows() const;

  // rows[i * dim, (i + 1) * dim) = the embedding of keys[i].  Duplicates are welcome.
  // Requires: rows.size() == keys.size() * dim().
  Status Lookup(Span<const Key> keys, Span<float> rows, Executor& executor) const;

  // One optimizer step.  Sums the gradients of equal keys in the order they stand, inserts missing keys, and applies
  // `rule` to each distinct key's row once.  slots[i] is what `rule` calls slot i: a name the variable does not have yet
  // is added to every row first (rows that exist get its initial value).
  // `global_step` becomes the rows' version when versions are recorded; < 0 leaves them.
  // Requires: grads.size() == keys.size() * dim(); slots.size() == rule.slots.count.
  // InvalidArgument: a slot's dim is not what the rule writes; a slot of that name exists with another dim; a name stands
  // twice; sizes differ; global_step >= 2^32 - 1 while recorded.
  // OutOfSpace: no memory for a new row.
  Status Apply(const UpdateRule& rule, Span<const SlotSpec> slots, Span<const Key> keys, Span<const float> grads,
               int64_t global_step, Executor& executor);

  // Every key, in no order.  A key inserted or removed meanwhile may be in it or not.
  std::vector<Key> Keys() const;

  // Reads what is stored of each key, for export.  Any span but `keys` and `found` may be empty: not wanted.
  // values: [n, dim]; slots: [n, slot_floats], the slots behind one another without padding, in the order of slots();
  // frequencies, versions: [n] (0 and -1 where not recorded).  A missing key has found = false and its parts unchanged;
  // but with a filter its frequency and version are what was counted.
  struct RowBatch {
    Span<float> values;
    Span<float> slots;
    Span<int64_t> frequencies;
    Span<int64_t> versions;
  };
  Status ReadRows(Span<const Key> keys, const RowBatch& out, Span<bool> found) const;

  // Inserts or overwrites rows, for import, whatever the filter says.  Empty spans: slots get their initial values, frequency
  // 0, with a filter filter_freq, version -1.
  // values are required.  Of a key that stands twice the last row stays.  `slot_specs` says what the columns of `slots`
  // are; slots the variable lacks are added, slots it has and the columns lack get their initial value.
  // InvalidArgument: sizes differ; a frequency < 0; a version out of range while versions are recorded.
  struct ConstRowBatch {
    Span<const float> values;
    Span<const float> slots;
    Span<const int64_t> frequencies;
    Span<const int64_t> versions;
  };
  Status WriteRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows);

  // The same for keys that nobody else names, of a variable that is being loaded: rows of keys that have none are made
  // without looking for them first.  *added = how many were; a key that has a row, or stands twice, keeps the first one.
  // Those that DRAM has no room for go to the next tier that has at once.
  // Requires: no SaveBase yet, and no key is counted by the filter.
  Status AddRows(Span<const Key> keys, Span<const SlotSpec> slot_specs, const ConstRowBatch& rows, int64_t* added);
  // Takes the memory that the index wants for so many rows.  OutOfSpace: then nothing has changed.
  // Requires: there have been none yet, and no other call is running.
  Status Reserve(int64_t rows, Executor& executor);

  // Inserts rows for those of `keys` that have none; of a key that stands twice the first one.  Others stay as they are.
  // Requires: values.size() == keys.size() * dim().  InvalidArgument: sizes differ; the variable has a filter.
  Status InsertMissing(Span<const Key> keys, Span<const float> values);

  // Writes the whole variable, or what has changed since the last SaveBase or SaveDelta, to a file; see SaveTable, SaveBase and
  // SaveDelta in variable/checkpoint.h.
  Status Save(Env* env, const std::string& path, const SaveOptions& save, Executor& executor, SaveReport* report) const;
  Status SaveBase(Env* env, const std::string& path, Executor& executor);
  Status SaveDelta(Env* env, const std::string& path, Executor& executor);

  // Whether rows that lie in `file`, with these slots and this meta, can be rows of this variable as they are.
  bool CanAdopt(const SegmentFile& file, Span<const SlotSpec> slots, bool has_frequency, bool has_version) const;
  // Makes rows of the slots `live` of a file; see SegmentedTier::Adopt.  check(key): an error ends it.  Afterwards, after an error
  // too, *adopted = how many keys had no row before.  Requires: CanAdopt; nobody else names these keys.
  Status AdoptSegment(const SegmentFile& file, Span<const uint64_t> live, const std::function<Status(Key)>& check,
                      int64_t* adopted);

  // Drops the rows of `keys`, and what a filter with exact counts knows of them; missing keys and duplicates are no error.
  // Returns how many rows were dropped.
  int64_t Remove(Span<const Key> keys);
  // Drops every row and every count.  Slots stay.
  Status Clear();

  // From now on only lookups; for who has filled it.  See V9.
  void Freeze();
  bool frozen() const;

  // Drops the rows that options().shrink gives up at `global_step`, < 0: the largest that an Apply brought, wherever they
  // are, and counts that are as old.  *dropped = how many rows.  Rows below are read some thousands at a time; calls that
  // run meanwhile wait for a stripe at most.  IoError, OutOfSpace: of a tier below; some rows may have been dropped.
  Status Shrink(int64_t global_step, int64_t* dropped);

  // What a filter with exact counts has counted and not admitted.
  std::vector<FilteredKey> FilteredKeys() const;
  // Adds to these counts, for import; keys that have a row are left out, and without a filter all are.
  // InvalidArgument: a frequency of 0.
  Status WriteFilteredKeys(Span<const FilteredKey> keys);

  // tiers[i] = where the row of keys[i] is: 0 DRAM, 1 and 2 the tiers below, -1 nowhere.  Requires: tiers.size() == keys.size().
  Status LookupTier(Span<const Key> keys, Span<int32_t> tiers) const;
  // Moves rows down until no bounded tier holds more than it should, and returns when they have arrived.
  Status FlushEvictions();
  // Brings the rows of `keys` up, where they wait for a later call: for a while they leave DRAM after all others.  Makes
  // room for them first, so it may wait for a write below.  Works on the calling thread alone, which mostly waits for the
  // device: one thread keeps as many reads under way as a device serves, and the others are left to who computes.
  Status Prefetch(Span<const Key> keys) const;

 private:
  class Impl;
  explicit EmbeddingVariable(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ev
