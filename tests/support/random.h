// Random numbers of a test.  The seed is printed, so that a failure can be seen again: EV_SEED=<seed> ctest -R <test>.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace ev::test {

// The seed of this process: EV_SEED if it is given, else a new one.
inline uint64_t Seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("EV_SEED");
    const uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("EV_SEED=%llu\n", static_cast<unsigned long long>(value));
    std::fflush(stdout);  // a crash must not swallow it
    return value;
  }();
  return seed;
}

// Random numbers of one test or thread: the same for the same seed and stream, whatever other tests run.
class Random {
 public:
  explicit Random(uint64_t stream) : engine_(Seed() * 0x9e3779b97f4a7c15ULL + stream) {}

  uint64_t Bits() { return engine_(); }
  // In [0, n).
  uint64_t Below(uint64_t n) { return engine_() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  // In [low, high), a multiple of 2^-20 of the width.
  float Float(float low, float high) {
    return low + (high - low) * static_cast<float>(engine_() >> 44) / static_cast<float>(1 << 20);
  }
  std::vector<float> Floats(size_t n, float low, float high) {
    std::vector<float> floats(n);
    for (float& f : floats) f = Float(low, high);
    return floats;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace ev::test
