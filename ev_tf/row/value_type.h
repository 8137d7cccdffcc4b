// What the elements of a row's value are: float32, or two bytes each.  Arithmetic and slots are float32 whatever they are.
//
// Each pair of kernels exists as plain C++ and as AVX2 / AVX-512 twins chosen once at run time; all give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ev {

enum class ValueType : uint8_t { kFloat32, kFloat16, kBFloat16 };

// "float32", "float16", "bfloat16".
const char* ValueTypeName(ValueType type);

constexpr size_t ValueBytes(ValueType type) { return type == ValueType::kFloat32 ? 4 : 2; }

// Between n elements as a row has them and floats; the two do not overlap.
struct ValueCodec {
  void (*widen)(const void* from, float* to, int64_t n);  // exact
  // To the nearest element, of two the even one; too large ones to infinity.
  void (*narrow)(const float* from, void* to, int64_t n);
};

const ValueCodec& CodecOf(ValueType type);

}  // namespace ev
