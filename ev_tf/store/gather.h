// The gather kernels: probe and copy in one pipeline, once for each instruction set.
#pragma once

#include <cstdint>

#include "ev_tf/index/probe.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/tier/dram/dram_tier.h"

namespace ev {

struct GatherArgs {
  const IndexProbe* probe;
  const DramTier* dram;
  const DefaultRows* defaults;
  int64_t dim;
};

// out[i * dim, (i + 1) * dim) = value of keys[i].  Returns how many keys read their default row.
int64_t GatherRows(const GatherArgs& args, const Key* keys, size_t n, float* out);

}  // namespace ev
