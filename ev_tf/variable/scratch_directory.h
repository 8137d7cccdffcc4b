// ScratchDirectory: a directory for the files of one tier, which goes with the tier, or with the process.
#pragma once

#include <memory>
#include <string>

#include "ev_tf/base/status.h"

namespace ev {

// Threads: any.
class ScratchDirectory {
 public:
  // Makes `parent`, if it is missing, and in it a directory with a name that nobody has: processes, also of different
  // machines, may share a parent.
  // InvalidArgument: it cannot be made.
  static Status Make(const std::string& parent, std::unique_ptr<ScratchDirectory>* out);
  // Takes the directory away, whatever is in it.  A process that exits takes away those it still has; one that is killed
  // leaves them behind.
  ~ScratchDirectory();

  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path);
  const std::string path_;
};

}  // namespace ev
