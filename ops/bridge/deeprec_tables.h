// Tables in the tensors of a DeepRec checkpoint.
//
// A variable v, or a part of one, v/part_0, is the tensors v-keys [n] int32 or int64, v-values [n, dim], v-freqs and v-versions
// [n], or [0] where not recorded, and the same with _filtered behind it for keys that a filter has counted.  Each optimizer slot
// is a variable of its own, v/Adagrad.  Keys stand grouped by FloorMod(key, 1000); v-partition_offset says where a group begins,
// which is not needed to read them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ev_tf/variable/checkpoint.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace ev::bridge {

// A slot by both names.
struct DeepRecSlot {
  std::string tensor;  // behind the variable's name and a slash: "Adam_1"
  SlotSpec slot;       // the name in rows, "Adam/v"; dim 0 is the variable's
};

// Whether the bundle has a table of DeepRec's under `name`.
bool HasDeepRecTable(tensorflow::BundleReader* reader, const std::string& name);

struct DeepRecSource {
  std::string prefix;
  std::vector<std::string> names;  // of the variable, or of all its parts
  std::vector<DeepRecSlot> slots;  // what is known of slots; those that the checkpoint lacks are left out
  Span<const float> default_rows;  // [any, dim], as the checkpoint has none
};

// Like LoadTable.  Needs memory for the tensors of one part, and what is taken of them, beside the table.
// DataLoss: tensors do not fit together.  FailedPrecondition: no default rows.  Unimplemented: rows lie in files of an SSD tier.
absl::Status LoadDeepRecTable(const VariableOptions& options, const DeepRecSource& source, const LoadOptions& load,
                              Executor& executor, std::unique_ptr<EmbeddingVariable>* out);

}  // namespace ev::bridge
