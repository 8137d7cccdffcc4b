// SegmentWriter: one segment file, written from its first record to its last, with no log around it.
//
// Threads:     one.
// Durability:  the file's bytes survive a loss of power once Finish() has returned OK, under any name that does.
#pragma once

#include <memory>
#include <string>

#include "ev_tf/base/status.h"
#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"
#include "ev_tf/tier/ssd_log/format.h"

namespace ev::ssd_log {

class SegmentWriter {
 public:
  // The header says `number`, as number and as ordinal.  `env` outlives the writer.  A file that is there is overwritten.
  static Status Create(Env* env, const std::string& path, const Geometry& geometry, uint32_t number,
                       std::unique_ptr<SegmentWriter>* out);
  ~SegmentWriter();

  bool full() const { return slots_ == geometry_.slots; }
  // Rows so far: they are in slots 0, 1, 2 ...
  uint32_t rows() const { return rows_; }
  // Requires: !full().
  Status Append(Key key, const std::byte* row);
  // To be called once, last.
  Status Finish(SegmentFile* file);

 private:
  SegmentWriter(Env* env, std::string path, const Geometry& geometry, uint32_t number);
  Status WriteBuffer();
  std::byte* at(uint32_t slot) const { return buffer_.get() + (geometry_.offset(slot) - geometry_.offset(first_)); }

  Env* const env_;
  const std::string path_;
  const Geometry geometry_;
  const uint32_t number_;
  const uint32_t buffer_slots_;
  const size_t buffer_bytes_;
  std::unique_ptr<File> file_;
  AlignedBytes buffer_;
  uint32_t first_ = 0;  // slot at the start of the buffer
  uint32_t slots_ = 0;  // taken, fillers too
  uint32_t rows_ = 0;
  uint32_t records_crc_ = 0;
};

}  // namespace ev::ssd_log
