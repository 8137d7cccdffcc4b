// libFuzzer over recovery: built with clang where EV_BUILD_FUZZERS is on.
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/fuzz/ssd_log_segment.h"

// The header's checksum is made right, so that the fuzzer gets past it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  static const std::string sample = ev::testing::SampleSegment();
  if (size > 0 && data[0] % 2 == 0) {
    bytes = sample.substr(0, ev::ssd_log::kMarkOffset) + bytes;
  } else if (size > 0 && data[0] % 4 == 1) {
    bytes = sample.substr(0, ev::ssd_log::kHeaderBytes) + bytes;
  }
  static_cast<void>(ev::testing::OpenBytes(std::move(bytes)));
  return 0;
}
