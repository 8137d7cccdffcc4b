#include "python/engine_module/arrays.h"

#include <memory>
#include <utility>

namespace ev::python {
namespace {

std::string TypeName(const py::object& object) { return py::str(py::type::of(object).attr("__name__")); }

py::array AsArray(const char* name, const py::object& object) {
  py::array array = py::array::ensure(object);
  if (!array) {
    PyErr_Clear();
    throw py::type_error(std::string(name) + ": expected an array, received " + TypeName(object));
  }
  return array;
}

std::string DtypeName(const py::array& array) { return py::str(array.dtype()); }

template <typename T>
void CheckDtype(const char* name, const py::array& array) {
  const py::dtype expected = py::dtype::of<T>();
  if (array.dtype().kind() == expected.kind() && array.itemsize() == expected.itemsize()) return;
  const std::string expected_name = py::str(expected);
  throw py::type_error(std::string(name) + ": expected dtype " + expected_name + ", received " + DtypeName(array) +
                       "; convert it with .astype(np." + expected_name + ")");
}

void CheckShape(const char* name, const py::array& array, const Shape& shape) {
  const Shape received = ShapeOf(array);
  if (received == shape) return;
  throw py::value_error(std::string(name) + ": expected shape " + ToString(shape) + ", received " + ToString(received));
}

[[noreturn]] void Throw(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw py::error_already_set();
}

}  // namespace

void ThrowIfError(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk: return;
    case StatusCode::kInvalidArgument: throw py::value_error(status.message());
    case StatusCode::kNotFound: throw py::key_error(status.message());
    case StatusCode::kOutOfSpace: Throw(PyExc_MemoryError, status.message());
    case StatusCode::kIoError: Throw(PyExc_OSError, status.message());
    default: Throw(PyExc_RuntimeError, status.ToString());
  }
}

Shape ShapeOf(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

std::string ToString(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

Shape RowsShape(const py::array& keys, int64_t dim) {
  Shape shape = ShapeOf(keys);
  shape.push_back(dim);
  return shape;
}

SpanArray<Key> ToKeys(const py::object& object) {
  const py::array array = AsArray("keys", object);
  const bool integer = array.dtype().kind() == 'i' && (array.itemsize() == 4 || array.itemsize() == 8);
  if (!integer && array.size() != 0) {
    throw py::type_error("keys: expected dtype int64 or int32, received " + DtypeName(array));
  }
  return py::array_t<Key, kSpanFlags | py::array::forcecast>(array);
}

SpanArray<Key> ToKeys1D(const py::object& object) {
  SpanArray<Key> keys = ToKeys(object);
  if (keys.ndim() != 1) throw py::value_error("keys: expected shape [n], received " + ToString(ShapeOf(keys)));
  return keys;
}

template <typename T>
SpanArray<T> ToArray(const char* name, const py::object& object, const Shape& shape) {
  const py::array array = AsArray(name, object);
  CheckDtype<T>(name, array);
  CheckShape(name, array, shape);
  return SpanArray<T>(array);
}

template SpanArray<float> ToArray<float>(const char* name, const py::object& object, const Shape& shape);
template SpanArray<int64_t> ToArray<int64_t>(const char* name, const py::object& object, const Shape& shape);

SpanArray<float> ToMatrix(const char* name, const py::object& object) {
  const py::array array = AsArray(name, object);
  CheckDtype<float>(name, array);
  if (array.ndim() != 2) {
    throw py::value_error(std::string(name) + ": expected a matrix, received shape " + ToString(ShapeOf(array)));
  }
  return SpanArray<float>(array);
}

SpanArray<float> ToOutput(const char* name, const py::object& object, const Shape& shape) {
  if (!py::isinstance<py::array>(object)) {
    throw py::type_error(std::string(name) + ": expected a numpy array, received " + TypeName(object));
  }
  const py::array array = py::reinterpret_borrow<py::array>(object);
  CheckDtype<float>(name, array);
  CheckShape(name, array, shape);
  if (!SpanArray<float>::check_(array) || !array.writeable()) {
    throw py::value_error(std::string(name) + ": expected a writable array in C order");
  }
  return py::reinterpret_borrow<SpanArray<float>>(array);
}

SpanArray<Key> Adopt(std::vector<Key>&& v) {
  auto owner = std::make_unique<std::vector<Key>>(std::move(v));
  const std::vector<Key>& keys = *owner;
  const py::capsule free(owner.release(), [](void* p) { delete static_cast<std::vector<Key>*>(p); });
  return SpanArray<Key>(static_cast<py::ssize_t>(keys.size()), keys.data(), free);
}

}  // namespace ev::python
