// LevelDB as it comes, and as DeepRec's LEVELDB tier uses it: its own settings, one Put() and one Get() a row in the order
// asked, no checking of what is read, overwriting by key.  To be measured against; no part of the engine.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "ev_tf/tier/tier.h"

namespace ev::bench {

// path: a directory of its own, which is made.  A removed row stays until its key is put again.
std::unique_ptr<Tier> OpenPlainLevelDb(const std::string& path, size_t row_bytes);

}  // namespace ev::bench
