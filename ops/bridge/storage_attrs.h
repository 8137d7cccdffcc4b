// The attributes by which an op that makes a table says where its rows are kept.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "ev_tf/variable/storage_options.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// *strategy = that of a number.  InvalidArgument: it has none.
absl::Status ToCacheStrategy(int64_t number, CacheStrategy* strategy);

class StorageAttrs {
 public:
  // Reads the attributes; an attribute that is missing fails `ctx`.
  explicit StorageAttrs(tensorflow::OpKernelConstruction* ctx);

  // What a table is to be made with; see variable/storage_type.h, whose environment variables are read now.
  // InvalidArgument: a number without a meaning, a path that is missing.  Unimplemented: not in this build.
  absl::Status Make(StorageOptions* out) const;

 private:
  int64_t type_ = 0;
  std::string path_;
  int64_t dram_bytes_ = 0;
  int64_t middle_bytes_ = 0;
  int64_t cache_strategy_ = 0;
};

}  // namespace ev::bridge
