// NumPy arrays as the engine's spans, and the engine's Status as Python exceptions.
//
// Arrays of the right type and order are borrowed, not copied.  Every function here needs the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ev_tf/base/key.h"
#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"

namespace ev::python {

namespace py = pybind11;

// C order, aligned, native byte order: what a Span needs.
inline constexpr int kSpanFlags = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;

template <typename T>
using SpanArray = py::array_t<T, kSpanFlags>;

using Shape = std::vector<py::ssize_t>;

// InvalidArgument -> ValueError, NotFound -> KeyError, OutOfSpace -> MemoryError, IoError -> OSError, everything else
// -> RuntimeError.
void ThrowIfError(const Status& status);

Shape ShapeOf(const py::array& array);
std::string ToString(const Shape& shape);  // "(3, 4)"
// The shape of one row of `dim` for each element of `keys`.
Shape RowsShape(const py::array& keys, int64_t dim);

// `object` as an int64 array of any shape.  int64 is borrowed, int32 is widened, an empty array may have any type.
// TypeError: any other type; uint64 too, as it holds ids that int64 does not.
SpanArray<Key> ToKeys(const py::object& object);
// The same, of shape [n].  ValueError: another rank.
SpanArray<Key> ToKeys1D(const py::object& object);

// `object` as an array of T (float or int64_t) and of exactly this shape; `name` is for messages.
// TypeError: not an array, or of another type: nothing is rounded silently.  ValueError: another shape.
template <typename T>
SpanArray<T> ToArray(const char* name, const py::object& object, const Shape& shape);
// `object` as a float32 array of rank 2, any size.
SpanArray<float> ToMatrix(const char* name, const py::object& object);

// The array that a caller gave to be written in place: float32, of this shape, in C order and writable; else as above.
SpanArray<float> ToOutput(const char* name, const py::object& object, const Shape& shape);

template <typename T>
Span<const T> In(const SpanArray<T>& array) {
  return {array.data(), static_cast<size_t>(array.size())};
}

template <typename T>
Span<T> Out(SpanArray<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

// An array of shape [v.size()] that owns `v`; nothing is copied.
SpanArray<Key> Adopt(std::vector<Key>&& v);

}  // namespace ev::python
