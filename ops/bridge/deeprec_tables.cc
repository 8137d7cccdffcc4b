#include "ops/bridge/deeprec_tables.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <unordered_map>
#include <utility>

#include "ev_tf/base/first_error.h"
#include "ev_tf/variable/other_dim.h"
#include "ops/bridge/batch.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/logging.h"

namespace ev::bridge {
namespace {

using tensorflow::BundleReader;
using tensorflow::DataType;
using tensorflow::Tensor;
using tensorflow::TensorShape;

constexpr size_t kRowsAtOnce = 1 << 14;

// The rows of one part that are taken.
struct Part {
  std::vector<Key> keys;
  std::vector<int64_t> frequencies;  // or empty
  std::vector<int64_t> versions;     // or empty
  std::vector<float> values;
  std::vector<float> slots;  // behind one another, as slot_specs says
  std::vector<SlotSpec> slot_specs;
  int64_t dim = 0;
  int64_t rows = 0;  // in the tensors, whether taken or not
};

absl::Status Read(BundleReader* reader, const std::string& name, Tensor* tensor) {
  DataType dtype;
  TensorShape shape;
  TF_RETURN_IF_ERROR(reader->LookupDtypeAndShape(name, &dtype, &shape));
  *tensor = Tensor(dtype, shape);
  return reader->Lookup(name, tensor);
}

absl::Status Misfit(const std::string& name, const std::string& expected, const Tensor& found) {
  return absl::DataLossError(absl::StrCat("tensor ", name, ": expected ", expected, ", found ",
                                          tensorflow::DataTypeString(found.dtype()), " ", found.shape().DebugString()));
}

absl::Status ReadKeys(BundleReader* reader, const std::string& name, std::vector<Key>* keys) {
  Tensor tensor;
  TF_RETURN_IF_ERROR(Read(reader, name, &tensor));
  if (tensor.dims() != 1 || (tensor.dtype() != tensorflow::DT_INT64 && tensor.dtype() != tensorflow::DT_INT32)) {
    return Misfit(name, "a vector of int64 or int32", tensor);
  }
  const KeySpan span(tensor);
  keys->assign(span.get().begin(), span.get().end());
  return absl::OkStatus();
}

// Numbers [n], or none where the tensor is empty or not there.
absl::Status ReadNumbers(BundleReader* reader, const std::string& name, size_t n, std::vector<int64_t>* numbers) {
  numbers->clear();
  if (!reader->Contains(name)) return absl::OkStatus();
  Tensor tensor;
  TF_RETURN_IF_ERROR(Read(reader, name, &tensor));
  if (tensor.NumElements() == 0) return absl::OkStatus();
  if (tensor.dtype() != tensorflow::DT_INT64 || tensor.NumElements() != static_cast<int64_t>(n)) {
    return Misfit(name, absl::StrCat(n, " int64"), tensor);
  }
  const Span<const int64_t> span = AsSpan<int64_t>(tensor);
  numbers->assign(span.begin(), span.end());
  return absl::OkStatus();
}

absl::Status ReadMatrix(BundleReader* reader, const std::string& name, size_t n, Tensor* tensor) {
  TF_RETURN_IF_ERROR(Read(reader, name, tensor));
  if (tensor->dtype() == tensorflow::DT_FLOAT && tensor->dims() == 2 &&
      tensor->dim_size(0) == static_cast<int64_t>(n)) {
    return absl::OkStatus();
  }
  return Misfit(name, absl::StrCat("float [", n, ",any]"), *tensor);
}

// taken[i] = the row in the tensors of key i of the part.
template <typename T>
void Take(const std::vector<size_t>& taken, std::vector<T>* column) {
  if (column->empty()) return;
  std::vector<T> kept(taken.size());
  for (size_t i = 0; i < taken.size(); ++i) kept[i] = (*column)[taken[i]];
  column->swap(kept);
}

// Columns of one slot, [keys, slot.dim], into *columns; a key that the slot's own tensors lack gets the initial value.
absl::Status ReadSlot(BundleReader* reader, const std::string& name, const std::vector<Key>& keys, int64_t dim,
                      SlotSpec* slot, std::vector<float>* columns) {
  std::vector<Key> own_keys;
  TF_RETURN_IF_ERROR(ReadKeys(reader, name + "-keys", &own_keys));
  Tensor values;
  TF_RETURN_IF_ERROR(ReadMatrix(reader, name + "-values", own_keys.size(), &values));
  const int64_t width = values.dim_size(1);
  if (width < 1 || width > dim) return Misfit(name + "-values", absl::StrCat("float [any, 1 to ", dim, "]"), values);
  slot->dim = slot->dim == 0 ? width : std::min(slot->dim, width);
  std::unordered_map<Key, size_t> row_of;
  row_of.reserve(own_keys.size());
  for (size_t i = 0; i < own_keys.size(); ++i) row_of.emplace(own_keys[i], i);
  columns->assign(keys.size() * static_cast<size_t>(slot->dim), slot->initial);
  const float* rows = values.flat<float>().data();
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto row = row_of.find(keys[i]);
    if (row == row_of.end()) continue;
    std::copy_n(rows + static_cast<int64_t>(row->second) * width, slot->dim,
                columns->data() + static_cast<int64_t>(i) * slot->dim);
  }
  return absl::OkStatus();
}

absl::Status ReadSlots(BundleReader* reader, const std::string& name, const std::vector<DeepRecSlot>& known,
                       Part* part) {
  std::vector<std::vector<float>> all;
  size_t width = 0;
  for (const DeepRecSlot& slot : known) {
    const std::string tensor = name + "/" + slot.tensor;
    if (!HasDeepRecTable(reader, tensor)) continue;
    part->slot_specs.push_back(slot.slot);
    all.emplace_back();
    TF_RETURN_IF_ERROR(ReadSlot(reader, tensor, part->keys, part->dim, &part->slot_specs.back(), &all.back()));
    width += static_cast<size_t>(part->slot_specs.back().dim);
  }
  part->slots.resize(part->keys.size() * width);
  float* to = part->slots.data();
  for (size_t i = 0; i < part->keys.size(); ++i) {
    for (size_t s = 0; s < all.size(); ++s) {
      const int64_t dim = part->slot_specs[s].dim;
      to = std::copy_n(all[s].data() + static_cast<int64_t>(i) * dim, dim, to);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadPart(BundleReader* reader, const std::string& name, const DeepRecSource& source,
                      const LoadOptions& load, Part* part) {
  TF_RETURN_IF_ERROR(ReadKeys(reader, name + "-keys", &part->keys));
  const size_t n = part->keys.size();
  part->rows = static_cast<int64_t>(n);
  TF_RETURN_IF_ERROR(ReadNumbers(reader, name + "-freqs", n, &part->frequencies));
  TF_RETURN_IF_ERROR(ReadNumbers(reader, name + "-versions", n, &part->versions));
  Tensor values;
  TF_RETURN_IF_ERROR(ReadMatrix(reader, name + "-values", n, &values));
  part->dim = values.dim_size(1);
  if (part->dim < 1) return Misfit(name + "-values", "at least one column", values);
  std::vector<size_t> taken;
  for (size_t i = 0; i < n; ++i) {
    if (IsOfPartition(part->keys[i], load)) taken.push_back(i);
  }
  Take(taken, &part->keys);
  Take(taken, &part->frequencies);
  Take(taken, &part->versions);
  part->values.resize(taken.size() * static_cast<size_t>(part->dim));
  float* to = part->values.data();
  const float* rows = values.flat<float>().data();
  for (const size_t row : taken) to = std::copy_n(rows + static_cast<int64_t>(row) * part->dim, part->dim, to);
  if (load.with_slots) TF_RETURN_IF_ERROR(ReadSlots(reader, name, source.slots, part));
  if (load.reset_versions) part->versions.assign(part->keys.size(), 0);
  return absl::OkStatus();
}

absl::Status ChangeDim(const VariableOptions& options, const DeepRecSource& source, const std::string& name,
                       Part* part) {
  OtherDim other_dim;
  const Status made = OtherDim::Create(part->dim, options.dim, source.default_rows, part->slot_specs, &other_dim);
  if (!made.ok()) return absl::InvalidArgumentError(absl::StrCat(name, "-values: ", made.message()));
  part->values = other_dim.Values(part->keys, part->values);
  part->slots = other_dim.Slots(part->keys.size(), part->slots);
  part->slot_specs = other_dim.slots();
  part->dim = options.dim;
  return absl::OkStatus();
}

template <typename T>
Span<const T> Cut(const std::vector<T>& column, size_t first, size_t n, size_t width) {
  return column.empty() ? Span<const T>() : Span<const T>(column.data() + first * width, n * width);
}

absl::Status Write(const Part& part, Executor& executor, EmbeddingVariable* variable) {
  size_t slot_floats = 0;
  for (const SlotSpec& slot : part.slot_specs) slot_floats += static_cast<size_t>(slot.dim);
  // Before any row, so that rows are laid out once.
  TF_RETURN_IF_ERROR(ToTf(variable->WriteRows({}, part.slot_specs, {})));
  const size_t runs = (part.keys.size() + kRowsAtOnce - 1) / kRowsAtOnce;
  FirstError error;
  executor.Run(static_cast<int>(runs), [&](int run) {
    const size_t first = static_cast<size_t>(run) * kRowsAtOnce;
    const size_t n = std::min(kRowsAtOnce, part.keys.size() - first);
    EmbeddingVariable::ConstRowBatch rows;
    rows.values = Cut(part.values, first, n, static_cast<size_t>(part.dim));
    rows.slots = Cut(part.slots, first, n, slot_floats);
    rows.frequencies = Cut(part.frequencies, first, n, 1);
    rows.versions = Cut(part.versions, first, n, 1);
    error.Keep(variable->WriteRows(Cut(part.keys, first, n, 1), part.slot_specs, rows));
  });
  return ToTf(error.status());
}

absl::Status WriteFiltered(BundleReader* reader, const std::string& name, const LoadOptions& load,
                           EmbeddingVariable* variable) {
  if (!load.with_filtered || !reader->Contains(name + "-keys_filtered")) return absl::OkStatus();
  std::vector<Key> keys;
  std::vector<int64_t> frequencies, versions;
  TF_RETURN_IF_ERROR(ReadKeys(reader, name + "-keys_filtered", &keys));
  TF_RETURN_IF_ERROR(ReadNumbers(reader, name + "-freqs_filtered", keys.size(), &frequencies));
  TF_RETURN_IF_ERROR(ReadNumbers(reader, name + "-versions_filtered", keys.size(), &versions));
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  std::vector<FilteredKey> filtered;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    if (!IsOfPartition(keys[i], load) || frequencies[i] < 1) continue;
    const int64_t version = load.reset_versions ? 0 : versions.empty() ? -1 : std::max<int64_t>(versions[i], -1);
    filtered.push_back({keys[i], static_cast<uint32_t>(std::min(frequencies[i], kMost)),
                        static_cast<uint32_t>(std::min(version + 1, kMost))});
  }
  return ToTf(variable->WriteFilteredKeys(filtered));
}

absl::Status CountRows(BundleReader* reader, const std::vector<std::string>& names, int64_t* rows) {
  for (const std::string& name : names) {
    TensorShape shape;
    TF_RETURN_IF_ERROR(reader->LookupTensorShape(name + "-keys", &shape));
    *rows += shape.num_elements();
  }
  return absl::OkStatus();
}

// Rows of an SSD tier are in files of DeepRec's beside the checkpoint, of which only an index is in a bundle.
absl::Status CheckNoFiles(const std::string& prefix, const std::string& name) {
  std::string flat = name;
  std::replace(flat.begin(), flat.end(), '/', '_');
  const std::string index = absl::StrCat(prefix, "-", flat, "-ssd_record.index");
  if (!tensorflow::Env::Default()->FileExists(index).ok()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(index,
                   ": rows of an SSD tier of DeepRec's are not in the checkpoint's tensors, and are not read; "
                   "restore the checkpoint there into storage_type DRAM, and save it again"));
}

// Slots that nobody knows are left out, and that is said.
void SayUnknownSlots(BundleReader* reader, const std::string& name, const std::vector<DeepRecSlot>& known) {
  static constexpr char kValues[] = "-values";
  const std::string scope = name + "/";
  for (reader->Seek(scope); reader->Valid(); reader->Next()) {
    const std::string key(reader->key());
    if (key.compare(0, scope.size(), scope) != 0) break;
    if (key.size() < scope.size() + sizeof(kValues) || key.substr(key.size() - sizeof(kValues) + 1) != kValues)
      continue;
    const std::string slot = key.substr(scope.size(), key.size() - scope.size() - sizeof(kValues) + 1);
    const auto same = [&](const DeepRecSlot& one) { return one.tensor == slot; };
    if (std::any_of(known.begin(), known.end(), same)) continue;
    LOG(WARNING) << "DeepRec checkpoint: slot " << scope << slot << " is left out, no optimizer here has it";
  }
}

}  // namespace

bool HasDeepRecTable(BundleReader* reader, const std::string& name) {
  return reader->Contains(name + "-keys") && reader->Contains(name + "-values");
}

absl::Status LoadDeepRecTable(const VariableOptions& options, const DeepRecSource& source, const LoadOptions& load,
                              Executor& executor, std::unique_ptr<EmbeddingVariable>* out) {
  if (source.default_rows.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("EmbeddingVariable '", options.name,
                                                      "': a DeepRec checkpoint has no initial "
                                                      "rows: run the variable's initializer before the restore"));
  }
  BundleReader reader(tensorflow::Env::Default(), source.prefix);
  TF_RETURN_IF_ERROR(reader.status());
  std::unique_ptr<EmbeddingVariable> variable;
  TF_RETURN_IF_ERROR(ToTf(EmbeddingVariable::Create(options, source.default_rows, &variable)));
  int64_t rows = 0, read = 0, total = 0;
  TF_RETURN_IF_ERROR(CountRows(&reader, source.names, &total));
  for (const std::string& name : source.names) {
    TF_RETURN_IF_ERROR(CheckNoFiles(source.prefix, name));
    Part part;
    TF_RETURN_IF_ERROR(ReadPart(&reader, name, source, load, &part));
    if (part.dim != options.dim) {
      if (!load.any_dim) {
        return absl::InvalidArgumentError(absl::StrCat(source.prefix, ": tensor ", name, "-values: dim: expected ",
                                                       options.dim, " as variable '", options.name, "' has, found ",
                                                       part.dim));
      }
      TF_RETURN_IF_ERROR(ChangeDim(options, source, name, &part));
    }
    TF_RETURN_IF_ERROR(Write(part, executor, variable.get()));
    if (load.with_slots) SayUnknownSlots(&reader, name, source.slots);
    rows += static_cast<int64_t>(part.keys.size());
    read += part.rows;
    if (load.progress) load.progress(read, total);
  }
  for (const std::string& name : source.names) TF_RETURN_IF_ERROR(WriteFiltered(&reader, name, load, variable.get()));
  if (variable->size() != rows) {
    return absl::DataLossError(absl::StrCat(source.prefix, ": tensor ", source.names[0],
                                            "-keys: expected distinct keys, found ", rows, " of which ",
                                            variable->size(), " are distinct"));
  }
  *out = std::move(variable);
  return absl::OkStatus();
}

}  // namespace ev::bridge
