// A variable in a file, and back.  ev_tf/checkpoint/FORMAT.md says what the bytes are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/executor.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev {

class Env;

// Writes every row of `variable`, from whatever tier, its default rows, the layout of its slots and
// what a filter with exact counts has counted to the file `path`.
// Training, lookups and eviction go on: value and slots of a row are of one moment; of a key that is inserted or removed
// meanwhile the row may be in the file or not.  A crash at any moment leaves the file of that name as it was, or the new
// one whole.  Beside the table it takes some 30 MB of memory, however large the table is.
// `env`: null is the operating system's.
// IoError, OutOfSpace, NotFound (no such directory): the file of that name is as it was.
Status SaveTable(const EmbeddingVariable& variable, const std::string& path, Executor& executor, Env* env = nullptr);

struct LoadOptions {
  // Of the keys with FloorMod(FloorMod(key, 1000), partitions) == partition, the others are left out, and what holds only
  // others is not read.  Requires: 0 <= partition < partitions <= 1000.
  int64_t partition = 0;
  int64_t partitions = 1;
  bool with_slots = true;       // false: slots start from their initial values
  bool reset_versions = false;  // true: every row counts as updated at step 0
  bool with_filtered = true;    // false: counts of keys that have no row yet start at 0
};

// Makes a variable of `options` and puts the rows of all files into it, which may be of a table that was saved in any number
// of parts.  Its default rows are those of the first file.  Storage may be another than that of the saved table.
// InvalidArgument: options.dim is not the files', the files disagree, or one key is in two of them.
// Corruption, FailedPrecondition, NotFound, IoError: of a file; see checkpoint/table_reader.h.
Status LoadTable(const VariableOptions& options, Span<const std::string> paths, const LoadOptions& load,
                 Executor& executor, std::unique_ptr<EmbeddingVariable>* out, Env* env = nullptr);

// What a file says of itself.
struct TableInfo {
  std::string name;
  int64_t dim = 0;
  int64_t rows = 0;
  int64_t default_value_dim = 0;
  int64_t file_bytes = 0;
  bool has_frequency = false;
  bool has_version = false;
  std::vector<SlotSpec> slots;
};
Status InspectTable(const std::string& path, TableInfo* info, Env* env = nullptr);
// Reads the whole file.  OK: every checksum is right.
Status VerifyTable(const std::string& path, Env* env = nullptr);

}  // namespace ev
