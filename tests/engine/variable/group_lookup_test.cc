#include "ev_tf/variable/group_lookup.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using Kind = SparseIds::Kind;

// A table and a batch for it.
struct Table {
  std::unique_ptr<EmbeddingVariable> variable;
  std::vector<Key> keys;
  std::vector<int64_t> indices;
  std::vector<float> weights;
  SparseIds ids;
  CombineRule rule;
  std::vector<float> rows, out;

  TableLookup Lookup() {
    return {variable.get(),
            keys,
            &ids,
            rule,
            weights.empty() ? nullptr : weights.data(),
            rows.empty() ? nullptr : rows.data(),
            out.data()};
  }
};

// `most`: ids of one entry.  A batch of 20,000 entries is cut into parts, one of 100 is one thread's.
Table MakeTable(test::Random* random, int64_t dim, int64_t entries, uint64_t most, bool weighted, float max_norm) {
  Table table;
  table.variable = test::NewVariable(test::Options(dim), test::DefaultMatrix(64, dim));
  for (int64_t e = 0; e < entries; ++e) {
    for (uint64_t n = most == 1 ? 1 : random->Below(most + 1); n > 0; --n) {
      table.indices.push_back(e);
      table.keys.push_back(static_cast<Key>(random->Below(5000)) - 2500);
    }
  }
  table.indices.shrink_to_fit();
  table.ids = {table.indices, 1, entries, 1, Kind::kRow};
  table.rule = {Combiner::kMean, max_norm};
  if (weighted) table.weights = random->Floats(table.keys.size(), 0.5f, 2);
  if (weighted || max_norm != 0) table.rows.resize(table.keys.size() * static_cast<size_t>(dim), -9);
  table.out.resize(static_cast<size_t>(entries * dim), -9);
  const std::vector<float> grads = random->Floats(table.keys.size() * static_cast<size_t>(dim), -1, 1);
  test::Descend(table.variable.get(), table.keys, grads);
  return table;
}

std::vector<Table> MakeTables(uint64_t stream) {
  test::Random random(stream);
  std::vector<Table> tables;
  for (const int64_t entries : {int64_t{0}, int64_t{1}, int64_t{100}, int64_t{20000}}) {
    tables.push_back(MakeTable(&random, 16, entries, 1, false, 0));
    tables.push_back(MakeTable(&random, 5, entries, 4, true, 0));
    tables.push_back(MakeTable(&random, 33, entries, 3, false, 0.5f));
    tables.push_back(MakeTable(&random, 4, entries, 3, false, 0));
  }
  return tables;
}

// What a table gives by the plain calls.
std::vector<float> OneByOne(const Table& table) {
  Entries entries;
  EV_EXPECT_OK(entries.Build(table.ids));
  const std::vector<float> rows = test::Lookup(*table.variable, table.keys);
  std::vector<float> out(table.out.size());
  Combine({table.rule, table.variable->dim(), entries.starts(), entries.size(),
           table.weights.empty() ? nullptr : table.weights.data()},
          rows.data(), out.data());
  return out;
}

TEST(LookupTables, EqualsTheTablesOneByOneWhateverTheThreads) {
  std::vector<Table> tables = MakeTables(1);
  for (const int threads : {1, 2, 5}) {
    const auto executor = NewThreadPoolExecutor(threads);
    std::vector<TableLookup> lookups;
    for (Table& table : tables) {
      std::fill(table.out.begin(), table.out.end(), -9.0f);
      std::fill(table.rows.begin(), table.rows.end(), -9.0f);
      lookups.push_back(table.Lookup());
    }
    EV_EXPECT_OK(LookupTables(lookups, *executor));
    for (const Table& table : tables) {
      EXPECT_EQ(table.out, OneByOne(table)) << threads;
      if (table.rows.empty()) continue;
      EXPECT_EQ(table.rows, test::Lookup(*table.variable, table.keys)) << threads;
    }
  }
}

TEST(LookupTables, WithoutEntriesEveryKeyIsItsOwn) {
  std::vector<Table> tables = MakeTables(2);
  const auto executor = NewThreadPoolExecutor(3);
  std::vector<TableLookup> lookups;
  std::vector<std::vector<float>> rows;
  for (Table& table : tables) {
    rows.emplace_back(table.keys.size() * static_cast<size_t>(table.variable->dim()), -9.0f);
    lookups.push_back({table.variable.get(), table.keys, nullptr, {}, nullptr, nullptr, rows.back().data()});
  }
  EV_EXPECT_OK(LookupTables(lookups, *executor));
  for (size_t t = 0; t < tables.size(); ++t) EXPECT_EQ(rows[t], test::Lookup(*tables[t].variable, tables[t].keys));
}

TEST(LookupTables, NamesTheTableOfABadIndex) {
  for (const int64_t entries : {100, 20000}) {  // checked by the thread that draws it; before there are any
    test::Random random(3);
    std::vector<Table> tables;
    for (int t = 0; t < 3; ++t) tables.push_back(MakeTable(&random, 16, entries, 1, false, 0));
    tables[1].indices[50] = entries;
    std::vector<TableLookup> lookups;
    for (Table& table : tables) lookups.push_back(table.Lookup());
    const auto executor = NewThreadPoolExecutor(2);
    const Status status = LookupTables(lookups, *executor);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("table 1: indices[50]: row: expected 0 to"), std::string::npos) << status.message();
  }
}

TEST(LookupTables, WhileOthersUpdate) {
  std::vector<Table> tables = MakeTables(4);
  const auto executor = NewThreadPoolExecutor(2);
  std::thread updates([&] {
    for (int round = 0; round < 20; ++round) {
      for (Table& table : tables) {
        const std::vector<float> grads(table.keys.size() * static_cast<size_t>(table.variable->dim()), 0.0f);
        test::Descend(table.variable.get(), table.keys, grads);
      }
    }
  });
  for (int round = 0; round < 20; ++round) {
    std::vector<TableLookup> lookups;
    for (Table& table : tables) lookups.push_back(table.Lookup());
    EV_EXPECT_OK(LookupTables(lookups, *executor));
  }
  updates.join();
  for (const Table& table : tables) EXPECT_EQ(table.out, OneByOne(table));
}

TEST(CombineTables, GradientsAreThoseOfOneCall) {
  std::vector<Table> tables = MakeTables(5);
  test::Random random(5);
  std::vector<Entries> entries(tables.size());
  std::vector<std::vector<float>> rows, out_grads, row_grads, weight_grads, out;
  for (size_t t = 0; t < tables.size(); ++t) {
    EV_EXPECT_OK(entries[t].Build(tables[t].ids));
    rows.push_back(test::Lookup(*tables[t].variable, tables[t].keys));
    out_grads.push_back(random.Floats(tables[t].out.size(), -1, 1));
    row_grads.emplace_back(rows[t].size(), -9.0f);
    weight_grads.emplace_back(tables[t].weights.size(), -9.0f);
    out.emplace_back(tables[t].out.size(), -9.0f);
  }
  std::vector<TableCombine> calls;
  for (size_t t = 0; t < tables.size(); ++t) {
    const Table& table = tables[t];
    const bool weighted = !table.weights.empty();
    calls.push_back({table.variable->dim(), &entries[t], table.rule, weighted ? table.weights.data() : nullptr,
                     rows[t].data(), out[t].data(), out_grads[t].data(), row_grads[t].data(),
                     weighted ? weight_grads[t].data() : nullptr});
  }
  const auto executor = NewThreadPoolExecutor(3);
  CombineTables(calls, *executor);
  CombineTablesGradient(calls, *executor);
  for (size_t t = 0; t < tables.size(); ++t) {
    EXPECT_EQ(out[t], OneByOne(tables[t]));
    std::vector<float> expected_rows(rows[t].size()), expected_weights(weight_grads[t].size());
    CombineGradient({calls[t].rule, calls[t].dim, entries[t].starts(), entries[t].size(), calls[t].weights},
                    out_grads[t].data(), rows[t].data(), expected_rows.data(),
                    expected_weights.empty() ? nullptr : expected_weights.data());
    EXPECT_EQ(row_grads[t], expected_rows);
    EXPECT_EQ(weight_grads[t], expected_weights);
  }
}

}  // namespace
}  // namespace ev
