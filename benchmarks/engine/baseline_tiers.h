// How rows of a log are read elsewhere: one by one.  To be measured against; no part of the engine.
#pragma once

#include <memory>

#include "ev_tf/tier/ssd_log/ssd_log_tier.h"

namespace ev::bench {

enum class OneByOne {
  kMapAndDrop,   // a mapping of the file, which is told after each row that it is not needed any more
  kDirectPread,  // a read past the page cache, which is waited for
};

// A log whose rows are written, moved and counted as SsdLogTier does, and read in the way that is asked for.
// Requires: rows that fit the default geometry of SsdLogTier.
Status OpenOneByOneTier(OneByOne how, const SsdLogOptions& log, std::shared_ptr<Tier>* out);

}  // namespace ev::bench
