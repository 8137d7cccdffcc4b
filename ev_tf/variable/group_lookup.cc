#include "ev_tf/variable/group_lookup.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "ev_tf/base/scratch.h"

namespace ev {
namespace {

// Rows of one part: they stay in the second-level cache between reading and combining, and are enough that the lookup's
// pipeline runs full.
constexpr size_t kPartBytes = 64 << 10;
constexpr size_t kLeastIds = 256;
// Bytes of rows that make one more thread worth waking.
constexpr size_t kBytesPerTask = 256 << 10;

// Entries [first, end) of a table, whose ids are [first_id, end_id).
struct Part {
  uint32_t table;
  uint32_t first, end;
  uint32_t first_id, end_id;
};

class Parts {
 public:
  // `starts` null: every id is its own entry.
  void Add(size_t table, const uint32_t* starts, size_t entries, int64_t dim) {
    const size_t row_bytes = static_cast<size_t>(dim) * sizeof(float);
    const size_t most = std::max(kLeastIds, kPartBytes / row_bytes);
    for (size_t first = 0; first < entries;) {
      size_t end = std::min(entries, first + most);  // entries without ids are written too
      size_t first_id = first, end_id = end;
      if (starts != nullptr) {
        first_id = starts[first];
        const auto bound = std::upper_bound(starts + first + 1, starts + end + 1, first_id + most);
        end = std::max(first + 1, static_cast<size_t>(bound - starts) - 1);
        end_id = starts[end];
      }
      parts_.push_back({static_cast<uint32_t>(table), static_cast<uint32_t>(first), static_cast<uint32_t>(end),
                        static_cast<uint32_t>(first_id), static_cast<uint32_t>(end_id)});
      bytes_ += std::max(end_id - first_id, end - first) * row_bytes;
      first = end;
    }
  }

  // visit(part) for each, by as many threads as the bytes are worth.
  template <typename Visitor>
  void Run(Executor& executor, Visitor&& visit) const {
    const size_t most = std::min(parts_.size(), static_cast<size_t>(executor.parallelism()));
    const size_t tasks = std::min(bytes_ / kBytesPerTask, most);
    std::atomic<size_t> next{0};
    const auto work = [&](int) {
      for (size_t i = next.fetch_add(1); i < parts_.size(); i = next.fetch_add(1)) visit(parts_[i]);
    };
    if (tasks <= 1) {
      work(0);
    } else {
      executor.Run(static_cast<int>(tasks), work);
    }
  }

 private:
  std::vector<Part> parts_;
  size_t bytes_ = 0;
};

CombineRange RangeOf(const Part& part, const CombineRule& rule, int64_t dim, const Entries& entries,
                     const float* weights) {
  return {rule, dim, entries.starts() + part.first, part.end - part.first,
          weights == nullptr ? nullptr : weights + part.first_id};
}

Status LookupPart(const TableLookup& table, const Part& part) {
  SerialExecutor serial;
  const int64_t dim = table.variable->dim();
  const Span<const Key> keys = table.keys.subspan(part.first_id, part.end_id - part.first_id);
  const size_t floats = keys.size() * static_cast<size_t>(dim);
  float* out = table.out + static_cast<int64_t>(part.first) * dim;
  const bool as_it_is = table.entries == nullptr || (table.entries->one_each() && table.weights == nullptr &&
                                                     table.rule.max_norm == 0.0f && table.rows == nullptr);
  if (as_it_is) return table.variable->Lookup(keys, Span<float>(out, floats), serial);
  Scratch<std::vector<float>> scratch;
  float* rows = table.rows == nullptr ? nullptr : table.rows + static_cast<int64_t>(part.first_id) * dim;
  if (rows == nullptr) {
    if (scratch->size() < floats) scratch->resize(floats);
    rows = scratch->data();
  }
  EV_RETURN_IF_ERROR(table.variable->Lookup(keys, Span<float>(rows, floats), serial));
  Combine(RangeOf(part, table.rule, dim, *table.entries, table.weights), rows, out);
  return OkStatus();
}

template <typename Visitor>
void VisitTables(Span<const TableCombine> tables, Executor& executor, Visitor&& visit) {
  Parts parts;
  for (size_t t = 0; t < tables.size(); ++t) {
    parts.Add(t, tables[t].entries->starts(), tables[t].entries->size(), tables[t].dim);
  }
  parts.Run(executor, [&](const Part& part) {
    const TableCombine& table = tables[part.table];
    visit(table, part, RangeOf(part, table.rule, table.dim, *table.entries, table.weights));
  });
}

}  // namespace

Status LookupTables(Span<const TableLookup> tables, Executor& executor) {
  Parts parts;
  for (size_t t = 0; t < tables.size(); ++t) {
    const TableLookup& table = tables[t];
    const size_t entries = table.entries == nullptr ? table.keys.size() : table.entries->size();
    parts.Add(t, table.entries == nullptr ? nullptr : table.entries->starts(), entries, table.variable->dim());
  }
  std::mutex mu;
  Status first_error;  // guarded by mu
  parts.Run(executor, [&](const Part& part) {
    const Status status = LookupPart(tables[part.table], part);
    if (status.ok()) return;
    std::lock_guard<std::mutex> lock(mu);
    if (first_error.ok()) first_error = status;
  });
  return first_error;
}

void CombineTables(Span<const TableCombine> tables, Executor& executor) {
  VisitTables(tables, executor, [](const TableCombine& table, const Part& part, const CombineRange& range) {
    Combine(range, table.rows + static_cast<int64_t>(part.first_id) * table.dim,
            table.out + static_cast<int64_t>(part.first) * table.dim);
  });
}

void CombineTablesGradient(Span<const TableCombine> tables, Executor& executor) {
  VisitTables(tables, executor, [](const TableCombine& table, const Part& part, const CombineRange& range) {
    const int64_t id = static_cast<int64_t>(part.first_id) * table.dim;
    CombineGradient(range, table.out_grads + static_cast<int64_t>(part.first) * table.dim,
                    table.rows == nullptr ? nullptr : table.rows + id, table.row_grads + id,
                    table.weight_grads == nullptr ? nullptr : table.weight_grads + part.first_id);
  });
}

}  // namespace ev
