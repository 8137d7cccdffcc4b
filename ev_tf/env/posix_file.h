// Files of the operating system.  For posix_env.cc only.
#pragma once

#include <memory>
#include <string>

#include "ev_tf/env/env.h"

namespace ev {

// What errno says, as the Status of its kind: "path @ offset: write: expected 4096 bytes, found No space left on device".
Status ErrnoStatus(const std::string& path, const std::string& what, int error);

Status OpenPosixFile(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file);
// Env::Link.
Status LinkPosixFile(const std::string& from, const std::string& to, LinkKind* kind);
Status LockPosixFile(const std::string& path, std::unique_ptr<FileLock>* lock);

}  // namespace ev
