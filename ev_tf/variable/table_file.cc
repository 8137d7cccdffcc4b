#include "ev_tf/variable/table_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ev_tf/checkpoint/segment_rows.h"
#include "ev_tf/env/env.h"
#include "ev_tf/row/row_layout.h"

namespace ev {
namespace {

using checkpoint::Part;
using checkpoint::TableDescription;

Env* OrDefault(Env* env) { return env == nullptr ? &Env::Default() : env; }

// Moves the rows that are kept to the front of a column of `width` elements a row.
template <typename T>
Span<const T> Keep(Span<const T> column, size_t width, const std::vector<size_t>& kept) {
  if (column.empty()) return column;
  auto* to = const_cast<T*>(column.data());  // of the buffer that ReadRows was given
  for (const size_t i : kept) to = std::copy_n(column.data() + i * width, width, to);
  return column.subspan(0, kept.size() * width);
}

// Appends the rows of `column` at `order` to *to.
template <typename T>
std::byte* Gather(Span<const T> column, size_t width, Span<const uint32_t> order, std::byte* to) {
  if (column.empty()) return to;
  for (const uint32_t i : order) {
    std::memcpy(to, column.data() + i * width, width * sizeof(T));
    to += width * sizeof(T);
  }
  return to;
}

Status WrongSize(const std::string& name, const char* column, size_t expected, size_t found) {
  return InvalidArgument(name + ": " + column + ": expected " + std::to_string(expected) + " elements, found " +
                         std::to_string(found));
}

Status CheckDescription(const TableDescription& table) {
  const auto out_of_range = [&](const std::string& what, int64_t limit, int64_t found) {
    return InvalidArgument("table '" + table.name + "': " + what + ": expected 1 to " + std::to_string(limit) +
                           ", found " + std::to_string(found));
  };
  if (table.dim < 1 || table.dim > kMaxDim) return out_of_range("dim", kMaxDim, table.dim);
  RowLayout layout(table.dim);
  for (const SlotSpec& slot : table.slots) {
    if (layout.FindSlot(slot.name) >= 0) {
      return InvalidArgument("table '" + table.name + "': slots: expected distinct names, found '" + slot.name +
                             "' twice");
    }
    RowLayout wider;
    EV_RETURN_IF_ERROR(layout.WithSlot(slot, &wider));
    layout = wider;
  }
  return OkStatus();
}

}  // namespace

Status SavedTable::Open(const std::string& path, std::unique_ptr<SavedTable>* out, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  if (reader->delta()) {
    return InvalidArgument(path + ": expected a whole table, found delta " +
                           std::to_string(reader->lineage()->sequence) + ": merge it with what it builds on first");
  }
  TableInfo info;
  EV_RETURN_IF_ERROR(InspectTable(path, &info, env));
  out->reset(new SavedTable(std::move(reader), std::move(info)));
  return OkStatus();
}

Status SavedTable::ReadRows(size_t i, const Part& part, std::vector<int64_t>* buffer, TableRows* rows) const {
  const bool in_segment = reader_->block(i).kind == checkpoint::BlockKind::kSegment;
  EV_RETURN_IF_ERROR(in_segment ? checkpoint::ReadWholeSegment(*reader_, i, buffer, rows)
                                : reader_->ReadBlock(i, buffer, rows));
  if (part.count == 1) return OkStatus();
  std::vector<size_t> kept;
  for (size_t k = 0; k < rows->keys.size(); ++k) {
    if (part.Has(rows->keys[k])) kept.push_back(k);
  }
  rows->keys = Keep(rows->keys, 1, kept);
  rows->frequencies = Keep(rows->frequencies, 1, kept);
  rows->versions = Keep(rows->versions, 1, kept);
  rows->values = Keep(rows->values, static_cast<size_t>(reader_->table().dim), kept);
  rows->slots = Keep(rows->slots, reader_->table().slot_floats(), kept);
  return OkStatus();
}

Status SavedTable::ReadFilteredKeys(size_t i, const Part& part, std::vector<FilteredKey>* keys) const {
  std::vector<checkpoint::FilteredEntry> entries;
  EV_RETURN_IF_ERROR(reader_->ReadFilteredKeys(i, &entries));
  keys->clear();
  for (const checkpoint::FilteredEntry& entry : entries) {
    if (part.Has(entry.key)) keys->push_back({entry.key, entry.frequency, entry.version_plus1});
  }
  return OkStatus();
}

Status TableBuilder::Create(const std::string& path, const TableDescription& table, Span<const float> default_rows,
                            std::unique_ptr<TableBuilder>* out, Env* env) {
  EV_RETURN_IF_ERROR(CheckDescription(table));
  std::unique_ptr<TableWriter> writer;
  EV_RETURN_IF_ERROR(TableWriter::Create(OrDefault(env), path, table, default_rows, &writer));
  out->reset(new TableBuilder(table, std::move(writer)));
  return OkStatus();
}

Status TableBuilder::Check(const TableRows& rows) const {
  const size_t n = rows.keys.size();
  const auto check = [&](const char* column, size_t expected, size_t found) {
    return expected == found ? OkStatus() : WrongSize("table '" + table_.name + "'", column, expected, found);
  };
  EV_RETURN_IF_ERROR(check("values", n * static_cast<size_t>(table_.dim), rows.values.size()));
  EV_RETURN_IF_ERROR(check("slots", n * table_.slot_floats(), rows.slots.size()));
  EV_RETURN_IF_ERROR(check("frequencies", table_.has_frequency ? n : 0, rows.frequencies.size()));
  EV_RETURN_IF_ERROR(check("versions", table_.has_version ? n : 0, rows.versions.size()));
  for (const int64_t frequency : rows.frequencies) {
    if (frequency < 0) return InvalidArgument("frequencies: expected at least 0, found " + std::to_string(frequency));
  }
  for (const int64_t version : rows.versions) {
    if (version < -1) return InvalidArgument("versions: expected at least -1, found " + std::to_string(version));
  }
  return OkStatus();
}

Status TableBuilder::Add(const TableRows& rows) {
  EV_RETURN_IF_ERROR(Check(rows));
  const std::vector<size_t> starts = checkpoint::BucketStarts(rows.keys);
  std::vector<size_t> next(starts.begin(), starts.end() - 1);
  std::vector<uint32_t> sorted(rows.keys.size());
  for (size_t i = 0; i < rows.keys.size(); ++i) {
    sorted[next[static_cast<size_t>(checkpoint::BucketOf(rows.keys[i]))]++] = static_cast<uint32_t>(i);
  }
  std::vector<std::byte> block;
  for (const checkpoint::BlockRange& range : checkpoint::CutIntoBlocks(starts, table_.BlockBytes(1))) {
    block.resize(table_.BlockBytes(range.n));
    const Span<const uint32_t> order(sorted.data() + range.first, range.n);
    std::byte* to = Gather(rows.keys, 1, order, block.data());
    to = Gather(rows.frequencies, 1, order, to);
    to = Gather(rows.versions, 1, order, to);
    to = Gather(rows.values, static_cast<size_t>(table_.dim), order, to);
    Gather(rows.slots, table_.slot_floats(), order, to);
    EV_RETURN_IF_ERROR(writer_->AddRows(range.first_bucket, range.last_bucket, range.n, block));
    rows_.fetch_add(static_cast<int64_t>(range.n), std::memory_order_relaxed);
  }
  return OkStatus();
}

Status TableBuilder::AddFilteredKeys(Span<const FilteredKey> keys) {
  std::vector<checkpoint::FilteredEntry> entries;
  entries.reserve(keys.size());
  for (const FilteredKey& key : keys) entries.push_back({key.key, key.frequency, key.version_plus1});
  return entries.empty() ? OkStatus() : writer_->AddFilteredKeys(entries);
}

}  // namespace ev
