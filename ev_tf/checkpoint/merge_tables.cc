// Buckets are merged a group at a time, as many as fit in memory: what the newest file of a chain says of a key counts.
#include "ev_tf/checkpoint/merge_tables.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/chain.h"
#include "ev_tf/checkpoint/table_writer.h"

namespace ev::checkpoint {
namespace {

// Of blocks that are in memory at once.
constexpr uint64_t kGroupBytes = 16 << 20;
// Counts that are sorted at once.
constexpr size_t kCountsPerRun = 256 << 10;

// Where the slots of a file go in the rows of the merged one.
struct SlotCopy {
  size_t from;
  size_t to;
  size_t n;
};

struct LoadedBlock {
  const std::vector<SlotCopy>* slots;
  size_t slot_floats;  // of the file
  std::vector<int64_t> bytes;
  TableRows rows;
};

// A row that stays.
struct Survivor {
  Key key;
  const LoadedBlock* block;
  size_t place;
};
Key KeyOf(const Survivor& row) { return row.key; }

// The buckets that are merged at once.
struct Group {
  int first;
  int last;

  bool Holds(Key key) const { return BucketOf(key) >= first && BucketOf(key) <= last; }
  bool Overlaps(const BlockEntry& block) const { return block.first_bucket <= last && block.last_bucket >= first; }
};

class Merger {
 public:
  // Requires: at least one chain.
  explicit Merger(std::vector<Chain> chains) : chains_(std::move(chains)) {}
  Status Run(Env* env, const std::string& merged);

 private:
  // What the merged table is.
  Status Describe();
  Status AddSlots(const TableReader& file);
  std::vector<SlotCopy> SlotCopies(const TableDescription& file) const;
  std::vector<Group> Groups() const;
  Status MergeGroup(const Group& group);
  // The group's part of one file of a chain; `known` has the keys that newer files, and its own rows, name.
  Status TakeRows(const TableReader& file, const Group& group, std::unordered_set<Key>* known);
  Status TakeKeys(const TableReader& file, const Group& group, std::unordered_set<Key>* known);
  Status WriteRows();
  Status WriteCounts();
  void WritePiece(const std::vector<Survivor>& rows, const BlockRange& piece, std::vector<int64_t>* buffer) const;

  const std::vector<Chain> chains_;
  TableDescription table_;
  std::vector<float> initial_slots_;
  std::unique_ptr<TableWriter> writer_;
  // Of the group that is being merged:
  std::vector<std::unique_ptr<std::vector<SlotCopy>>> copies_;
  std::vector<std::unique_ptr<LoadedBlock>> blocks_;
  std::vector<Survivor> survivors_;

  std::vector<FilteredEntry> counts_;
};

Status Merger::AddSlots(const TableReader& file) {
  for (const SlotSpec& slot : file.table().slots) {
    const auto same = std::find_if(table_.slots.begin(), table_.slots.end(),
                                   [&](const SlotSpec& known) { return known.name == slot.name; });
    if (same == table_.slots.end()) {
      table_.slots.push_back(slot);
    } else if (same->dim != slot.dim) {
      return InvalidArgument(file.path() + ": slot '" + slot.name + "': expected dim " + std::to_string(same->dim) +
                             " as in the other files, found " + std::to_string(slot.dim));
    }
  }
  return OkStatus();
}

Status Merger::Describe() {
  table_ = chains_[0].newest().table();
  for (const Chain& chain : chains_) {
    for (const TableReader* file : chain.files) {
      const TableDescription& other = file->table();
      if (other.dim != table_.dim || other.has_frequency != table_.has_frequency ||
          other.has_version != table_.has_version || other.value_type != table_.value_type) {
        return InvalidArgument(file->path() + ": expected dim, type of values, frequencies and versions as in " +
                               chains_[0].newest().path() + ", found others");
      }
      if (file->segment_rows() > 0) {
        return InvalidArgument(file->path() + ": expected all rows in the file, found " +
                               std::to_string(file->segment_rows()) +
                               " in segments beside it: load the table and save it without them first");
      }
      EV_RETURN_IF_ERROR(AddSlots(*file));
    }
  }
  for (const SlotSpec& slot : table_.slots) {
    initial_slots_.insert(initial_slots_.end(), static_cast<size_t>(slot.dim), slot.initial);
  }
  return OkStatus();
}

std::vector<SlotCopy> Merger::SlotCopies(const TableDescription& file) const {
  std::vector<SlotCopy> copies;
  size_t from = 0;
  for (const SlotSpec& slot : file.slots) {
    size_t to = 0;
    for (const SlotSpec& other : table_.slots) {
      if (other.name == slot.name) break;
      to += static_cast<size_t>(other.dim);
    }
    copies.push_back({from, to, static_cast<size_t>(slot.dim)});
    from += static_cast<size_t>(slot.dim);
  }
  return copies;
}

std::vector<Group> Merger::Groups() const {
  std::vector<uint64_t> bytes(kBuckets, 0);
  for (const Chain& chain : chains_) {
    for (const TableReader* file : chain.files) {
      for (size_t i = 0; i < file->blocks(); ++i) {
        const BlockEntry& block = file->block(i);
        const uint64_t buckets = uint64_t{block.last_bucket} - block.first_bucket + 1;
        for (size_t b = block.first_bucket; b <= block.last_bucket; ++b) bytes[b] += block.bytes / buckets;
      }
    }
  }
  std::vector<Group> groups = {{0, 0}};
  uint64_t group_bytes = 0;
  for (int b = 0; b < kBuckets; ++b) {
    const uint64_t more = bytes[static_cast<size_t>(b)];
    if (group_bytes != 0 && group_bytes + more > kGroupBytes) {
      groups.push_back({b, b});
      group_bytes = 0;
    }
    groups.back().last = b;
    group_bytes += more;
  }
  return groups;
}

Status Merger::TakeRows(const TableReader& file, const Group& group, std::unordered_set<Key>* known) {
  copies_.push_back(std::make_unique<std::vector<SlotCopy>>(SlotCopies(file.table())));
  for (size_t i = 0; i < file.blocks(); ++i) {
    if (file.block(i).kind != BlockKind::kRows || !group.Overlaps(file.block(i))) continue;
    auto block = std::make_unique<LoadedBlock>();
    block->slots = copies_.back().get();
    block->slot_floats = file.table().slot_floats();
    EV_RETURN_IF_ERROR(file.ReadBlock(i, &block->bytes, &block->rows));
    for (size_t row = 0; row < block->rows.keys.size(); ++row) {
      const Key key = block->rows.keys[row];
      if (group.Holds(key) && known->insert(key).second) survivors_.push_back({key, block.get(), row});
    }
    blocks_.push_back(std::move(block));
  }
  return OkStatus();
}

Status Merger::TakeKeys(const TableReader& file, const Group& group, std::unordered_set<Key>* known) {
  std::vector<FilteredEntry> counted;
  std::vector<Key> removed;
  for (size_t i = 0; i < file.blocks(); ++i) {
    if (!group.Overlaps(file.block(i))) continue;
    if (file.block(i).kind == BlockKind::kFilteredKeys) {
      EV_RETURN_IF_ERROR(file.ReadFilteredKeys(i, &counted));
      for (const FilteredEntry& entry : counted) {
        if (group.Holds(entry.key) && known->insert(entry.key).second) counts_.push_back(entry);
      }
    } else if (file.block(i).kind == BlockKind::kRemovedKeys) {
      EV_RETURN_IF_ERROR(file.ReadRemovedKeys(i, &removed));
      for (const Key key : removed) {
        if (group.Holds(key)) known->insert(key);
      }
    }
  }
  return OkStatus();
}

void Merger::WritePiece(const std::vector<Survivor>& rows, const BlockRange& piece,
                        std::vector<int64_t>* buffer) const {
  buffer->resize((table_.BlockBytes(piece.n) + sizeof(int64_t) - 1) / sizeof(int64_t));
  const RowColumns<std::byte> columns(table_, reinterpret_cast<std::byte*>(buffer->data()), piece.n);
  const auto dim = static_cast<size_t>(table_.dim);
  for (size_t i = 0; i < piece.n; ++i) {
    const Survivor& row = rows[piece.first + i];
    const TableRows& from = row.block->rows;
    reinterpret_cast<Key*>(columns.keys)[i] = row.key;
    if (table_.has_frequency) reinterpret_cast<int64_t*>(columns.frequencies)[i] = from.frequencies[row.place];
    if (table_.has_version) reinterpret_cast<int64_t*>(columns.versions)[i] = from.versions[row.place];
    std::copy_n(from.values.data() + row.place * dim, dim, reinterpret_cast<float*>(columns.values) + i * dim);
    float* slots = reinterpret_cast<float*>(columns.slots) + i * initial_slots_.size();
    std::copy(initial_slots_.begin(), initial_slots_.end(), slots);
    for (const SlotCopy& copy : *row.block->slots) {
      std::copy_n(from.slots.data() + row.place * row.block->slot_floats + copy.from, copy.n, slots + copy.to);
    }
  }
}

Status Merger::WriteRows() {
  std::vector<Survivor> sorted;
  const std::vector<size_t> starts = SortByBucket(survivors_, &sorted);
  std::vector<int64_t> buffer;
  for (const BlockRange& piece : CutIntoBlocks(starts, table_.BlockBytes(1))) {
    WritePiece(sorted, piece, &buffer);
    EV_RETURN_IF_ERROR(
        writer_->AddRows(piece.first_bucket, piece.last_bucket, piece.n,
                         {reinterpret_cast<const std::byte*>(buffer.data()), table_.BlockBytes(piece.n)}));
  }
  return OkStatus();
}

Status Merger::WriteCounts() {
  EV_RETURN_IF_ERROR(writer_->AddFilteredKeys(counts_));
  counts_.clear();
  return OkStatus();
}

Status Merger::MergeGroup(const Group& group) {
  blocks_.clear();
  copies_.clear();
  survivors_.clear();
  std::unordered_set<Key> known;
  for (const Chain& chain : chains_) {
    known.clear();
    for (auto file = chain.files.rbegin(); file != chain.files.rend(); ++file) {
      // The rows first: a count of a key that has a row is none.
      EV_RETURN_IF_ERROR(TakeRows(**file, group, &known));
      EV_RETURN_IF_ERROR(TakeKeys(**file, group, &known));
    }
  }
  for (size_t i = 0; chains_.size() > 1 && i < survivors_.size(); ++i) {
    if (i == 0) known.clear();
    if (known.insert(survivors_[i].key).second) continue;
    return InvalidArgument(chains_[0].full->path() + " and the other files: keys: expected distinct keys, found " +
                           std::to_string(survivors_[i].key) + " twice");
  }
  EV_RETURN_IF_ERROR(WriteRows());
  return counts_.size() < kCountsPerRun ? OkStatus() : WriteCounts();
}

Status Merger::Run(Env* env, const std::string& merged) {
  EV_RETURN_IF_ERROR(Describe());
  std::vector<float> default_rows;
  EV_RETURN_IF_ERROR(chains_[0].full->ReadDefaultRows(&default_rows));
  table_.default_value_dim = chains_[0].full->table().default_value_dim;
  EV_RETURN_IF_ERROR(TableWriter::Create(env, merged, table_, default_rows, &writer_));
  const Lineage* newest = chains_[0].newest().lineage();
  if (chains_.size() == 1 && newest != nullptr) {
    EV_RETURN_IF_ERROR(writer_->AddLineage({newest->id, newest->base, {}, newest->sequence, 0, 0}));
  }
  for (const Group& group : Groups()) EV_RETURN_IF_ERROR(MergeGroup(group));
  EV_RETURN_IF_ERROR(WriteCounts());
  return writer_->Commit();
}

}  // namespace

Status Merge(Env* env, Span<const std::string> paths, const std::string& merged) {
  if (paths.empty()) return InvalidArgument(merged + ": paths: expected at least one file, found none");
  Readers readers;
  EV_RETURN_IF_ERROR(OpenTables(env, paths, &readers));
  std::vector<Chain> chains;
  EV_RETURN_IF_ERROR(SortIntoChains(readers, &chains));
  return Merger(std::move(chains)).Run(env, merged);
}

}  // namespace ev::checkpoint
