// ScratchDirectory: a directory for the files of one tier, which goes with the tier, or with the process.
//
// A process has one directory in each parent, ev_<process>_<six letters>, and holds a lock (flock) on it for as long as it
// lives; each tier has a directory in there.  A process that is killed leaves its directory, and no lock: the next one that
// comes to the same parent takes it away.  That is done on file systems of this machine only: on those that machines share,
// a lock of another one may not be seen, and what is left stays.
#pragma once

#include <memory>
#include <string>

#include "ev_tf/base/status.h"

namespace ev {

class ProcessDirectory;

// Threads: any.
class ScratchDirectory {
 public:
  // Makes `parent`, if it is missing, and in it a directory that nobody has: processes, also of different machines, may
  // share a parent.
  // InvalidArgument: it cannot be made.
  static Status Make(const std::string& parent, std::unique_ptr<ScratchDirectory>* out);
  // Takes the directory away, whatever is in it, and with the last one that of the process.  A process that exits takes away
  // what it still has.
  ~ScratchDirectory();

  const std::string& path() const { return path_; }

 private:
  ScratchDirectory(std::shared_ptr<ProcessDirectory> process, std::string path);
  const std::shared_ptr<ProcessDirectory> process_;
  const std::string path_;
};

}  // namespace ev
