// Full saves and their deltas to one full save.
#pragma once

#include <string>

#include "ev_tf/base/span.h"
#include "ev_tf/base/status.h"
#include "ev_tf/env/env.h"

namespace ev::checkpoint {

// See MergeTables in variable/checkpoint.h.
Status Merge(Env* env, Span<const std::string> paths, const std::string& merged);

}  // namespace ev::checkpoint
