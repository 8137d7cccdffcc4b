#include "ev_tf/checkpoint/chain.h"

#include <algorithm>
#include <string>
#include <utility>

namespace ev::checkpoint {
namespace {

uint64_t SequenceOf(const TableReader* reader) { return reader->lineage()->sequence; }

// The chain of the full save that `delta` goes back to.
Status FindChain(const TableReader& delta, std::vector<Chain>* chains, Chain** found) {
  *found = nullptr;
  for (Chain& chain : *chains) {
    const Lineage* full = chain.full->lineage();
    if (full == nullptr || full->base != delta.lineage()->base) continue;
    if (*found != nullptr) {
      return InvalidArgument(chain.full->path() + ": save: expected one full save of " + ToString(full->base) +
                             ", found " + (*found)->full->path() + " too");
    }
    *found = &chain;
  }
  if (*found != nullptr) return OkStatus();
  return InvalidArgument(delta.path() + ": delta " + std::to_string(delta.lineage()->sequence) +
                         ": expected its full save " + ToString(delta.lineage()->base) +
                         " among the files, found none: is the delta of another run?");
}

Status CheckLinks(const Chain& chain) {
  for (size_t i = 1; i < chain.files.size(); ++i) {
    const TableReader& delta = *chain.files[i];
    const Lineage& before = *chain.files[i - 1]->lineage();
    const Lineage& lineage = *delta.lineage();
    if (lineage.sequence != before.sequence + 1) {
      return InvalidArgument(delta.path() + ": expected delta " + std::to_string(before.sequence + 1) +
                             ", which follows " + chain.files[i - 1]->path() + ", found delta " +
                             std::to_string(lineage.sequence));
    }
    if (lineage.previous != before.id) {
      return InvalidArgument(delta.path() + ": expected a delta on save " + ToString(before.id) + ", which is " +
                             chain.files[i - 1]->path() + ", found one on save " + ToString(lineage.previous) +
                             ": is the delta of another run?");
    }
    if (delta.table().value_type != chain.full->table().value_type) {
      return InvalidArgument(delta.path() + ": expected values of the type that they have in " + chain.full->path() +
                             ", found others");
    }
  }
  return OkStatus();
}

}  // namespace

Status OpenTables(Env* env, Span<const std::string> paths, Readers* readers) {
  for (const std::string& path : paths) {
    std::unique_ptr<TableReader> reader;
    EV_RETURN_IF_ERROR(TableReader::Open(env, path, &reader));
    readers->push_back(std::move(reader));
  }
  return OkStatus();
}

Status SortIntoChains(const Readers& readers, std::vector<Chain>* chains) {
  for (const auto& reader : readers) {
    if (!reader->delta()) chains->push_back({reader.get(), {reader.get()}});
  }
  for (const auto& reader : readers) {
    if (!reader->delta()) continue;
    Chain* chain = nullptr;
    EV_RETURN_IF_ERROR(FindChain(*reader, chains, &chain));
    chain->files.push_back(reader.get());
  }
  for (Chain& chain : *chains) {
    std::vector<const TableReader*>& files = chain.files;
    std::stable_sort(files.begin() + 1, files.end(),
                     [](const TableReader* a, const TableReader* b) { return SequenceOf(a) < SequenceOf(b); });
    EV_RETURN_IF_ERROR(CheckLinks(chain));
    for (size_t i = files.size() - 1; i > 0; --i) {
      if (!files[i]->lineage()->cleared()) continue;
      files.erase(files.begin(), files.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
  }
  return OkStatus();
}

}  // namespace ev::checkpoint
