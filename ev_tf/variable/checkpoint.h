// A variable in a file, and back.  ev_tf/checkpoint/FORMAT.md says what the bytes are.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/executor.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/variable/embedding_variable.h"

namespace ev {

class Env;

struct SaveOptions {
  bool with_filtered = true;  // false: counts of keys that have no row yet are left out
  // Of a table whose last tier is an SSD log: rows in files of the log that nobody writes to any more are not written again.
  // The files get a second name beside the table file, which belongs to it from then on: both move, and go (RemoveTable),
  // together.
  bool link_segments = false;
  // The path of the i-th of them, which no file has, in the directory of the table file; null: "<path>.segment-<number>-<i>".
  std::function<std::string(size_t i)> segment_path;
  // For serving: values and what a key without a row reads, no slots, frequencies, versions nor counts.  Who loads the file has a
  // table that refuses updates; see LoadTable.
  enum class Frozen : uint8_t {
    kNo,
    kInMemory,  // which has its rows in DRAM
    kInFiles,   // which reads its rows from the files: they are written as segments of an SSD log
  };
  Frozen frozen = Frozen::kNo;
  uint64_t segment_bytes = uint64_t{64} << 20;  // of kInFiles, a full one
};

// What a save did.
struct SaveReport {
  int64_t rows_written = 0;  // to the table file
  int64_t rows_linked = 0;   // that stayed where they are, in segments
  // Segments that got a second name; that share their bytes; that had to be copied, as the table file is on another file system,
  // or on one without links.
  int64_t segments_linked = 0;
  int64_t segments_reflinked = 0;
  int64_t segments_copied = 0;
};

// Writes every row of `variable`, from whatever tier, its default rows, the layout of its slots and
// what a filter with exact counts has counted to the file `path`.
// Training, lookups and eviction go on: value and slots of a row are of one moment; of a key that is inserted or removed
// meanwhile the row may be in the file or not.  A crash at any moment leaves the file of that name as it was, or the new
// one whole.  Beside the table it takes some 30 MB of memory, however large the table is; with link_segments one bit more for each
// record of the log.
// `env`: null is the operating system's.  `report`: may be null.
// IoError, OutOfSpace, NotFound (no such directory): the file of that name is as it was.
Status SaveTable(const EmbeddingVariable& variable, const std::string& path, Executor& executor, Env* env = nullptr,
                 const SaveOptions& save = {}, SaveReport* report = nullptr);

// A chain of saves: SaveBase writes the whole variable, as SaveTable does, and from then on the variable remembers which keys
// change, 11 to 24 bytes each; SaveDelta writes only what has changed since the last link of the chain: rows, counts, and
// keys that are gone.  What changes while a link is written is in it, or in the next one, or in both.
// After an error the chain is as it was, and the next link holds what this one would have.  SaveTable may be called between.
// FailedPrecondition: of SaveDelta, there is no chain, or memory was too short to remember all that has changed.
Status SaveBase(EmbeddingVariable* variable, const std::string& path, Executor& executor, Env* env = nullptr);
Status SaveDelta(EmbeddingVariable* variable, const std::string& path, Executor& executor, Env* env = nullptr);

struct LoadOptions {
  // Of the keys with FloorMod(FloorMod(key, 1000), partitions) == partition, the others are left out, and what holds only
  // others is not read.  Requires: 0 <= partition < partitions <= 1000.
  int64_t partition = 0;
  int64_t partitions = 1;
  bool with_slots = true;       // false: slots start from their initial values
  bool reset_versions = false;  // true: every row counts as updated at step 0
  bool with_filtered = true;    // false: counts of keys that have no row yet start at 0
  // A table of another dim is taken: its rows are cut, or get their last columns from `own_default_rows`, [any, dim] of the
  // variable that is made; see OtherDim.
  bool any_dim = false;
  Span<const float> own_default_rows;
  // Segments of the saved table become files of the new one, if that keeps rows of the same layout in an SSD log; false: their
  // rows are read and put into it, as they are where they cannot.
  bool adopt_segments = true;
  // Of a table that was frozen: true: its rows become those of an ordinary variable, as if it had not been.
  bool thaw = false;
  // Of a table that stays frozen, instead of VariableOptions::storage.dram_bytes, unless 0.
  int64_t frozen_dram_bytes = 0;
  // If set, called by the executor's threads as rows have been read: done of total, of all files.
  std::function<void(int64_t done, int64_t total)> progress;
};

// What a load did.
struct LoadReport {
  int64_t rows_read = 0;     // and put into the table
  int64_t rows_adopted = 0;  // that stayed where they are, in segments
};

// Whether `key` is of the partition that `load` names.
bool IsOfPartition(Key key, const LoadOptions& load);

// Makes a variable of `options` and puts the rows of all files into it, which may be of a table that was saved in any number
// of parts, and of each part the full save and all deltas up to some state, in any order.  Its default rows are those of the
// first full save.  Storage may be another than that of the saved table, and so may the type of values, which are rounded to it.
// InvalidArgument: options.dim is not the files' and load does not take that, the files disagree, one key is in two parts, or a
// delta does not build on the others.
// A table that was frozen (SaveOptions::Frozen) becomes a variable that is frozen(), of the value type that it was saved with, and
// of `options` only dram_bytes and cache_strategy count: rows in files stay where they are, read by whoever likes to, with a cache
// of so many bytes in DRAM above them; nothing is written anywhere, and the files have to stay.
// Corruption, FailedPrecondition, NotFound, IoError: of a file; see checkpoint/table_reader.h.
Status LoadTable(const VariableOptions& options, Span<const std::string> paths, const LoadOptions& load,
                 Executor& executor, std::unique_ptr<EmbeddingVariable>* out, Env* env = nullptr,
                 LoadReport* report = nullptr);

// What a file says of itself.
struct TableInfo {
  std::string name;
  int64_t dim = 0;
  int64_t rows = 0;
  int64_t default_value_dim = 0;
  int64_t file_bytes = 0;  // of the table file
  int64_t segments = 0;    // files beside it
  int64_t segment_rows = 0;
  uint32_t checksum = 0;  // depends on every byte of the file that has one
  bool has_frequency = false;
  bool has_version = false;
  std::vector<SlotSpec> slots;
  ValueType value_type = ValueType::kFloat32;
  bool frozen = false;  // for serving
  bool is_delta = false;
  // Of a chain; empty and 0 for a file of SaveTable.
  std::string save_id;   // 32 hexadecimal digits
  std::string base_id;   // of the full save with which the chain began
  int64_t sequence = 0;  // 0 for that one, 1 for the first delta
  int64_t filtered_keys = 0;
  int64_t removed_keys = 0;
};
Status InspectTable(const std::string& path, TableInfo* info, Env* env = nullptr);
// Reads the whole file, and its segments.  OK: every checksum is right.
Status VerifyTable(const std::string& path, Env* env = nullptr);
// *paths = the files of a table: its own first, then its segments.
Status TableFiles(const std::string& path, std::vector<std::string>* paths, Env* env = nullptr);
// Deletes a table file, and then its segments; other saves that share them have their own names for them.
Status RemoveTable(const std::string& path, Env* env = nullptr);

// Writes what LoadTable would load from `paths`, all of it, to one file, which is a full save.  Later deltas go on building on
// it if `paths` are of one part.  Takes some 32 MB of memory, or a thousandth of the files where that is more.
// Errors: those of LoadTable and SaveTable.
Status MergeTables(Span<const std::string> paths, const std::string& merged, Env* env = nullptr);

}  // namespace ev
