// Files to a variable: the first file of each chain, then what its deltas say has changed, block by block on all threads.
#include <algorithm>
#include <atomic>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/base/scratch.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/chain.h"
#include "ev_tf/checkpoint/segment_rows.h"
#include "ev_tf/checkpoint/table_reader.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/ssd_log/segment_file.h"
#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/other_dim.h"
#include "ev_tf/variable/storage_type.h"

namespace ev {
namespace {

using checkpoint::BlockKind;
using checkpoint::Chain;
using checkpoint::Part;
using checkpoint::Readers;
using checkpoint::TableDescription;

// The rows of a block that are of one part.
class Share {
 public:
  void Take(const TableDescription& table, const TableRows& rows, const Part& part) {
    const auto dim = static_cast<size_t>(table.dim);
    const size_t slots = table.slot_floats();
    keys_.clear();
    frequencies_.clear();
    versions_.clear();
    values_.clear();
    columns_.clear();
    for (size_t i = 0; i < rows.keys.size(); ++i) {
      if (!part.Has(rows.keys[i])) continue;
      keys_.push_back(rows.keys[i]);
      if (!rows.frequencies.empty()) frequencies_.push_back(rows.frequencies[i]);
      if (!rows.versions.empty()) versions_.push_back(rows.versions[i]);
      values_.insert(values_.end(), rows.values.data() + i * dim, rows.values.data() + (i + 1) * dim);
      columns_.insert(columns_.end(), rows.slots.data() + i * slots, rows.slots.data() + (i + 1) * slots);
    }
  }
  TableRows rows() const { return {keys_, frequencies_, versions_, values_, columns_}; }

 private:
  std::vector<Key> keys_;
  std::vector<int64_t> frequencies_;
  std::vector<int64_t> versions_;
  std::vector<float> values_;
  std::vector<float> columns_;
};

// The memory of a thread that loads blocks.
struct Buffers {
  Share share;
  std::vector<checkpoint::FilteredEntry> counted;
  std::vector<Key> keys;
};

// What is needed to take the rows of `reader` by a variable of `options`: nothing, null, if the dims are the same.
Status ChangeDim(const TableReader& reader, const VariableOptions& options, const LoadOptions& load,
                 std::unique_ptr<OtherDim>* out) {
  out->reset();
  if (reader.table().dim == options.dim) return OkStatus();
  *out = std::make_unique<OtherDim>();
  const Status made =
      OtherDim::Create(reader.table().dim, options.dim, load.own_default_rows, reader.table().slots, out->get());
  return made.ok() ? made : Status(made.code(), reader.path() + ": " + made.message());
}

// Bytes of runs of blocks that are in flight or in use at once, of all threads: so much keeps a device busy.  Of one thread
// two runs at least, one in flight while it uses the other.
constexpr size_t kReadAhead = size_t{16} << 20;

// *some = those of `all` from *next on that nobody has claimed: of what is left the given part, so that the ends of
// reading, where a thread's reads run dry, are few, and all threads come to the last one together.  False: nothing is left.
bool Claim(Span<const BlockRun> all, size_t part, std::atomic<size_t>* next, Span<const BlockRun>* some) {
  size_t first = next->load();
  size_t count = 0;
  do {
    if (first == all.size()) return false;
    const size_t left = all.size() - first;
    count = std::max(std::min<size_t>(2, left), left / part);
  } while (!next->compare_exchange_weak(first, first + count));
  *some = {all.data() + first, count};
  return true;
}

// Rows of the first files that were put into a variable, and those that are in it and stayed where they are.
struct Loaded {
  std::atomic<int64_t> read{0};
  std::atomic<int64_t> adopted{0};
};

class Loader {
 public:
  // in_place: rows in segments stay there, or it is an error.
  Loader(const LoadOptions& load, bool in_place, Executor* executor, EmbeddingVariable* variable)
      : load_(load),
        in_place_(in_place),
        part_{load.partition, load.partitions},
        executor_(executor),
        variable_(variable) {}

  Status Run(const std::vector<Chain>& chains);
  // Of the first files of chains.
  LoadReport report() const { return {loaded_.read, loaded_.adopted}; }

 private:
  Status UseFile(const TableReader& file);
  // Rows of the part that the first files of chains have, about.
  int64_t RowsToCome(const std::vector<Chain>& chains) const;
  // The blocks of rows of the file that have keys of the part.
  Status LoadRowBlocks();
  std::vector<BlockRun> RunsOfRows() const;
  // Calls load_block(i, buffers) for its other blocks that have such keys and that `wants` wants.
  template <typename Wants, typename LoadBlock>
  Status ForEachOther(Wants&& wants, LoadBlock&& load_block);
  // The rows of the first file of a chain; they are counted.
  Status LoadFirst(const TableReader& file);
  // Its counts; after all rows: a count of a key that has a row is none.
  Status LoadCounts(const TableReader& file);
  // What has changed; a key is in one block only.
  Status Replay(const TableReader& delta);

  Status LoadRun(const BlockRun& run, const std::byte* bytes);
  // Those of `rows` that are of the part.
  Status WriteShare(TableRows rows, Share* share);
  Status LoadSegment(size_t i, Buffers* buffers);
  bool CanAdopt(const TableSegment& segment) const;
  Status WriteRows(const TableRows& rows);
  // remove_first: the keys may have a row, or another count, that is not theirs any more.
  Status LoadFilteredKeys(size_t i, bool remove_first, Buffers* buffers);
  Status LoadRemovedKeys(size_t i, Buffers* buffers);

  // What a block counts for in the progress.
  int64_t RowsOf(const checkpoint::BlockEntry& block) const;
  void NoteProgress(const checkpoint::BlockEntry& block);

  const LoadOptions& load_;
  const bool in_place_;
  const Part part_;
  Executor* const executor_;
  EmbeddingVariable* const variable_;
  const TableReader* file_ = nullptr;    // the one that is being loaded
  bool first_file_ = false;              // the rows of it are all new
  std::unique_ptr<OtherDim> other_dim_;  // null where it has the variable's dim
  int64_t total_ = 0;                    // rows of all blocks that are to be loaded
  std::atomic<int64_t> done_{0};         // of these
  Loaded loaded_;
};

int64_t Loader::RowsOf(const checkpoint::BlockEntry& block) const {
  if (!part_.Touches(block) || (block.kind == BlockKind::kFilteredKeys && !load_.with_filtered)) return 0;
  return block.rows;
}

void Loader::NoteProgress(const checkpoint::BlockEntry& block) {
  const int64_t done = done_.fetch_add(RowsOf(block)) + RowsOf(block);
  if (load_.progress) load_.progress(done, total_);
}

Status Loader::UseFile(const TableReader& file) {
  file_ = &file;
  return ChangeDim(file, variable_->options(), load_, &other_dim_);
}

Status Loader::WriteRows(const TableRows& rows) {
  EmbeddingVariable::ConstRowBatch batch{rows.values, {}, rows.frequencies, {}};
  Span<const SlotSpec> slots;
  if (load_.with_slots) {
    slots = other_dim_ == nullptr ? file_->table().slots : other_dim_->slots();
    batch.slots = rows.slots;
  }
  std::vector<float> values, columns;
  if (other_dim_ != nullptr) {
    values = other_dim_->Values(rows.keys, rows.values);
    batch.values = values;
    if (load_.with_slots) columns = other_dim_->Slots(rows.keys.size(), rows.slots);
    batch.slots = columns;
  }
  const std::vector<int64_t> zeros(load_.reset_versions ? rows.keys.size() : 0, 0);
  batch.versions = load_.reset_versions ? Span<const int64_t>(zeros) : rows.versions;
  int64_t added = 0;
  Status written =
      first_file_ ? variable_->AddRows(rows.keys, slots, batch, &added) : variable_->WriteRows(rows.keys, slots, batch);
  if (written.ok()) return written;
  return {written.code(), file_->path() + ": " + written.message()};
}

Status Loader::WriteShare(TableRows rows, Share* share) {
  if (part_.count > 1) {
    share->Take(file_->table(), rows, part_);
    rows = share->rows();
  }
  if (first_file_) loaded_.read.fetch_add(static_cast<int64_t>(rows.keys.size()), std::memory_order_relaxed);
  return WriteRows(rows);
}

Status Loader::LoadRun(const BlockRun& run, const std::byte* bytes) {
  Scratch<Share> share;
  for (size_t i = run.first; i < run.end; ++i) {
    TableRows rows;
    EV_RETURN_IF_ERROR(file_->RowsIn(run, bytes, i, &rows));
    EV_RETURN_IF_ERROR(WriteShare(rows, &*share));
    NoteProgress(file_->block(i));
  }
  return OkStatus();
}

bool Loader::CanAdopt(const TableSegment& segment) const {
  const TableDescription& table = file_->table();
  const bool as_it_is = other_dim_ == nullptr && (!load_.reset_versions || !table.has_version) &&
                        (load_.with_slots || table.slots.empty()) &&
                        table.value_type == variable_->options().value_type;
  if (!load_.adopt_segments || !as_it_is) return false;
  for (int64_t bucket = 0; bucket < checkpoint::kBuckets; ++bucket) {  // are all its rows of the part?
    if (segment.HasBucket(bucket) && !part_.Has(bucket)) return false;
  }
  return variable_->CanAdopt(segment.file, table.slots, table.has_frequency, table.has_version);
}

Status Loader::LoadSegment(size_t i, Buffers* buffers) {
  TableSegment segment;
  EV_RETURN_IF_ERROR(file_->ReadSegment(i, &segment));
  if (CanAdopt(segment)) {
    int64_t new_rows = 0;
    EV_RETURN_IF_ERROR(variable_->AdoptSegment(
        segment.file, segment.live, [&](Key key) { return TableReader::CheckBucket(segment, key); }, &new_rows));
    loaded_.adopted.fetch_add(file_->block(i).rows, std::memory_order_relaxed);
    return OkStatus();
  }
  bool any = false;
  for (int64_t bucket = 0; bucket < checkpoint::kBuckets; ++bucket) {
    any = any || (segment.HasBucket(bucket) && part_.Has(bucket));
  }
  if (!any) return OkStatus();
  if (in_place_) {
    return InvalidArgument(segment.file.path + ": expected rows that variable '" + variable_->options().name +
                           "' can read where they are, found those of another dim or of other parts than were saved");
  }
  return checkpoint::ReadSegmentColumns(*file_, segment,
                                        [&](const TableRows& rows) { return WriteShare(rows, &buffers->share); });
}

Status Loader::LoadFilteredKeys(size_t i, bool remove_first, Buffers* buffers) {
  EV_RETURN_IF_ERROR(file_->ReadFilteredKeys(i, &buffers->counted));
  std::vector<FilteredKey> keys;
  buffers->keys.clear();
  for (const checkpoint::FilteredEntry& entry : buffers->counted) {
    if (!part_.Has(entry.key)) continue;
    keys.push_back({entry.key, entry.frequency, load_.reset_versions ? 1 : entry.version_plus1});
    buffers->keys.push_back(entry.key);
  }
  if (remove_first) variable_->Remove(buffers->keys);
  return load_.with_filtered ? variable_->WriteFilteredKeys(keys) : OkStatus();
}

Status Loader::LoadRemovedKeys(size_t i, Buffers* buffers) {
  std::vector<Key>& keys = buffers->keys;
  EV_RETURN_IF_ERROR(file_->ReadRemovedKeys(i, &keys));
  keys.erase(std::remove_if(keys.begin(), keys.end(), [&](Key key) { return !part_.Has(key); }), keys.end());
  variable_->Remove(keys);
  return OkStatus();
}

std::vector<BlockRun> Loader::RunsOfRows() const {
  const auto wanted = [&](size_t i) {
    return file_->block(i).kind == BlockKind::kRows && part_.Touches(file_->block(i));
  };
  std::vector<BlockRun> runs;
  for (size_t i = 0; i < file_->blocks();) {
    BlockRun run{i, i + 1};
    if (wanted(i)) {
      for (const size_t end = file_->EndOfRun(i); run.end < end && wanted(run.end);) ++run.end;
      runs.push_back(run);
    }
    i = run.end;
  }
  return runs;
}

Status Loader::LoadRowBlocks() {
  const std::vector<BlockRun> runs = RunsOfRows();
  const auto threads = static_cast<size_t>(executor_->parallelism());
  const size_t memory = std::max<size_t>(kReadAhead / threads, 2 * TableReader::kRunBytes);
  std::atomic<size_t> next{0};
  FirstError error;
  executor_->Run(executor_->parallelism(), [&](int) {
    Span<const BlockRun> some;
    while (error.ok() && Claim(runs, 2 * threads, &next, &some)) {
      const auto load = [&](size_t r, const std::byte* bytes) {
        return error.ok() ? LoadRun(some[r], bytes) : error.status();  // another thread's, too
      };
      error.Keep(file_->ReadRuns(some, memory, load));
    }
  });
  return error.status();
}

template <typename Wants, typename LoadBlock>
Status Loader::ForEachOther(Wants&& wants, LoadBlock&& load_block) {
  std::atomic<size_t> next{0};
  FirstError error;
  executor_->Run(executor_->parallelism(), [&](int) {
    Buffers buffers;
    for (size_t i = next.fetch_add(1); i < file_->blocks() && error.ok(); i = next.fetch_add(1)) {
      const BlockKind kind = file_->block(i).kind;
      if (kind == BlockKind::kRows || !wants(kind) || !part_.Touches(file_->block(i))) continue;
      error.Keep(load_block(i, &buffers));
      NoteProgress(file_->block(i));
    }
  });
  return error.status();
}

Status Loader::LoadFirst(const TableReader& file) {
  EV_RETURN_IF_ERROR(UseFile(file));
  EV_RETURN_IF_ERROR(LoadRowBlocks());
  return ForEachOther([](BlockKind kind) { return kind == BlockKind::kSegment; },
                      [&](size_t i, Buffers* buffers) { return LoadSegment(i, buffers); });
}

Status Loader::LoadCounts(const TableReader& file) {
  if (!load_.with_filtered) return OkStatus();
  EV_RETURN_IF_ERROR(UseFile(file));
  return ForEachOther([](BlockKind kind) { return kind == BlockKind::kFilteredKeys; },
                      [&](size_t i, Buffers* buffers) { return LoadFilteredKeys(i, false, buffers); });
}

Status Loader::Replay(const TableReader& delta) {
  EV_RETURN_IF_ERROR(UseFile(delta));
  EV_RETURN_IF_ERROR(LoadRowBlocks());
  return ForEachOther([](BlockKind) { return true; },
                      [&](size_t i, Buffers* buffers) {
                        switch (delta.block(i).kind) {
                          case BlockKind::kFilteredKeys: return LoadFilteredKeys(i, true, buffers);
                          case BlockKind::kRemovedKeys: return LoadRemovedKeys(i, buffers);
                          default: return LoadSegment(i, buffers);
                        }
                      });
}

int64_t Loader::RowsToCome(const std::vector<Chain>& chains) const {
  int64_t rows = 0;
  for (const Chain& chain : chains) {
    const TableReader& file = *chain.files[0];
    for (size_t i = 0; i < file.blocks(); ++i) {
      const checkpoint::BlockEntry& block = file.block(i);
      if (block.kind == BlockKind::kRows) rows += block.rows;
      // What a block of a segment says is believed once it has been read; it has a bit for each row.
      if (block.kind != BlockKind::kSegment) continue;
      rows += std::min<int64_t>(block.rows, static_cast<int64_t>(block.bytes) * 8);
    }
  }
  return rows / part_.count;
}

Status Loader::Run(const std::vector<Chain>& chains) {
  for (const Chain& chain : chains) {  // the slots before any row, so that rows are laid out once
    EV_RETURN_IF_ERROR(UseFile(chain.newest()));
    EV_RETURN_IF_ERROR(WriteRows({}));
    for (const TableReader* file : chain.files) {
      for (size_t i = 0; i < file->blocks(); ++i) total_ += RowsOf(file->block(i));
    }
  }
  EV_RETURN_IF_ERROR(variable_->Reserve(RowsToCome(chains), *executor_));
  first_file_ = true;
  for (const Chain& chain : chains) EV_RETURN_IF_ERROR(LoadFirst(*chain.files[0]));
  first_file_ = false;
  const int64_t loaded = loaded_.read + loaded_.adopted;
  if (variable_->size() != loaded) {
    return InvalidArgument(chains[0].full->path() + (chains.size() > 1 ? " and the other files" : "") +
                           ": keys: expected distinct keys, found " + std::to_string(loaded) + " of which " +
                           std::to_string(variable_->size()) + " are distinct");
  }
  for (const Chain& chain : chains) EV_RETURN_IF_ERROR(LoadCounts(*chain.files[0]));
  for (const Chain& chain : chains) {
    for (size_t i = 1; i < chain.files.size(); ++i) EV_RETURN_IF_ERROR(Replay(*chain.files[i]));
  }
  return OkStatus();
}

Status CheckOptions(const VariableOptions& options, const LoadOptions& load, Span<const std::string> paths) {
  if (paths.empty()) return InvalidArgument(options.name + ": paths: expected at least one file, found none");
  return Part{load.partition, load.partitions}.Check(options.name);
}

Status CheckDims(const VariableOptions& options, const LoadOptions& load, const Readers& readers) {
  for (const auto& reader : readers) {
    if (reader->table().dim == options.dim || load.any_dim) continue;
    return InvalidArgument(reader->path() + ": dim: expected " + std::to_string(options.dim) + " as variable '" +
                           options.name + "' has, found " + std::to_string(reader->table().dim));
  }
  return OkStatus();
}

// How a table that was frozen is loaded.
struct FrozenLoad {
  bool frozen = false;
  bool in_place = false;
};

// *options = those of the variable that the files make.
Status PrepareFrozen(const Readers& readers, const LoadOptions& load, Env* env, VariableOptions* options,
                     FrozenLoad* out) {
  *out = {};
  size_t frozen = 0;
  uint32_t segment_slots = 0;
  for (const auto& reader : readers) {
    if (!reader->table().frozen) continue;
    ++frozen;
    for (size_t i = 0; i < reader->blocks() && segment_slots == 0 && load.adopt_segments; ++i) {
      if (reader->block(i).kind != BlockKind::kSegment) continue;
      TableSegment segment;
      EV_RETURN_IF_ERROR(reader->ReadSegment(i, &segment));
      // Before a log of its layout is made.
      EV_RETURN_IF_ERROR(ssd_log::CheckSegmentVersion(env == nullptr ? &Env::Default() : env, segment.file));
      segment_slots = segment.file.most_slots;
    }
  }
  if (frozen == 0 || load.thaw) return OkStatus();
  if (frozen != readers.size()) {
    return InvalidArgument(readers[0]->path() +
                           " and the other files: expected all or none of a table that was frozen");
  }
  out->frozen = true;
  out->in_place = segment_slots > 0;
  StorageOptions wanted = options->storage;
  if (load.frozen_dram_bytes > 0) wanted.dram_bytes = load.frozen_dram_bytes;
  options->value_type = readers[0]->table().value_type;
  options->record_frequency = options->record_version = false;
  options->admission = {};
  options->shrink = {};
  options->storage = {};
  return out->in_place ? MakeFrozenStorage(wanted, segment_slots, env, &options->storage) : OkStatus();
}

}  // namespace

Status LoadTable(const VariableOptions& options, Span<const std::string> paths, const LoadOptions& load,
                 Executor& executor, std::unique_ptr<EmbeddingVariable>* out, Env* env, LoadReport* report) {
  EV_RETURN_IF_ERROR(CheckOptions(options, load, paths));
  Readers readers;
  EV_RETURN_IF_ERROR(checkpoint::OpenTables(env == nullptr ? &Env::Default() : env, paths, &readers));
  EV_RETURN_IF_ERROR(CheckDims(options, load, readers));
  std::vector<Chain> chains;
  EV_RETURN_IF_ERROR(checkpoint::SortIntoChains(readers, &chains));
  std::vector<float> default_rows;
  EV_RETURN_IF_ERROR(chains[0].full->ReadDefaultRows(&default_rows));
  std::unique_ptr<OtherDim> other_dim;
  EV_RETURN_IF_ERROR(ChangeDim(*chains[0].full, options, load, &other_dim));
  if (other_dim != nullptr) default_rows = other_dim->DefaultRows(default_rows);
  VariableOptions made = options;
  FrozenLoad frozen;
  EV_RETURN_IF_ERROR(PrepareFrozen(readers, load, env, &made, &frozen));
  std::unique_ptr<EmbeddingVariable> variable;
  EV_RETURN_IF_ERROR(EmbeddingVariable::Create(made, default_rows, &variable));
  Loader loader(load, frozen.in_place, &executor, variable.get());
  EV_RETURN_IF_ERROR(loader.Run(chains));
  if (frozen.frozen) variable->Freeze();
  if (report != nullptr) *report = loader.report();
  *out = std::move(variable);
  return OkStatus();
}

}  // namespace ev
