#include "ev_tf/variable/checkpoint.h"

#include "ev_tf/base/first_error.h"
#include "ev_tf/checkpoint/buckets.h"
#include "ev_tf/checkpoint/merge_tables.h"
#include "ev_tf/checkpoint/segment_links.h"
#include "ev_tf/checkpoint/table_reader.h"
#include "ev_tf/env/env.h"

namespace ev {
namespace {

Env* OrDefault(Env* env) { return env == nullptr ? &Env::Default() : env; }

}  // namespace

bool IsOfPartition(Key key, const LoadOptions& load) {
  return checkpoint::Part{load.partition, load.partitions}.Has(key);
}

Status SaveTable(const EmbeddingVariable& variable, const std::string& path, Executor& executor, Env* env,
                 const SaveOptions& save, SaveReport* report) {
  SaveReport unwanted;
  return variable.Save(OrDefault(env), path, save, executor, report == nullptr ? &unwanted : report);
}

Status SaveBase(EmbeddingVariable* variable, const std::string& path, Executor& executor, Env* env) {
  return variable->SaveBase(OrDefault(env), path, executor);
}

Status SaveDelta(EmbeddingVariable* variable, const std::string& path, Executor& executor, Env* env) {
  return variable->SaveDelta(OrDefault(env), path, executor);
}

Status InspectTable(const std::string& path, TableInfo* info, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  const checkpoint::TableDescription& table = reader->table();
  *info = TableInfo();
  info->name = table.name;
  info->dim = table.dim;
  info->rows = reader->rows();
  info->default_value_dim = table.default_value_dim;
  info->file_bytes = static_cast<int64_t>(reader->file_bytes());
  info->segment_rows = reader->segment_rows();
  info->checksum = reader->checksum();
  info->has_frequency = table.has_frequency;
  info->has_version = table.has_version;
  info->slots = table.slots;
  info->value_type = table.value_type;
  info->frozen = table.frozen;
  info->is_delta = reader->delta();
  if (const checkpoint::Lineage* lineage = reader->lineage()) {
    info->save_id = checkpoint::ToString(lineage->id);
    info->base_id = checkpoint::ToString(lineage->base);
    info->sequence = static_cast<int64_t>(lineage->sequence);
  }
  for (size_t i = 0; i < reader->blocks(); ++i) {
    const checkpoint::BlockEntry& block = reader->block(i);
    if (block.kind == checkpoint::BlockKind::kFilteredKeys) info->filtered_keys += block.rows;
    if (block.kind == checkpoint::BlockKind::kSegment) ++info->segments;
    if (block.kind == checkpoint::BlockKind::kRemovedKeys) info->removed_keys += block.rows;
  }
  return OkStatus();
}

Status VerifyTable(const std::string& path, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  return reader->Verify();
}

Status MergeTables(Span<const std::string> paths, const std::string& merged, Env* env) {
  return checkpoint::Merge(OrDefault(env), paths, merged);
}

Status TableFiles(const std::string& path, std::vector<std::string>* paths, Env* env) {
  std::unique_ptr<TableReader> reader;
  EV_RETURN_IF_ERROR(TableReader::Open(OrDefault(env), path, &reader));
  *paths = {path};
  TableSegment segment;
  for (size_t i = 0; i < reader->blocks(); ++i) {
    if (reader->block(i).kind != checkpoint::BlockKind::kSegment) continue;
    EV_RETURN_IF_ERROR(reader->ReadSegment(i, &segment));
    paths->push_back(segment.file.path);
  }
  return OkStatus();
}

Status RemoveTable(const std::string& path, Env* env) {
  std::vector<std::string> paths;
  EV_RETURN_IF_ERROR(TableFiles(path, &paths, env));
  FirstError error;
  for (const std::string& one : paths) error.Keep(OrDefault(env)->Unlink(one));
  error.Keep(RemoveSegmentsExcept(OrDefault(env), path, 0));
  return error.status();
}

}  // namespace ev
