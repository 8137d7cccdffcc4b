// Any bytes as a segment file: what the fuzzer and the decoder's test feed to recovery.
#pragma once

#include <string>
#include <utility>

#include "tests/support/fault_env.h"
#include "tests/support/ssd_log_model.h"

namespace ev::testing {

inline SsdLogOptions FuzzOptions(FaultEnv* env) {
  SsdLogOptions options;
  options.path = "disk";
  options.row_bytes = 48;
  options.segment_bytes = 6 << 10;
  options.env = env;
  options.existing = SsdExisting::kRecover;
  return options;
}

// Opens a log of one segment of these bytes.  What it accepts must then be readable, each row under its key.
inline Status OpenBytes(std::string bytes, size_t* rows = nullptr) {
  FaultEnv env;
  env.SetContents("disk/rows-000000.ssd", std::move(bytes));
  MapIndex index;
  SsdLogOptions options = FuzzOptions(&env);
  options.visitor = [&](Key key, Position position) {
    Position old = 0;
    return !index.Set(key, position, &old);
  };
  std::unique_ptr<SsdLogTier> tier;
  EV_RETURN_IF_ERROR(SsdLogTier::Open(options, &tier));
  for (const Key key : index.Keys()) {
    Position position = 0;
    index.Find(key, &position);
    std::vector<std::byte> row(options.row_bytes);
    const Status status = tier->Get({&key, 1}, {&position, 1}, row);
    if (!status.ok()) std::abort();
  }
  if (rows != nullptr) *rows = index.size();
  return OkStatus();
}

// A whole segment of a few rows, some of them newer versions.
inline std::string SampleSegment() {
  FaultEnv env;
  LogTable table(FuzzOptions(&env));
  if (!table.Open().ok() || !table.Put({1, 2, 3, -4, 5}, 1).ok() || !table.Put({2, 9}, 2).ok() ||
      !table->Flush().ok() || !table.Put({7, 8}, 3).ok()) {
    std::abort();
  }
  table.Close();
  return env.Contents("disk/rows-000000.ssd");
}

}  // namespace ev::testing
