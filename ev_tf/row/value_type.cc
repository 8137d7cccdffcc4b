#include "ev_tf/row/value_type.h"

#include <cstring>

#include "ev_tf/base/cpu.h"
#if EV_X86_KERNELS
#include <immintrin.h>
#endif

namespace ev {
namespace {

EV_ALWAYS_INLINE float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

EV_ALWAYS_INLINE uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

constexpr uint32_t kInfinity = 0x7f800000;  // a float's; larger magnitudes are no numbers

EV_ALWAYS_INLINE uint16_t BFloatOf(uint32_t bits) {
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = ((bits >> 16) & 0x8000) | 0x7fc0;
  return static_cast<uint16_t>((bits & 0x7fffffff) > kInfinity ? nan : rounded);
}

// By integers alone: what is small must not depend on whether a thread flushes denormals.
uint16_t HalfOf(uint32_t bits) {
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // from 65520, half way to 2^16
  if (magnitude >= 0x38800000) {                                             // 2^-14, the least normal half
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
  }
  if (magnitude < 0x33000000) return static_cast<uint16_t>(sign);  // 2^-25, half of the least half
  const uint32_t digits = (magnitude & 0x7fffff) | 0x800000;
  const uint32_t shift = 126 - (magnitude >> 23);
  const uint32_t whole = digits >> shift;
  const uint32_t rest = digits & ((1u << shift) - 1);
  const uint32_t tie = 1u << (shift - 1);
  return static_cast<uint16_t>(sign | (whole + (rest > tie || (rest == tie && (whole & 1) != 0) ? 1 : 0)));
}

// The bits of the float that a half is.
uint32_t BitsOfHalf(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t digits = half & 0x3ff;
  if (exponent == 0x1f) return sign | kInfinity | (digits << 13) | (digits == 0 ? 0 : 0x400000);
  if (exponent != 0) return sign | ((exponent + 112) << 23) | (digits << 13);
  if (digits == 0) return sign;
  const auto top = static_cast<uint32_t>(31 - __builtin_clz(digits));
  return sign | ((top + 103) << 23) | ((digits << (23 - top)) & 0x7fffff);
}

// The order of these includes is their meaning.
// clang-format off
namespace plain {
constexpr int kHalfLanes = 0;
inline void WidenHalves(const uint16_t*, float*) {}
inline void NarrowHalves(const float*, uint16_t*) {}
#include "ev_tf/row/value_type.inc"
}  // namespace plain

#if EV_X86_KERNELS
namespace avx2 {
#include "ev_tf/base/begin_avx2.h"
constexpr int kHalfLanes = 8;
EV_ALWAYS_INLINE void WidenHalves(const uint16_t* from, float* to) {
  _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
EV_ALWAYS_INLINE void NarrowHalves(const float* from, uint16_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
#include "ev_tf/row/value_type.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx2

namespace avx512 {
#include "ev_tf/base/begin_avx512.h"
constexpr int kHalfLanes = 16;
constexpr __mmask16 kAll = 0xffff;  // the forms without a mask leave GCC warning of what they do not read
EV_ALWAYS_INLINE void WidenHalves(const uint16_t* from, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
EV_ALWAYS_INLINE void NarrowHalves(const float* from, uint16_t* to) {
  const __m256i halves = _mm512_maskz_cvtps_ph(kAll, _mm512_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
}
#include "ev_tf/row/value_type.inc"
#include "ev_tf/base/end_target.h"
}  // namespace avx512
#endif
// clang-format on

const ValueCodec* Choose() {
#if EV_X86_KERNELS
  switch (BestIsa()) {
    case Isa::kAvx512: return avx512::kCodecs;
    case Isa::kAvx2: return avx2::kCodecs;
    case Isa::kPlain: break;
  }
#endif
  return plain::kCodecs;
}

}  // namespace

const char* ValueTypeName(ValueType type) {
  switch (type) {
    case ValueType::kFloat32: return "float32";
    case ValueType::kFloat16: return "float16";
    case ValueType::kBFloat16: return "bfloat16";
  }
  return "unknown";
}

const ValueCodec& CodecOf(ValueType type) {
  static const ValueCodec* const codecs = Choose();
  return codecs[static_cast<size_t>(type)];
}

}  // namespace ev
