#include "ev_tf/variable/group_update.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "ev_tf/base/first_error.h"

namespace ev {
namespace {

// A table of at most so many bytes of gradients is one thread's.
constexpr size_t kOneThreadBytes = 256 << 10;
// Bytes of gradients that make one more thread worth waking.
constexpr size_t kBytesPerTask = 128 << 10;

}  // namespace

Status ApplyTables(const UpdateRule& rule, Span<const TableUpdate> tables, int64_t global_step, Executor& executor) {
  FirstError error;
  const auto apply = [&](const TableUpdate& table, Executor& threads) {
    error.Keep(table.variable->Apply(rule, table.slots, table.keys, table.grads, global_step, threads));
  };
  std::vector<const TableUpdate*> small;
  size_t bytes = 0;
  for (const TableUpdate& table : tables) {
    const size_t of_table = table.grads.size() * sizeof(float);
    if (of_table > kOneThreadBytes) {
      apply(table, executor);
    } else {
      small.push_back(&table);
      bytes += of_table;
    }
  }
  const size_t most = std::min(small.size(), static_cast<size_t>(executor.parallelism()));
  const size_t tasks = std::min(bytes / kBytesPerTask, most);
  std::atomic<size_t> next{0};
  const auto work = [&](int) {
    SerialExecutor serial;
    for (size_t i = next.fetch_add(1); i < small.size(); i = next.fetch_add(1)) apply(*small[i], serial);
  };
  if (tasks <= 1) {
    work(0);
  } else {
    executor.Run(static_cast<int>(tasks), work);
  }
  return error.status();
}

}  // namespace ev
