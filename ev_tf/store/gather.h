// The gather kernels: probe and copy in one pipeline, once for each instruction set.
#pragma once

#include <cstdint>
#include <vector>

#include "ev_tf/index/probe.h"
#include "ev_tf/init/default_rows.h"
#include "ev_tf/store/cold_rows.h"
#include "ev_tf/store/hot_tier.h"

namespace ev {

struct GatherArgs {
  const IndexProbe* probe;
  const HotTier* hot;
  const DefaultRows* defaults;
  const RowLayout* layout;
  bool asks_between_copies;           // see StoreOptions
  uint32_t tick;                      // of this call, for the ranks of a bounded hot tier
  ColdRows* cold;                     // takes the keys of rows below
  std::vector<uint32_t>* cold_parts;  // takes their places in `keys`
};

// out[i * dim, (i + 1) * dim) = value of keys[i], as floats.  Returns how many keys read their default row.  The part of a
// key whose row is below gets some row, to be overwritten.
int64_t GatherRows(const GatherArgs& args, const Key* keys, size_t n, float* out);

}  // namespace ev
