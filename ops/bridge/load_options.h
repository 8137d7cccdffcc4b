// What ops that save and load tables have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ev_tf/variable/checkpoint.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// For LoadOptions::progress: logs how far a load is that takes long, every few seconds.
std::function<void(int64_t done, int64_t total)> LogProgress(const std::string& variable);

// *frozen = what the attribute `name` says: "no", "memory" or "files".
absl::Status ReadFrozen(tensorflow::OpKernelConstruction* ctx, const char* name, SaveOptions::Frozen* frozen);

}  // namespace ev::bridge
