// UringReader: a batch of reads in flight at once, through one io_uring.
//
// Threads:  one call at a time; any thread.
// States:   fit -> broken, when the kernel refuses the ring itself; a broken reader is to be thrown away.
#pragma once

#include <memory>

#include "ev_tf/env/env.h"

namespace ev {

class UringReader {
 public:
  static constexpr unsigned kDepth = 128;  // devices reach their rate of small random reads at 32 to 128

  virtual ~UringReader() = default;
  // Unavailable: not built in, or the kernel or a sandbox refuses it; the message has the reason.
  static Status Create(std::unique_ptr<UringReader>* reader);
  // See Env::ReadBatch.  Requires: each file has a descriptor.
  virtual Status Read(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) = 0;
  virtual bool broken() const = 0;
};

}  // namespace ev
