// RecordBuffer: memory for the records of one call, which are written before they are read: it is not cleared first.
#pragma once

#include <cstddef>
#include <memory>

namespace ev {

class RecordBuffer {
 public:
  // Room for `bytes`.  What was there is lost if that is more than there was.
  void Reserve(size_t bytes) {
    if (bytes <= bytes_) return;
    memory_.reset(new std::byte[bytes]);
    bytes_ = bytes;
  }
  std::byte* data() { return memory_.get(); }
  const std::byte* data() const { return memory_.get(); }

 private:
  std::unique_ptr<std::byte[]> memory_;
  size_t bytes_ = 0;
};

}  // namespace ev
