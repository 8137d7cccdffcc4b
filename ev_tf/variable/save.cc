// A variable to a file: the index is scanned in runs of keys, a run is sorted by bucket and cut into blocks, and threads read
// the rows of the blocks and write them.  As the index is scanned in the order of the hash, those of a bucket stand by stripe,
// and the rows of a block are read under a few locks, one after another.
#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/base/first_error.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/row_lane.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/impl.h"

namespace ev {
namespace {

// Rows ahead of the one that is read whose lines are asked for: one at a time, between other work.  Asked for all at once, many
// are not fetched.
constexpr size_t kRowsAhead = 32;

using checkpoint::BlockRange;
using checkpoint::TableDescription;

template <typename T>
Span<T> Column(std::byte* column, size_t n) {
  return {reinterpret_cast<T*>(column), column == nullptr ? 0 : n};
}

// Makes *items n long; what was there is lost.  Room for a few more than are asked for: runs are about as long as one another,
// and one that had to grow would be there twice, the shorter one for good, as holes in the heap.
template <typename T>
void Resize(size_t n, std::vector<T>* items) {
  if (items->capacity() < n) {
    *items = std::vector<T>();
    items->reserve(n + n / 16);
  }
  items->resize(n);
}

// Makes records of values, and puts them into segments.
class SegmentLane final : public checkpoint::RowLane {
 public:
  // mu: of `segments`.  All of them outlive the lane.
  SegmentLane(const TableDescription& table, const RowLayout& layout, std::mutex* mu, SavedSegments* segments)
      : table_(table), layout_(layout), mu_(mu), segments_(segments) {}

  Status Begin(size_t bytes, std::byte** block) override {
    if (bytes > capacity_) {
      block_ = NewAlignedBytes(bytes);
      capacity_ = block_ == nullptr ? 0 : bytes;
      if (block_ == nullptr) return OutOfSpace("no memory for a block of " + std::to_string(bytes) + " bytes");
    }
    *block = block_.get();
    return OkStatus();
  }

  Status AddRows(int /*first_bucket*/, int /*last_bucket*/, size_t n, size_t /*bytes*/) override {
    const checkpoint::RowColumns<std::byte> columns(table_, block_.get(), n);
    const auto* const values = reinterpret_cast<const float*>(columns.values);
    records_.resize(n * layout_.row_bytes());
    for (size_t i = 0; i < n; ++i) {
      layout_.WriteValue(values + i * static_cast<size_t>(table_.dim), records_.data() + i * layout_.row_bytes());
    }
    const std::lock_guard<std::mutex> lock(*mu_);
    return segments_->Put({reinterpret_cast<const Key*>(columns.keys), n}, records_);
  }

 private:
  const TableDescription& table_;
  const RowLayout& layout_;
  std::mutex* const mu_;
  SavedSegments* const segments_;
  AlignedBytes block_;
  size_t capacity_ = 0;
  std::vector<std::byte> records_;
};

}  // namespace

checkpoint::NewRowLane EmbeddingVariable::Impl::LanesOf(TableWriter* writer) {
  return [writer] { return std::make_unique<TableWriter::Lane>(writer); };
}

void EmbeddingVariable::Impl::SortRun(const TableDescription& table, const LocatedKeys& keys, SortedRun* run) {
  const bool located = !keys.locations.empty();
  Resize(keys.keys.size(), &run->keys);
  Resize(keys.locations.size(), &run->locations);
  const std::vector<size_t> starts = checkpoint::PlaceByBucket(keys.keys, [&](size_t i, size_t place) {
    run->keys[place] = keys.keys[i];
    if (located) run->locations[place] = keys.locations[i];
  });
  run->pieces = checkpoint::CutIntoBlocks(starts, table.BlockBytes(1));
}

Status EmbeddingVariable::Impl::ReadSorted(Span<const Key> keys, Span<const Location> locations, const RowBatch& out,
                                           Span<bool> found) const {
  const EpochGuard guard(store_.epochs());
  ColdRows cold;
  std::vector<Location> found_now;
  if (store_.tiered()) {
    store_.FindCold(keys, &cold);
    EV_RETURN_IF_ERROR(store_.Fetch(&cold));
  } else if (locations.empty()) {
    found_now.resize(keys.size());
    store_.Locate(keys, found_now.data());
    locations = found_now;
  }
  const auto ask_for = [&](size_t i) {
    if (i < locations.size()) store_.AskFor(keys[i], locations[i]);
  };
  for (size_t i = 0; i < kRowsAhead; ++i) ask_for(i);
  RowRefs refs;
  for (size_t first = 0, end = 0; first < keys.size(); first = end) {
    const int stripe = StripeOf(HashKey(keys[first]));
    while (end < keys.size() && StripeOf(HashKey(keys[end])) == stripe) ++end;
    std::lock_guard<std::mutex> lock(store_.stripes().of(stripe));
    EV_RETURN_IF_ERROR(store_.Read(keys.subspan(first, end - first), cold, &refs));
    for (size_t i = first; i < end; ++i) {
      ask_for(i + kRowsAhead);
      const size_t e = i - first;
      found[i] = refs.rows[e] != nullptr;
      if (found[i]) ReadRow(refs.rows[e], refs.meta.empty() ? nullptr : refs.meta[e], i, out);
    }
  }
  return OkStatus();
}

Status EmbeddingVariable::Impl::SaveBlock(const TableDescription& table, const SortedRun& run, const BlockRange& piece,
                                          checkpoint::RowLane* lane, std::vector<Key>* absent) const {
  LocatedKeys present;  // of those keys, once some have turned out to be gone
  Span<const Key> keys(run.keys.data() + piece.first, piece.n);
  Span<const Location> locations(run.locations.data() + piece.first, run.locations.empty() ? 0 : piece.n);
  const auto found = std::make_unique<bool[]>(piece.n);
  while (!keys.empty()) {
    const size_t n = keys.size();
    std::byte* block = nullptr;
    EV_RETURN_IF_ERROR(lane->Begin(table.BlockBytes(n), &block));
    const checkpoint::RowColumns<std::byte> columns(table, block, n);
    const RowBatch batch{Column<float>(columns.values, n * static_cast<size_t>(table.dim)),
                         Column<float>(columns.slots, n * table.slot_floats()), Column<int64_t>(columns.frequencies, n),
                         Column<int64_t>(columns.versions, n)};
    EV_RETURN_IF_ERROR(ReadSorted(keys, locations, batch, {found.get(), n}));
    if (std::all_of(found.get(), found.get() + n, [](bool one) { return one; })) {
      std::copy(keys.begin(), keys.end(), reinterpret_cast<Key*>(columns.keys));
      return lane->AddRows(piece.first_bucket, piece.last_bucket, n, table.BlockBytes(n));
    }
    // Some have been removed: the columns are closer together without them.
    LocatedKeys kept;
    for (size_t i = 0; i < n; ++i) {
      (found[i] ? kept.keys : *absent).push_back(keys[i]);
      if (found[i] && !locations.empty()) kept.locations.push_back(locations[i]);
    }
    std::swap(present, kept);
    keys = present.keys;
    locations = present.locations;
  }
  return OkStatus();
}

Status EmbeddingVariable::Impl::SaveRun(const TableDescription& table, const SortedRun& run,
                                        const checkpoint::NewRowLane& new_lane, Executor& executor,
                                        std::vector<Key>* absent, const std::function<void()>& meanwhile) const {
  std::atomic<size_t> next{0};
  FirstError error;
  std::mutex absent_mu;
  executor.Run(executor.parallelism(), [&](int task) {
    if (task == 0 && meanwhile) meanwhile();
    const std::unique_ptr<checkpoint::RowLane> lane = new_lane();
    std::vector<Key> gone;
    for (size_t i = next.fetch_add(1); i < run.pieces.size() && error.ok(); i = next.fetch_add(1)) {
      error.Keep(SaveBlock(table, run, run.pieces[i], lane.get(), &gone));
    }
    const std::lock_guard<std::mutex> lock(absent_mu);
    absent->insert(absent->end(), gone.begin(), gone.end());
  });
  return error.status();
}

Status EmbeddingVariable::Impl::SaveFilteredKeys(TableWriter* writer) const {
  if (admission_ == nullptr) return OkStatus();
  std::vector<checkpoint::FilteredEntry> run;
  for (int s = 0; s < kStripes; ++s) {
    {
      std::lock_guard<std::mutex> lock(store_.stripes().of(s));
      admission_->Scan(s, [&](const FilteredKey& key) { run.push_back({key.key, key.frequency, key.version_plus1}); });
    }
    if (run.size() < kKeysPerRun / 2 && s + 1 < kStripes) continue;
    EV_RETURN_IF_ERROR(writer->AddFilteredKeys(run));
    run.clear();
  }
  return OkStatus();
}

TableDescription EmbeddingVariable::Impl::Describe() const {
  return {options_.name,
          options_.dim,
          static_cast<int64_t>(defaults_.all().size()) / options_.dim,
          options_.record_frequency,
          options_.record_version,
          store_.layout().slots(),
          options_.value_type,
          frozen()};
}

void EmbeddingVariable::Impl::NextRun(uint64_t* cursor, bool* more, LocatedKeys* keys) const {
  const bool locate = !store_.tiered();
  do {
    const EpochGuard guard(store_.epochs());
    *more = store_.ScanPart(cursor, [&](Span<const Key> found, Span<const Location> locations) {
      keys->keys.insert(keys->keys.end(), found.begin(), found.end());
      if (locate) keys->locations.insert(keys->locations.end(), locations.begin(), locations.end());
    });
  } while (*more && keys->keys.size() < kKeysPerRun);
}

void EmbeddingVariable::Impl::NextRunTaking(uint64_t* cursor, bool* more, SavedSegments* segments, Executor& executor,
                                            std::vector<Key>* all) const {
  const int last = store_.tiers() - 1;
  std::mutex mu;  // of *cursor, *more, run_keys and *all
  size_t run_keys = 0;
  *more = true;
  // The next part that is nobody's yet, [*begin, *end); false: there is none, or the run is long enough.
  const auto draw_part = [&](size_t found, uint64_t* begin, uint64_t* end) {
    const std::lock_guard<std::mutex> lock(mu);
    run_keys += found;
    if (!*more || run_keys >= kKeysPerRun) return false;
    *begin = *cursor;
    *cursor = *end = store_.PartAfter(*cursor);
    *more = *cursor != 0;
    return true;
  };
  executor.Run(executor.parallelism(), [&](int /*task*/) {
    SavedSegments::Taker taker(segments);
    std::vector<Key> keys;
    size_t counted = 0;
    uint64_t at = 0, end = 0;
    for (;;) {
      const EpochGuard guard(store_.epochs());
      if (!draw_part(keys.size() - counted, &at, &end)) break;
      counted = keys.size();
      do {  // it may have become several
        store_.ScanPart(&at, [&](Span<const Key> found, Span<const Location> locations) {
          taker.Take(found, locations, last, &keys);
        });
      } while (at != end);
    }
    TakeCopies(&keys, &taker);
    const std::lock_guard<std::mutex> lock(mu);
    all->insert(all->end(), keys.begin(), keys.end());
  });
}

Status EmbeddingVariable::Impl::SaveRows(const TableDescription& table, SavedSegments* segments,
                                         const checkpoint::NewRowLane& new_lane, Executor& executor) const {
  std::vector<Key> removed_meanwhile;
  uint64_t cursor = 0;
  bool more = true;
  const bool takes = segments != nullptr && !segments->empty();
  // The memory of one run is used for another: what is given back in large pieces does not leave the process.
  LocatedKeys keys;
  SortedRun run, next;
  // Grown, it would be there twice for a moment.  A part of the index has a few thousand keys.
  const size_t most = std::min(static_cast<size_t>(store_.size()), kKeysPerRun + kKeysPerRun / 16);
  if (!takes) keys.keys.reserve(most);
  if (!store_.tiered()) keys.locations.reserve(most);
  const auto look_for = [&](SortedRun* found) {
    keys.keys.clear();
    keys.locations.clear();
    if (takes) {
      NextRunTaking(&cursor, &more, segments, executor, &keys.keys);
    } else {
      NextRun(&cursor, &more, &keys);
    }
    SortRun(table, keys, found);
  };
  look_for(&run);
  for (;;) {
    // The next run is looked for while the rows of this one are written.
    const bool last = !more;
    removed_meanwhile.clear();
    EV_RETURN_IF_ERROR(SaveRun(table, run, new_lane, executor, &removed_meanwhile, [&] {
      if (!last) look_for(&next);
    }));
    if (last) return OkStatus();
    std::swap(run, next);
  }
}

Status EmbeddingVariable::Impl::SaveAll(Env* env, const std::string& path, const SaveOptions& save,
                                        const checkpoint::Lineage* lineage, Executor& executor,
                                        SaveReport* report) const {
  const TableDescription table = Describe();
  SavedSegments segments;
  std::unique_ptr<TableWriter> writer;
  EV_RETURN_IF_ERROR(TableWriter::Create(env, path, table, defaults_.all(), &writer));
  if (lineage != nullptr) EV_RETURN_IF_ERROR(writer->AddLineage(*lineage));
  if (save.link_segments && store_.segments() != nullptr) {
    // Rows of DRAM are then in files that this save and later ones link, until they change.  Where that tier takes no more
    // rows, or cannot complete its files, they are written with the others.
    static_cast<void>(store_.CopyDown(executor));
    static_cast<void>(store_.segments()->CloseSegments());
    EV_RETURN_IF_ERROR(segments.Open(store_.segments(), env, path, save.segment_path));
  }
  // Before the rows: a key that is admitted meanwhile is then a row as well, and is loaded as one.
  if (save.with_filtered) EV_RETURN_IF_ERROR(SaveFilteredKeys(writer.get()));
  EV_RETURN_IF_ERROR(SaveRows(table, &segments, LanesOf(writer.get()), executor));
  return CommitSave(env, path, save, &segments, writer.get(), report);
}

Status EmbeddingVariable::Impl::CommitSave(Env* env, const std::string& path, const SaveOptions& save,
                                           SavedSegments* segments, TableWriter* writer, SaveReport* report) {
  *report = {};
  EV_RETURN_IF_ERROR(segments->Write(writer, report));
  Status committed = writer->Commit();
  report->rows_written += writer->rows();
  if (writer->in_place()) segments->Keep();
  // What saves before it had beside the file.  Not sooner: until now a loss of power could bring the old file back.
  if (committed.ok() && save.segment_path == nullptr) {
    static_cast<void>(RemoveSegmentsExcept(env, path, segments->number()));
  }
  return committed;
}

Status EmbeddingVariable::Impl::SaveFrozen(Env* env, const std::string& path, const SaveOptions& save,
                                           Executor& executor, SaveReport* report) const {
  TableDescription table = Describe();
  std::vector<float> defaults(defaults_.all().begin(), defaults_.all().end());
  if (admission_ != nullptr) {  // whatever the key is
    defaults.assign(static_cast<size_t>(options_.dim), options_.default_value_no_permission);
    table.default_value_dim = 1;
  }
  table.has_frequency = table.has_version = false;
  table.slots.clear();
  table.frozen = true;
  SavedSegments segments;
  std::unique_ptr<TableWriter> writer;
  EV_RETURN_IF_ERROR(TableWriter::Create(env, path, table, defaults, &writer));
  if (save.frozen == SaveOptions::Frozen::kInMemory) {
    EV_RETURN_IF_ERROR(SaveRows(table, nullptr, LanesOf(writer.get()), executor));
    return CommitSave(env, path, save, &segments, writer.get(), report);
  }
  const RowLayout layout(options_.dim, options_.value_type);
  EV_RETURN_IF_ERROR(segments.OpenNew(layout.row_bytes(), save.segment_bytes, env, path, save.segment_path));
  std::mutex mu;
  const auto new_lane = [&] { return std::make_unique<SegmentLane>(table, layout, &mu, &segments); };
  EV_RETURN_IF_ERROR(SaveRows(table, nullptr, new_lane, executor));
  return CommitSave(env, path, save, &segments, writer.get(), report);
}

Status EmbeddingVariable::Impl::Save(Env* env, const std::string& path, const SaveOptions& save, Executor& executor,
                                     SaveReport* report) const {
  // Held to the end, so that rows have one layout in the whole file: an optimizer that brings its first slot waits.
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  if (save.frozen != SaveOptions::Frozen::kNo) return SaveFrozen(env, path, save, executor, report);
  return SaveAll(env, path, save, nullptr, executor, report);
}

}  // namespace ev
