// ev_tf.engine: the engine's facade in Python, without TensorFlow.  Thin: arrays become spans, one call of the facade, the
// Status becomes an exception.  The GIL is released while the engine works.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/base/executor.h"
#include "ev_tf/variable/checkpoint.h"
#include "ev_tf/variable/embedding_variable.h"
#include "python/engine_module/arrays.h"
#include "python/engine_module/rules.h"
#include "python/engine_module/table_files.h"

namespace py = pybind11;

namespace ev::python {
namespace {

constexpr int kMaxThreads = 1024;

ValueType ValueTypeOf(const std::string& name) {
  for (const ValueType type : {ValueType::kFloat32, ValueType::kFloat16, ValueType::kBFloat16}) {
    if (name == ValueTypeName(type)) return type;
  }
  throw py::value_error("value_type: expected 'float32', 'float16' or 'bfloat16', received '" + name + "'");
}

// An EmbeddingVariable with the threads that its calls use.
class Variable {
 public:
  Variable(int64_t dim, const py::object& default_rows, std::string name, bool record_frequency, bool record_version,
           int threads, const std::string& value_type) {
    if (threads < 1 || threads > kMaxThreads) {
      throw py::value_error("threads: expected 1 to " + std::to_string(kMaxThreads) + ", received " +
                            std::to_string(threads));
    }
    const SpanArray<float> rows = ToMatrix("default_rows", default_rows);
    if (dim > 0 && rows.shape(1) != dim) {
      throw py::value_error("default_rows: expected shape [rows, " + std::to_string(dim) + "], received " +
                            ToString(ShapeOf(rows)));
    }
    VariableOptions options;
    options.name = std::move(name);
    options.dim = dim;
    options.record_frequency = record_frequency;
    options.record_version = record_version;
    options.value_type = ValueTypeOf(value_type);
    ThrowIfError(EmbeddingVariable::Create(options, In(rows), &variable_));
    executor_ = NewThreadPoolExecutor(threads);
  }

  SpanArray<float> Lookup(const py::object& keys_in, const py::object& out) const {
    const SpanArray<Key> keys = ToKeys(keys_in);
    const Shape shape = RowsShape(keys, variable_->dim());
    SpanArray<float> rows = out.is_none() ? SpanArray<float>(shape) : ToOutput("out", out, shape);
    Call([&, in = In(keys), to = Out(rows)] { return variable_->Lookup(in, to, *executor_); });
    return rows;
  }

  void Apply(const StepRule& rule, const py::object& keys_in, const py::object& grads_in,
             const std::optional<std::vector<SlotSpec>>& slots_in, int64_t global_step) {
    const SpanArray<Key> keys = ToKeys(keys_in);
    const SpanArray<float> grads = ToArray<float>("grads", grads_in, RowsShape(keys, variable_->dim()));
    const std::vector<SlotSpec> slots = Resolve(slots_in ? *slots_in : rule.slots);
    if (static_cast<int>(slots.size()) != rule.rule.slots.count) {
      throw py::value_error("slots: " + std::string(rule.rule.name) + " uses " + std::to_string(rule.rule.slots.count) +
                            ", received " + std::to_string(slots.size()));
    }
    Call([&, in = In(keys), g = In(grads)] {
      return variable_->Apply(rule.rule, slots, in, g, global_step, *executor_);
    });
  }

  SpanArray<Key> Keys() const {
    std::vector<Key> keys;
    {
      py::gil_scoped_release nogil;
      keys = variable_->Keys();
    }
    return Adopt(std::move(keys));
  }

  py::dict ReadRows(const py::object& keys_in) const {
    const SpanArray<Key> keys = ToKeys1D(keys_in);
    const py::ssize_t n = keys.size();
    SpanArray<float> values = Filled<float>({n, variable_->dim()}, 0.0f);
    SpanArray<float> slots = Filled<float>({n, SlotFloats()}, 0.0f);
    SpanArray<int64_t> frequencies = Filled<int64_t>({n}, 0);
    SpanArray<int64_t> versions = Filled<int64_t>({n}, -1);
    SpanArray<bool> found = Filled<bool>({n}, false);
    const EmbeddingVariable::RowBatch out{Out(values), Out(slots), Out(frequencies), Out(versions)};
    Call([&, in = In(keys), to = Out(found)] { return variable_->ReadRows(in, out, to); });
    py::dict rows;
    rows["found"] = found;
    rows["values"] = values;
    rows["slots"] = slots;
    rows["frequencies"] = frequencies;
    rows["versions"] = versions;
    return rows;
  }

  void WriteRows(const py::object& keys_in, const py::object& values_in, const py::object& slots_in,
                 const std::optional<std::vector<SlotSpec>>& slot_specs_in, const py::object& frequencies_in,
                 const py::object& versions_in) {
    const SpanArray<Key> keys = ToKeys1D(keys_in);
    const py::ssize_t n = keys.size();
    const SpanArray<float> values = ToArray<float>("values", values_in, {n, variable_->dim()});
    std::vector<SlotSpec> specs;
    SpanArray<float> slots;
    SpanArray<int64_t> frequencies;
    SpanArray<int64_t> versions;
    EmbeddingVariable::ConstRowBatch rows;
    rows.values = In(values);
    if (!slots_in.is_none()) {
      specs = slot_specs_in ? Resolve(*slot_specs_in) : variable_->slots();
      int64_t width = 0;
      for (const SlotSpec& spec : specs) width += spec.dim;
      slots = ToArray<float>("slots", slots_in, {n, width});
      rows.slots = In(slots);
    }
    if (!frequencies_in.is_none()) {
      frequencies = ToArray<int64_t>("frequencies", frequencies_in, {n});
      rows.frequencies = In(frequencies);
    }
    if (!versions_in.is_none()) {
      versions = ToArray<int64_t>("versions", versions_in, {n});
      rows.versions = In(versions);
    }
    Call([&, in = In(keys)] { return variable_->WriteRows(in, specs, rows); });
  }

  int64_t Remove(const py::object& keys_in) {
    const SpanArray<Key> keys = ToKeys(keys_in);
    const Span<const Key> in = In(keys);
    py::gil_scoped_release nogil;
    return variable_->Remove(in);
  }

  void Clear() {
    Call([&] { return variable_->Clear(); });
  }

  void Save(const std::string& path) const {
    Call([&] { return SaveTable(*variable_, path, *executor_); });
  }
  void SaveBase(const std::string& path) {
    Call([&] { return ev::SaveBase(variable_.get(), path, *executor_); });
  }
  void SaveDelta(const std::string& path) {
    Call([&] { return ev::SaveDelta(variable_.get(), path, *executor_); });
  }

  py::dict Metrics() const {
    const VariableMetrics m = variable_->metrics();
    py::dict out;
    out["rows"] = m.rows;
    out["row_bytes"] = m.row_bytes;
    out["row_pool_bytes"] = m.row_pool_bytes;
    out["index_bytes"] = m.index_bytes;
    out["meta_bytes"] = m.meta_bytes;
    out["lookup_keys"] = m.lookup_keys;
    out["lookup_misses"] = m.lookup_misses;
    out["update_keys"] = m.update_keys;
    out["update_rows"] = m.update_rows;
    out["inserts"] = m.inserts;
    out["removes"] = m.removes;
    for (size_t tier = 0; tier < m.tiers.size(); ++tier) {
      const std::string prefix = "tier" + std::to_string(tier) + "/";
      ForEachMetric(m.tiers[tier], [&](const char* name, auto value) { out[(prefix + name).c_str()] = value; });
    }
    return out;
  }

  int64_t size() const { return variable_->size(); }
  int64_t dim() const { return variable_->dim(); }
  std::string value_type() const { return ValueTypeName(variable_->options().value_type); }
  int threads() const { return executor_->parallelism(); }
  const std::string& name() const { return variable_->options().name; }
  std::vector<SlotSpec> slots() const { return variable_->slots(); }

 private:
  // Runs `call` without the GIL and throws its Status with it.
  template <typename F>
  static void Call(const F& call) {
    Status status;
    {
      py::gil_scoped_release nogil;
      status = call();
    }
    ThrowIfError(status);
  }

  template <typename T>
  static SpanArray<T> Filled(const Shape& shape, T value) {
    SpanArray<T> array(shape);
    std::fill_n(array.mutable_data(), array.size(), value);
    return array;
  }

  int64_t SlotFloats() const {
    int64_t floats = 0;
    for (const SlotSpec& slot : variable_->slots()) floats += slot.dim;
    return floats;
  }

  // dim 0 becomes the variable's.
  std::vector<SlotSpec> Resolve(std::vector<SlotSpec> slots) const {
    for (SlotSpec& slot : slots) {
      if (slot.dim == 0) slot.dim = variable_->dim();
    }
    return slots;
  }

  std::unique_ptr<EmbeddingVariable> variable_;
  std::unique_ptr<Executor> executor_;
};

constexpr char kModuleDoc[] = R"(The engine of ev_tf without TensorFlow: tables from int64 ids to rows of floats.

Arrays are NumPy's. Those of the right type and in C order are borrowed, not copied, and the GIL is released while the
engine works, so Python threads may call one variable at once.

Errors: ValueError for a bad argument, TypeError for a wrong dtype, MemoryError when there is no room for a row, KeyError,
OSError and RuntimeError for the engine's other errors. A failed call changes nothing.

Example:
  >>> import numpy as np
  >>> ev = EmbeddingVariable(dim=2, default_rows=np.zeros((1, 2), np.float32))
  >>> ev.apply(sgd(lr=0.5), [7, -1, 7], np.ones((3, 2), np.float32))   # equal keys: their gradients are summed
  >>> ev.lookup([7, -1, 42])                                           # 42 was never trained: its default row
  array([[-1. , -1. ],
         [-0.5, -0.5],
         [ 0. ,  0. ]], dtype=float32)
  >>> ev.size
  2
)";

constexpr char kVariableDoc[] = R"(A trainable table from any int64 key to a row of float32.

Args:
  dim: int, 1 to 65536. Floats per embedding.
  default_rows: float32 [m, dim], m >= 1, copied. A key without a row reads default_rows[key mod m] (floor mod).
  name: str, default "". For messages.
  record_frequency: bool, default False. Count how often an update named each key.
  record_version: bool, default False. Keep the global step of each row's last update.
  threads: int, 1 to 1024, default 1. Threads that one call may use.
  value_type: str, default "float32"; or "float16", "bfloat16": values take two bytes in memory, in files of tiers and on their
    way there. They come and go as float32, and are rounded to the nearest after each update; slots are float32.

Raises:
  ValueError: dim, threads, value_type or the shape of default_rows is out of range.
  TypeError: default_rows is not float32.

Every method may be called from any thread, at once.
)";

constexpr char kLookupDoc[] = R"(Reads embeddings; never inserts.

Args:
  keys: int64 or int32, any shape, duplicates allowed.
  out: float32, shape keys.shape + [dim], C order, or None (default). Where to write the result.

Returns:
  float32, shape keys.shape + [dim]: `out` if it was given. A key without a row reads its default row.

Raises:
  TypeError: keys are not integers, or out is not float32.
  ValueError: out has another shape, is not in C order or is read-only.

Example:
  >>> import numpy as np
  >>> ev = EmbeddingVariable(2, np.array([[0, 1], [2, 3]], np.float32))
  >>> ev.lookup([[-1, 4]])
  array([[[2., 3.],
          [0., 1.]]], dtype=float32)
)";

constexpr char kApplyDoc[] = R"(One optimizer step on the rows of `keys`; rows that are missing are inserted first.

Args:
  rule: UpdateRule, e.g. adagrad(0.1).
  keys: int64 or int32, any shape. Gradients of equal keys are summed before the step.
  grads: float32, shape keys.shape + [dim].
  slots: list of SlotSpec, one for each of rule.slots, or None (default): rule.slots. Slots that the variable does not have
    yet are added to every row.
  global_step: int, default -1. The rows' version where versions are recorded; below 0 leaves versions alone.

Raises:
  TypeError: a wrong dtype.
  ValueError: a wrong shape or number of slots, or a slot that exists with another dim.
  MemoryError: no memory for a new row.

Example:
  >>> import numpy as np
  >>> ev = EmbeddingVariable(1, np.zeros((1, 1), np.float32))
  >>> ev.apply(adagrad(0.1, initial_accumulator=3.0), [5], np.ones((1, 1), np.float32))
  >>> ev.lookup([5])
  array([[-0.05]], dtype=float32)
  >>> ev.slots
  [SlotSpec(name='adagrad/accumulator', dim=1, initial=3.0)]
)";

constexpr char kSaveDoc[] =
    R"(Writes every row to a table file, which TableReader reads. Lookups and updates go on meanwhile.

Args:
  path: str, in a directory that exists. A crash leaves the file of that name as it was, or the new one whole.

Raises:
  KeyError: no such directory.  OSError, MemoryError: the file cannot be written; MemoryError if the disk is full.

Example:
  >>> import numpy as np, os, tempfile
  >>> ev = EmbeddingVariable(1, np.zeros((1, 1), np.float32))
  >>> ev.write_rows([3, 4], np.array([[1.5], [2.5]], np.float32))
  >>> ev.save(os.path.join(tempfile.mkdtemp(), "rows"))
)";

constexpr char kSaveDeltaDoc[] =
    R"(Writes what has changed since the last save_base() or save_delta(): rows, and keys that are gone.

Args and Raises as of save(); RuntimeError if there was no save_base().

Example:
  >>> import numpy as np, os, tempfile
  >>> folder = tempfile.mkdtemp()
  >>> base, delta, merged = (os.path.join(folder, name) for name in ("base", "delta", "merged"))
  >>> ev = EmbeddingVariable(1, np.zeros((1, 1), np.float32))
  >>> ev.write_rows([3, 4], np.array([[1.5], [2.5]], np.float32))
  >>> ev.save_base(base)
  >>> ev.remove([3])
  1
  >>> ev.save_delta(delta)
  >>> merge_tables([base, delta], merged)
  >>> TableReader(merged).rows
  1
)";

constexpr char kReadRowsDoc[] = R"(Reads all that is stored of each key, for export.

Args:
  keys: int64 or int32 [n].

Returns:
  dict of arrays:
    found: bool [n]. False: the key has no row, and the other arrays hold 0 (versions: -1) for it.
    values: float32 [n, dim].
    slots: float32 [n, sum of the slots' dims], in the order of the attribute `slots`.
    frequencies: int64 [n]; 0 where not recorded.
    versions: int64 [n]; -1 where not recorded or never given.

Raises:
  TypeError, ValueError: keys are not integers of rank 1.

Example:
  >>> import numpy as np
  >>> ev = EmbeddingVariable(1, np.zeros((1, 1), np.float32), record_version=True)
  >>> ev.apply(sgd(1.0), [5], np.ones((1, 1), np.float32), global_step=9)
  >>> rows = ev.read_rows([5, 6])
  >>> rows["found"], rows["versions"]
  (array([ True, False]), array([ 9, -1]))
)";

constexpr char kWriteRowsDoc[] = R"(Inserts or overwrites rows, for import.

Args:
  keys: int64 or int32 [n]. Of a key that stands twice the last row stays.
  values: float32 [n, dim].
  slots: float32 [n, sum of the dims of slot_specs], or None (default): slots get their initial values.
  slot_specs: list of SlotSpec, or None (default): the variable's own. What the columns of `slots` are; slots that the
    variable lacks are added.
  frequencies: int64 [n], or None (default): 0.
  versions: int64 [n], or None (default): -1.

Raises:
  TypeError: a wrong dtype.
  ValueError: a wrong shape, a frequency below 0, or a slot that exists with another dim.
  MemoryError: no memory for a new row.

Example:
  >>> import numpy as np
  >>> ev = EmbeddingVariable(1, np.zeros((1, 1), np.float32))
  >>> ev.write_rows([3, 4], np.array([[1.5], [2.5]], np.float32))
  >>> ev.lookup([4])
  array([[2.5]], dtype=float32)
)";

void DefineVariable(py::module_& m) {
  py::class_<Variable>(m, "EmbeddingVariable", kVariableDoc)
      .def(py::init<int64_t, const py::object&, std::string, bool, bool, int, const std::string&>(), py::arg("dim"),
           py::arg("default_rows"), py::arg("name") = "", py::arg("record_frequency") = false,
           py::arg("record_version") = false, py::arg("threads") = 1, py::arg("value_type") = "float32")
      .def("lookup", &Variable::Lookup, py::arg("keys"), py::arg("out") = py::none(), kLookupDoc)
      .def("apply", &Variable::Apply, py::arg("rule"), py::arg("keys"), py::arg("grads"), py::arg("slots") = py::none(),
           py::arg("global_step") = -1, kApplyDoc)
      .def("keys", &Variable::Keys, "Every key that has a row, in no order: int64 [size].")
      .def("read_rows", &Variable::ReadRows, py::arg("keys"), kReadRowsDoc)
      .def("write_rows", &Variable::WriteRows, py::arg("keys"), py::arg("values"), py::arg("slots") = py::none(),
           py::arg("slot_specs") = py::none(), py::arg("frequencies") = py::none(), py::arg("versions") = py::none(),
           kWriteRowsDoc)
      .def("save", &Variable::Save, py::arg("path"), kSaveDoc)
      .def("save_base", &Variable::SaveBase, py::arg("path"),
           "As save(), and from then on the variable remembers which keys change, for save_delta().")
      .def("save_delta", &Variable::SaveDelta, py::arg("path"), kSaveDeltaDoc)
      .def("remove", &Variable::Remove, py::arg("keys"),
           "Drops the rows of `keys` (int64 or int32, any shape); missing keys are no error. Returns how many it "
           "dropped.")
      .def("clear", &Variable::Clear, "Drops every row. Slots stay.")
      .def("metrics", &Variable::Metrics,
           "Gauges (rows, *_bytes: memory held) and counters since creation (lookups, updates, inserts, removes), a "
           "dict; tier0/... are those of DRAM alone.")
      .def("__len__", &Variable::size)
      .def_property_readonly("size", &Variable::size, "Number of rows.")
      .def_property_readonly("dim", &Variable::dim, "Elements per embedding.")
      .def_property_readonly("value_type", &Variable::value_type, "What they are stored as: str.")
      .def_property_readonly("name", &Variable::name)
      .def_property_readonly("threads", &Variable::threads, "Threads that one call may use.")
      .def_property_readonly("slots", &Variable::slots, "The slots of every row: list of SlotSpec.");
}

}  // namespace
}  // namespace ev::python

PYBIND11_MODULE(engine, m) {
  m.doc() = ev::python::kModuleDoc;
  ev::python::DefineRules(m);
  ev::python::DefineVariable(m);
  ev::python::DefineTableFiles(m);
}
