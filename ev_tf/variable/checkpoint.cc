#include "ev_tf/variable/checkpoint.h"

#include <atomic>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/checkpoint/table_reader.h"
#include "ev_tf/env/env.h"

namespace ev {
namespace {

using checkpoint::BlockEntry;
using checkpoint::TableDescription;
using Readers = std::vector<std::unique_ptr<TableReader>>;

Env* OrDefault(Env* env) { return env == nullptr ? &Env::Default() : env; }

bool Holds(const BlockEntry& block, const LoadOptions& load) {
  const int64_t ahead = FloorMod(load.partition - block.first_bucket, load.partitions);
  return block.first_bucket + ahead <= block.last_bucket;
}

bool IsOurs(Key key, const LoadOptions& load) {
  return FloorMod(key, checkpoint::kBuckets) % load.partitions == load.partition;
}

// The rows of a block that are of one partition.
class Share {
 public:
  void Take(const TableDescription& table, const TableRows& rows, const LoadOptions& load) {
    const auto dim = static_cast<size_t>(table.dim);
    const size_t slots = table.slot_floats();
    keys_.clear();
    frequencies_.clear();
    versions_.clear();
    values_.clear();
    columns_.clear();
    for (size_t i = 0; i < rows.keys.size(); ++i) {
      if (!IsOurs(rows.keys[i], load)) continue;
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

Status LoadBlock(const TableReader& reader, const TableRows& rows, const LoadOptions& load,
                 EmbeddingVariable* variable) {
  EmbeddingVariable::ConstRowBatch batch{rows.values, {}, rows.frequencies, {}};
  Span<const SlotSpec> slots;
  if (load.with_slots) {
    slots = reader.table().slots;
    batch.slots = rows.slots;
  }
  const std::vector<int64_t> zeros(load.reset_versions ? rows.keys.size() : 0, 0);
  batch.versions = load.reset_versions ? Span<const int64_t>(zeros) : rows.versions;
  const Status written = variable->WriteRows(rows.keys, slots, batch);
  if (written.ok()) return written;
  return {written.code(), reader.path() + ": " + written.message()};
}

Status LoadFilteredKeys(const TableReader& reader, size_t i, const LoadOptions& load, EmbeddingVariable* variable) {
  std::vector<checkpoint::FilteredEntry> entries;
  EV_RETURN_IF_ERROR(reader.ReadFilteredKeys(i, &entries));
  std::vector<FilteredKey> keys;
  for (const checkpoint::FilteredEntry& entry : entries) {
    if (!IsOurs(entry.key, load)) continue;
    keys.push_back({entry.key, entry.frequency, load.reset_versions ? 1 : entry.version_plus1});
  }
  return variable->WriteFilteredKeys(keys);
}

// After all rows: a count of a key that has a row is none.
Status LoadCounts(const TableReader& reader, const LoadOptions& load, EmbeddingVariable* variable) {
  for (size_t i = 0; i < reader.blocks() && load.with_filtered; ++i) {
    if (reader.block(i).kind != checkpoint::BlockKind::kFilteredKeys) continue;
    EV_RETURN_IF_ERROR(LoadFilteredKeys(reader, i, load, variable));
  }
  return OkStatus();
}

Status LoadFile(const TableReader& reader, const LoadOptions& load, Executor& executor, EmbeddingVariable* variable,
                std::atomic<int64_t>* loaded) {
  // Before any row, so that rows are laid out once.
  EV_RETURN_IF_ERROR(LoadBlock(reader, {}, load, variable));
  std::atomic<size_t> next{0};
  FirstError error;
  executor.Run(executor.parallelism(), [&](int) {
    std::vector<int64_t> buffer;
    Share share;
    TableRows rows;
    for (size_t i = next.fetch_add(1); i < reader.blocks() && error.ok(); i = next.fetch_add(1)) {
      if (reader.block(i).kind != checkpoint::BlockKind::kRows || !Holds(reader.block(i), load)) continue;
      const Status read = reader.ReadBlock(i, &buffer, &rows);
      error.Keep(read);
      if (!read.ok()) break;
      if (load.partitions > 1) {
        share.Take(reader.table(), rows, load);
        rows = share.rows();
      }
      loaded->fetch_add(static_cast<int64_t>(rows.keys.size()), std::memory_order_relaxed);
      error.Keep(LoadBlock(reader, rows, load, variable));
    }
  });
  return error.status();
}

Status CheckOptions(const VariableOptions& options, const LoadOptions& load, Span<const std::string> paths) {
  if (paths.empty()) return InvalidArgument(options.name + ": paths: expected at least one file, found none");
  if (load.partitions < 1 || load.partitions > checkpoint::kBuckets || load.partition < 0 ||
      load.partition >= load.partitions) {
    return InvalidArgument(
        options.name + ": partition: expected 0 <= partition < partitions <= " + std::to_string(checkpoint::kBuckets) +
        ", found " + std::to_string(load.partition) + " of " + std::to_string(load.partitions));
  }
  return OkStatus();
}

Status OpenAll(const VariableOptions& options, Span<const std::string> paths, Env* env, Readers* readers) {
  for (const std::string& path : paths) {
    std::unique_ptr<TableReader> reader;
    EV_RETURN_IF_ERROR(TableReader::Open(env, path, &reader));
    if (reader->table().dim != options.dim) {
      return InvalidArgument(path + ": dim: expected " + std::to_string(options.dim) + " as variable '" + options.name +
                             "' has, found " + std::to_string(reader->table().dim));
    }
    readers->push_back(std::move(reader));
  }
  return OkStatus();
}

}  // namespace

Status SaveTable(const EmbeddingVariable& variable, const std::string& path, Executor& executor, Env* env) {
  return variable.Save(OrDefault(env), path, executor);
}

Status LoadTable(const VariableOptions& options, Span<const std::string> paths, const LoadOptions& load,
                 Executor& executor, std::unique_ptr<EmbeddingVariable>* out, Env* env) {
  EV_RETURN_IF_ERROR(CheckOptions(options, load, paths));
  Readers readers;
  EV_RETURN_IF_ERROR(OpenAll(options, paths, OrDefault(env), &readers));
  std::vector<float> default_rows;
  EV_RETURN_IF_ERROR(readers[0]->ReadDefaultRows(&default_rows));
  std::unique_ptr<EmbeddingVariable> variable;
  EV_RETURN_IF_ERROR(EmbeddingVariable::Create(options, default_rows, &variable));
  std::atomic<int64_t> loaded{0};
  for (const auto& reader : readers) EV_RETURN_IF_ERROR(LoadFile(*reader, load, executor, variable.get(), &loaded));
  for (const auto& reader : readers) EV_RETURN_IF_ERROR(LoadCounts(*reader, load, variable.get()));
  if (variable->size() != loaded.load()) {
    return InvalidArgument(paths[0] + (paths.size() > 1 ? " and the other files" : "") +
                           ": keys: expected distinct keys, found " + std::to_string(loaded.load()) + " of which " +
                           std::to_string(variable->size()) + " are distinct");
  }
  *out = std::move(variable);
  return OkStatus();
}

Status InspectTable(const std::string& path, TableInfo* info, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  const TableDescription& table = reader->table();
  *info = {table.name,
           table.dim,
           reader->rows(),
           table.default_value_dim,
           static_cast<int64_t>(reader->file_bytes()),
           table.has_frequency,
           table.has_version,
           table.slots};
  return OkStatus();
}

Status VerifyTable(const std::string& path, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  return reader->Verify();
}

}  // namespace ev
