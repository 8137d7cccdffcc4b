// A variable to a file: the index is scanned in runs of keys, a run is sorted by bucket and cut into blocks, and threads read
// the rows of the blocks and write them.
#include <algorithm>
#include <atomic>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/checkpoint/table_writer.h"
#include "ev_tf/variable/impl.h"

namespace ev {
namespace {

using checkpoint::kBuckets;
using checkpoint::TableDescription;

// Keys sorted at once: what bounds the memory of a save, 16 bytes each.  More make the pieces of a bucket longer, and
// reading the share of one partition less scattered.
constexpr size_t kKeysPerRun = size_t{1} << 20;
// A block ends with its bucket once it has this many bytes, or with its row once it has the other many.
constexpr size_t kWantedBlockBytes = 128 << 10;
constexpr size_t kMaxBlockBytes = 1 << 20;

// Keys of a run, sorted by bucket, that become one block.
struct KeyBlock {
  size_t first;
  size_t n;
  int first_bucket;
  int last_bucket;
};

int BucketOf(Key key) { return static_cast<int>(FloorMod(key, kBuckets)); }

// starts[b] = where the keys of bucket b begin in *sorted; starts[kBuckets] = the end.
void SortByBucket(const std::vector<Key>& keys, std::vector<Key>* sorted, std::vector<size_t>* starts) {
  starts->assign(kBuckets + 1, 0);
  for (const Key key : keys) ++(*starts)[static_cast<size_t>(BucketOf(key)) + 1];
  for (size_t b = 0; b < kBuckets; ++b) (*starts)[b + 1] += (*starts)[b];
  std::vector<size_t> next(starts->begin(), starts->end() - 1);
  sorted->resize(keys.size());
  for (const Key key : keys) (*sorted)[next[static_cast<size_t>(BucketOf(key))]++] = key;
}

std::vector<KeyBlock> CutIntoBlocks(const std::vector<size_t>& starts, size_t row_bytes) {
  const size_t wanted = std::max<size_t>(1, kWantedBlockBytes / row_bytes);
  const size_t most = std::max<size_t>(1, kMaxBlockBytes / row_bytes);
  std::vector<KeyBlock> blocks;
  KeyBlock block{0, 0, 0, 0};
  const auto close = [&] {
    if (block.n > 0) blocks.push_back(block);
    block = {block.first + block.n, 0, 0, 0};
  };
  for (int b = 0; b < kBuckets; ++b) {
    size_t left = starts[static_cast<size_t>(b) + 1] - starts[static_cast<size_t>(b)];
    while (left > 0) {
      if (block.n == 0) block.first_bucket = b;
      const size_t taken = std::min(left, most - block.n);
      block.n += taken;
      block.last_bucket = b;
      left -= taken;
      if (block.n == most) close();
    }
    if (block.n >= wanted) close();
  }
  close();
  return blocks;
}

template <typename T>
Span<T> Column(std::byte* column, size_t n) {
  return {reinterpret_cast<T*>(column), column == nullptr ? 0 : n};
}

}  // namespace

Status EmbeddingVariable::Impl::ReadBlock(const TableDescription& table, std::vector<Key>* keys,
                                          std::vector<int64_t>* buffer) const {
  for (;;) {
    const size_t n = keys->size();
    buffer->resize((table.BlockBytes(n) + sizeof(int64_t) - 1) / sizeof(int64_t));
    const checkpoint::RowColumns<std::byte> columns(table, reinterpret_cast<std::byte*>(buffer->data()), n);
    const RowBatch batch{Column<float>(columns.values, n * static_cast<size_t>(table.dim)),
                         Column<float>(columns.slots, n * table.slot_floats()), Column<int64_t>(columns.frequencies, n),
                         Column<int64_t>(columns.versions, n)};
    const auto found = std::make_unique<bool[]>(n);
    EV_RETURN_IF_ERROR(ReadLocked(*keys, batch, {found.get(), n}));
    std::copy(keys->begin(), keys->end(), reinterpret_cast<Key*>(columns.keys));
    if (std::all_of(found.get(), found.get() + n, [](bool one) { return one; })) return OkStatus();
    // Some were removed since the scan: the columns are closer together without them.
    size_t kept = 0;
    for (size_t i = 0; i < n; ++i) {
      if (found[i]) (*keys)[kept++] = (*keys)[i];
    }
    keys->resize(kept);
  }
}

Status EmbeddingVariable::Impl::SaveRun(const TableDescription& table, const std::vector<Key>& run, TableWriter* writer,
                                        Executor& executor) const {
  std::vector<Key> sorted;
  std::vector<size_t> starts;
  SortByBucket(run, &sorted, &starts);
  const std::vector<KeyBlock> blocks = CutIntoBlocks(starts, table.BlockBytes(1));
  std::atomic<size_t> next{0};
  FirstError error;
  executor.Run(executor.parallelism(), [&](int) {
    std::vector<Key> keys;
    std::vector<int64_t> buffer;
    for (size_t i = next.fetch_add(1); i < blocks.size() && error.ok(); i = next.fetch_add(1)) {
      const KeyBlock& block = blocks[i];
      const auto begin = sorted.begin() + static_cast<std::ptrdiff_t>(block.first);
      keys.assign(begin, begin + static_cast<std::ptrdiff_t>(block.n));
      const Status read = ReadBlock(table, &keys, &buffer);
      error.Keep(read);
      if (!read.ok() || keys.empty()) continue;
      error.Keep(writer->AddRows(block.first_bucket, block.last_bucket, keys.size(),
                                 {reinterpret_cast<const std::byte*>(buffer.data()), table.BlockBytes(keys.size())}));
    }
  });
  return error.status();
}

Status EmbeddingVariable::Impl::SaveFilteredKeys(TableWriter* writer) const {
  if (admission_ == nullptr) return OkStatus();
  std::vector<checkpoint::FilteredEntry> entries;
  for (int s = 0; s < kStripes; ++s) {
    entries.clear();
    {
      std::lock_guard<std::mutex> lock(store_.stripes().of(s));
      admission_->Scan(s, [&](const FilteredKey& key) {
        entries.push_back({key.key, key.frequency, key.version_plus1});
      });
    }
    if (!entries.empty()) EV_RETURN_IF_ERROR(writer->AddFilteredKeys(entries));
  }
  return OkStatus();
}

Status EmbeddingVariable::Impl::Save(Env* env, const std::string& path, Executor& executor) const {
  // Held to the end, so that rows have one layout in the whole file: an optimizer that brings its first slot waits.
  std::shared_lock<FairSharedMutex> layout(layout_mu_);
  const TableDescription table{options_.name,
                               options_.dim,
                               static_cast<int64_t>(defaults_.all().size()) / options_.dim,
                               options_.record_frequency,
                               options_.record_version,
                               store_.layout().slots()};
  std::unique_ptr<TableWriter> writer;
  EV_RETURN_IF_ERROR(TableWriter::Create(env, path, table, defaults_.all(), &writer));
  // Before the rows: a key that is admitted meanwhile is then a row as well, and is loaded as one.
  EV_RETURN_IF_ERROR(SaveFilteredKeys(writer.get()));
  std::vector<Key> run;
  uint64_t cursor = 0;
  bool more = true;
  do {
    run.clear();
    do {
      const EpochGuard guard(store_.epochs());
      more = store_.ScanKeysPart(&cursor, [&](Key key) { run.push_back(key); });
    } while (more && run.size() < kKeysPerRun);
    EV_RETURN_IF_ERROR(SaveRun(table, run, writer.get(), executor));
  } while (more);
  return writer->Commit();
}

}  // namespace ev
