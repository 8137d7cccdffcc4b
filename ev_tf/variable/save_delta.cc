// Chains of saves: a full one, after which the variable remembers which keys change, and deltas, which write only those.
#include <utility>

#include "ev_tf/base/sync_point.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/impl.h"

namespace ev {

using checkpoint::Lineage;
using checkpoint::TableDescription;

// A key is taken out of changed_keys_ before its row is read: an update in between is in the file, or will be in the next one.
std::vector<ChangedKeys::Changes> EmbeddingVariable::Impl::TakeChanges() {
  std::vector<ChangedKeys::Changes> taken;
  taken.reserve(kStripes);
  for (int s = 0; s < kStripes; ++s) {
    std::lock_guard<std::mutex> lock(store_.stripes().of(s));
    taken.push_back(changed_keys_.Take(s));
  }
  return taken;
}

void EmbeddingVariable::Impl::GiveBackChanges(std::vector<ChangedKeys::Changes> taken) {
  for (int s = 0; s < kStripes; ++s) {
    std::lock_guard<std::mutex> lock(store_.stripes().of(s));
    if (chain_) {
      changed_keys_.GiveBack(s, std::move(taken[static_cast<size_t>(s)]));
    } else {
      changed_keys_.Stop(s);
    }
  }
}

Status EmbeddingVariable::Impl::SaveAbsentKeys(const std::vector<Key>& keys, TableWriter* writer) const {
  std::vector<checkpoint::FilteredEntry> counted;
  std::vector<Key> removed;
  const bool counts = admission_ != nullptr && admission_->exact();
  for (const Key key : keys) {
    const int stripe = StripeOf(HashKey(key));
    std::lock_guard<std::mutex> lock(store_.stripes().of(stripe));
    const FilteredKey known = counts ? admission_->Get(stripe, key) : FilteredKey{key, 0, 0};
    if (known.frequency != 0) {
      counted.push_back({key, known.frequency, known.version_plus1});
    } else {
      removed.push_back(key);
    }
  }
  EV_RETURN_IF_ERROR(writer->AddFilteredKeys(counted));
  return writer->AddRemovedKeys(removed);
}

Status EmbeddingVariable::Impl::SaveChanges(Env* env, const std::string& path, const Lineage& lineage,
                                            const std::vector<ChangedKeys::Changes>& changes,
                                            Executor& executor) const {
  const TableDescription table = Describe();
  std::unique_ptr<TableWriter> writer;
  EV_RETURN_IF_ERROR(TableWriter::Create(env, path, table, {}, &writer));
  EV_RETURN_IF_ERROR(writer->AddLineage(lineage));
  LocatedKeys run;
  SortedRun sorted;
  std::vector<Key> absent;
  const auto save_run = [&]() -> Status {
    absent.clear();
    SortRun(table, run, &sorted);
    EV_RETURN_IF_ERROR(SaveRun(table, sorted, LanesOf(writer.get()), executor, &absent, {}));
    run.keys.clear();
    return SaveAbsentKeys(absent, writer.get());
  };
  for (const ChangedKeys::Changes& stripe : changes) {
    Status status;
    stripe.keys.ForEach([&](Key key) {
      run.keys.push_back(key);
      if (run.keys.size() == kKeysPerRun && status.ok()) status = save_run();
    });
    EV_RETURN_IF_ERROR(status);
  }
  EV_RETURN_IF_ERROR(save_run());
  EV_SYNC_POINT("delta.written");
  return writer->Commit();
}

Status EmbeddingVariable::Impl::SaveBase(Env* env, const std::string& path, Executor& executor) {
  const std::lock_guard<std::mutex> alone(chain_mu_);
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const checkpoint::SaveId id = checkpoint::NewSaveId();
  const Lineage lineage{id, id, {}, 0, 0, 0};
  std::vector<ChangedKeys::Changes> taken = TakeChanges();
  SaveReport unwanted;
  if (Status status = SaveAll(env, path, SaveOptions(), &lineage, executor, &unwanted); !status.ok()) {
    GiveBackChanges(std::move(taken));
    return status;
  }
  chain_ = lineage;
  cleared_ = false;
  return OkStatus();
}

Status EmbeddingVariable::Impl::SaveDelta(Env* env, const std::string& path, Executor& executor) {
  const std::lock_guard<std::mutex> alone(chain_mu_);
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  if (!chain_) {
    return FailedPrecondition(options_.name +
                              ": delta: expected a full save that it can build on, found none: SaveBase");
  }
  const uint32_t flags = checkpoint::kDeltaFlag | (cleared_ ? checkpoint::kClearedFlag : 0);
  const Lineage lineage{checkpoint::NewSaveId(), chain_->base, chain_->id, chain_->sequence + 1, flags, 0};
  std::vector<ChangedKeys::Changes> taken = TakeChanges();
  Status status;
  for (const ChangedKeys::Changes& stripe : taken) {
    if (!stripe.lost) continue;
    status =
        FailedPrecondition(options_.name +
                           ": delta: expected to know which keys have changed since the last save, found that there "
                           "was no memory to note all of them: SaveBase");
  }
  if (status.ok()) status = SaveChanges(env, path, lineage, taken, executor);
  if (!status.ok()) {
    GiveBackChanges(std::move(taken));
    return status;
  }
  chain_ = lineage;
  cleared_ = false;
  return OkStatus();
}

}  // namespace ev
