// Switches of the environment that the ops ask for.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace ev::bridge {

// *value = whether the environment variable `name` is 1 or true, and `otherwise` where it is not set.
// InvalidArgument: it is set to anything but 0, 1, true and false.
absl::Status ReadSwitch(const char* name, bool otherwise, bool* value);

// *bytes = the number that the environment variable TF_EV_SERVING_DRAM_BYTES is set to, `otherwise` where it is not set.
// InvalidArgument: it is set to anything but a number above 0.
absl::Status ReadServingDramBytes(int64_t otherwise, int64_t* bytes);

}  // namespace ev::bridge
