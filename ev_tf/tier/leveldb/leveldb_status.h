// leveldb::Status -> Status, so that a full disk and a database that is open elsewhere are told from other failures.
#pragma once

#include <string>

#include "ev_tf/base/status.h"

namespace leveldb {
class Status;
}

namespace ev {

// "<where>: <what LevelDB says>".
Status FromLevelDb(const leveldb::Status& status, const std::string& where);

}  // namespace ev
