#include "ev_tf/tier/leveldb/leveldb_status.h"

#include <leveldb/status.h>

#include <cerrno>
#include <cstring>

namespace ev {
namespace {

bool Says(const std::string& message, const std::string& text) { return message.find(text) != std::string::npos; }

}  // namespace

Status FromLevelDb(const leveldb::Status& status, const std::string& where) {
  if (status.ok()) return OkStatus();
  const std::string said = status.ToString();
  const std::string message = where + ": " + said;
  // LevelDB says NotFound for a missing file, too: that is no missing row.
  if (status.IsNotFound()) return Says(said, std::strerror(ENOENT)) ? IoError(message) : NotFound(message);
  if (status.IsCorruption()) return Corruption(message);
  if (status.IsInvalidArgument()) {
    // A directory of which the file CURRENT is gone, or a comparator of another name.
    return InvalidArgument(message);
  }
  // LevelDB keeps errno as its text only.
  for (const int full : {ENOSPC, EDQUOT}) {
    if (Says(said, std::strerror(full))) return OutOfSpace(message);
  }
  if (Says(said, "lock ") && (Says(said, "already held by process") || Says(said, std::strerror(EAGAIN)))) {
    return Unavailable(message + " (another tier or process has it open)");
  }
  return IoError(message);
}

}  // namespace ev
