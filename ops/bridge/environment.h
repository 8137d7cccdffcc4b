// Switches of the environment that the ops ask for.
#pragma once

#include "absl/status/status.h"

namespace ev::bridge {

// *value = whether the environment variable `name` is 1 or true, and `otherwise` where it is not set.
// InvalidArgument: it is set to anything but 0, 1, true and false.
absl::Status ReadSwitch(const char* name, bool otherwise, bool* value);

}  // namespace ev::bridge
