#include "ev_tf/variable/group_lookup.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "ev_tf/base/scratch.h"

namespace ev {
namespace {

// Rows of one part: they stay in the second-level cache between reading and combining, and are enough that the lookup's
// pipeline runs full.
constexpr size_t kPartBytes = 64 << 10;
constexpr size_t kLeastIds = 256;
// A table of at most so many bytes of rows is one thread's, from its indices to its output.
constexpr size_t kWholeTableBytes = 128 << 10;
// Bytes of rows that make one more thread worth waking.
constexpr size_t kBytesPerTask = 256 << 10;

// Entries [first, end) of a table, whose ids are [first_id, end_id).
struct Part {
  size_t first, end;
  size_t first_id, end_id;
};

// The part that begins with entry `first`.  `starts` null: every id is its own entry.
Part PartAt(size_t first, const uint32_t* starts, size_t entries, int64_t dim) {
  const size_t most = std::max(kLeastIds, kPartBytes / (static_cast<size_t>(dim) * sizeof(float)));
  const size_t end = std::min(entries, first + most);  // entries without ids are written too
  if (starts == nullptr) return {first, end, first, end};
  const auto bound = std::upper_bound(starts + first + 1, starts + end + 1, starts[first] + most);
  const size_t fitting = std::max(first + 1, static_cast<size_t>(bound - starts) - 1);
  return {first, fitting, starts[first], starts[fitting]};
}

// What threads draw: a part of a table, or a whole table whose entries are still to be built.
struct Unit {
  size_t table;
  bool whole;
  Part part;
};

class Units {
 public:
  void AddWhole(size_t table, size_t bytes) {
    units_.push_back({table, true, {}});
    bytes_ += bytes;
  }
  void AddParts(size_t table, const uint32_t* starts, size_t entries, int64_t dim) {
    for (size_t first = 0; first < entries; first = units_.back().part.end) {
      units_.push_back({table, false, PartAt(first, starts, entries, dim)});
      const Part& part = units_.back().part;
      bytes_ += std::max(part.end_id - part.first_id, part.end - part.first) * static_cast<size_t>(dim) * sizeof(float);
    }
  }

  // visit(unit) for each, by as many threads as the bytes are worth.
  template <typename Visitor>
  void Run(Executor& executor, Visitor&& visit) const {
    const size_t most = std::min(units_.size(), static_cast<size_t>(executor.parallelism()));
    const size_t tasks = std::min(bytes_ / kBytesPerTask, most);
    std::atomic<size_t> next{0};
    const auto work = [&](int) {
      for (size_t i = next.fetch_add(1); i < units_.size(); i = next.fetch_add(1)) visit(units_[i]);
    };
    if (tasks <= 1) {
      work(0);
    } else {
      executor.Run(static_cast<int>(tasks), work);
    }
  }

 private:
  std::vector<Unit> units_;
  size_t bytes_ = 0;
};

CombineRange RangeOf(const Part& part, const CombineRule& rule, int64_t dim, const Entries& entries,
                     const float* weights) {
  return {rule, dim, entries.starts() + part.first, part.end - part.first,
          weights == nullptr ? nullptr : weights + part.first_id};
}

// `entries` null: every key is its own.
Status LookupPart(const TableLookup& table, const Entries* entries, const Part& part) {
  SerialExecutor serial;
  const int64_t dim = table.variable->dim();
  const Span<const Key> keys = table.keys.subspan(part.first_id, part.end_id - part.first_id);
  const size_t floats = keys.size() * static_cast<size_t>(dim);
  float* out = table.out + static_cast<int64_t>(part.first) * dim;
  const bool as_it_is = entries == nullptr || (entries->one_each() && table.weights == nullptr &&
                                               table.rule.max_norm == 0.0f && table.rows == nullptr);
  if (as_it_is) return table.variable->Lookup(keys, Span<float>(out, floats), serial);
  Scratch<std::vector<float>> scratch;
  float* rows = table.rows == nullptr ? nullptr : table.rows + static_cast<int64_t>(part.first_id) * dim;
  if (rows == nullptr) {
    if (scratch->size() < floats) scratch->resize(floats);
    rows = scratch->data();
  }
  EV_RETURN_IF_ERROR(table.variable->Lookup(keys, Span<float>(rows, floats), serial));
  Combine(RangeOf(part, table.rule, dim, *entries, table.weights), rows, out);
  return OkStatus();
}

Status BuildEntries(size_t table, const SparseIds& ids, Entries* entries) {
  const Status status = entries->Build(ids);
  return status.ok() ? status : InvalidArgument("table " + std::to_string(table) + ": " + status.message());
}

Status LookupWhole(const TableLookup& table, size_t number) {
  Scratch<Entries> entries;
  if (table.ids != nullptr) EV_RETURN_IF_ERROR(BuildEntries(number, *table.ids, &*entries));
  const Entries* of_table = table.ids == nullptr ? nullptr : &*entries;
  const uint32_t* starts = of_table == nullptr ? nullptr : of_table->starts();
  const size_t count = of_table == nullptr ? table.keys.size() : of_table->size();
  for (size_t first = 0; first < count;) {
    const Part part = PartAt(first, starts, count, table.variable->dim());
    EV_RETURN_IF_ERROR(LookupPart(table, of_table, part));
    first = part.end;
  }
  return OkStatus();
}

template <typename Visitor>
void VisitTables(Span<const TableCombine> tables, Executor& executor, Visitor&& visit) {
  Units units;
  for (size_t t = 0; t < tables.size(); ++t) {
    units.AddParts(t, tables[t].entries->starts(), tables[t].entries->size(), tables[t].dim);
  }
  units.Run(executor, [&](const Unit& unit) {
    const TableCombine& table = tables[unit.table];
    visit(table, unit.part, RangeOf(unit.part, table.rule, table.dim, *table.entries, table.weights));
  });
}

}  // namespace

Status LookupTables(Span<const TableLookup> tables, Executor& executor) {
  std::vector<Entries> entries(tables.size());
  Units units;
  for (size_t t = 0; t < tables.size(); ++t) {
    const TableLookup& table = tables[t];
    const int64_t dim = table.variable->dim();
    const size_t bytes = table.keys.size() * static_cast<size_t>(dim) * sizeof(float);
    if (bytes <= kWholeTableBytes) {
      units.AddWhole(t, bytes);
    } else if (table.ids == nullptr) {
      units.AddParts(t, nullptr, table.keys.size(), dim);
    } else {
      EV_RETURN_IF_ERROR(BuildEntries(t, *table.ids, &entries[t]));
      units.AddParts(t, entries[t].starts(), entries[t].size(), dim);
    }
  }
  std::mutex mu;
  Status first_error;  // guarded by mu
  units.Run(executor, [&](const Unit& unit) {
    const TableLookup& table = tables[unit.table];
    const Status status = unit.whole
                              ? LookupWhole(table, unit.table)
                              : LookupPart(table, table.ids == nullptr ? nullptr : &entries[unit.table], unit.part);
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
