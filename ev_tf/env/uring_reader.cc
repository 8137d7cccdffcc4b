#include "ev_tf/env/uring_reader.h"

#if defined(EV_HAVE_LIBURING)
#include <liburing.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/env/posix_file.h"

namespace ev {

#if defined(EV_HAVE_LIBURING)
namespace {

// Each read in flight has a slot of the slab.  The slab of small reads is registered with the kernel once, which spares
// it the pinning of pages at each read.
class LiburingReader final : public UringReader {
 public:
  ~LiburingReader() override {
    io_uring_queue_exit(&ring_);
    if (broken_) static_cast<void>(slab_.release());  // the kernel may still write to it
  }

  // 0, or the errno that refused.  The ring exists only after 0.
  static int Open(std::unique_ptr<LiburingReader>* out) {
    io_uring ring{};
    io_uring_params params{};
    params.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL;
    int error = io_uring_queue_init_params(kDepth, &ring, &params);
    if (error == -EINVAL) {  // a kernel before 5.19
      params = {};
      error = io_uring_queue_init_params(kDepth, &ring, &params);
    }
    if (error != 0) return -error;
    AlignedBytes slab = NewAlignedBytes(kDepth * kSlotBytes);
    if (slab == nullptr) {
      io_uring_queue_exit(&ring);
      return ENOMEM;
    }
    out->reset(new LiburingReader(ring, std::move(slab)));
    return 0;
  }

  bool broken() const override { return broken_; }

  Status Read(Span<const ReadRequest> requests, const ReadDone& done, ReadStats* stats) override {
    uint32_t longest = 0;
    for (const ReadRequest& request : requests) longest = std::max(longest, request.length);
    if (longest <= kSlotBytes) return Run(requests, done, stats, slab_.get(), kSlotBytes, kDepth, registered_);
    const size_t slot = (longest + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    const auto depth = static_cast<unsigned>(std::clamp<size_t>(kLongReadBytes / slot, 1, kDepth));
    AlignedBytes slab = NewAlignedBytes(slot * depth);
    if (slab == nullptr)
      return IoError("read: expected " + std::to_string(slot * depth) + " bytes of memory, found none");
    Status status = Run(requests, done, stats, slab.get(), slot, depth, false);
    if (broken_) static_cast<void>(slab.release());
    return status;
  }

 private:
  static constexpr size_t kSlotBytes = 4096;
  static constexpr size_t kLongReadBytes = size_t{8} << 20;  // slots of longer reads together

  LiburingReader(const io_uring& ring, AlignedBytes slab) : ring_(ring), slab_(std::move(slab)) {
    const iovec memory{slab_.get(), kDepth * kSlotBytes};
    registered_ = io_uring_register_buffers(&ring_, &memory, 1) == 0;
  }

  struct InFlight {
    size_t request = 0;
  };

  void Submit(const ReadRequest& request, unsigned slot, std::byte* memory, bool registered) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);  // not null: there are kDepth entries and as many slots
    if (registered) {
      io_uring_prep_read_fixed(sqe, request.file->descriptor(), memory, request.length, request.offset, 0);
    } else {
      io_uring_prep_read(sqe, request.file->descriptor(), memory, request.length, request.offset);
    }
    io_uring_sqe_set_data64(sqe, slot);
  }

  static Status Finish(const ReadRequest& request, size_t index, int result, std::byte* memory, const ReadDone& done) {
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
      return ErrnoStatus(request.file->path() + " @ " + std::to_string(request.offset),
                         "read: expected " + std::to_string(request.length) + " bytes", -result);
    }
    if (result != static_cast<int>(request.length)) {  // short or to be tried again: the plain way finds out which
      EV_RETURN_IF_ERROR(request.file->ReadAt(request.offset, {memory, request.length}));
    }
    return done(index, memory);
  }

  Status Run(Span<const ReadRequest> requests, const ReadDone& done, ReadStats* stats, std::byte* slab,
             size_t slot_bytes, unsigned depth, bool registered) {
    std::array<InFlight, kDepth> in_flight;
    std::array<unsigned, kDepth> free_slots{};
    unsigned free_count = depth;
    for (unsigned i = 0; i < depth; ++i) free_slots[i] = i;
    Status status;
    size_t next = 0;
    unsigned flying = 0;
    while (flying > 0 || (next < requests.size() && status.ok())) {
      for (; free_count > 0 && next < requests.size() && status.ok(); ++next, ++flying) {
        const unsigned slot = free_slots[--free_count];
        in_flight[slot].request = next;
        Submit(requests[next], slot, slab + slot * slot_bytes, registered);
        ++stats->reads;
        stats->bytes += requests[next].length;
      }
      stats->max_depth = std::max(stats->max_depth, flying);
      // An eighth of the queue at a time: the device stays busy, and system calls are few.
      const unsigned wanted = next < requests.size() ? std::max(1U, flying / 8) : std::max(1U, flying / 2);
      const int submitted = io_uring_submit_and_wait(&ring_, wanted);
      if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY) {
        broken_ = true;
        return IoError(std::string("io_uring: submit: ") + std::strerror(-submitted));
      }
      io_uring_cqe* cqe = nullptr;
      while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
        const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
        const int result = cqe->res;
        io_uring_cqe_seen(&ring_, cqe);
        const size_t index = in_flight[slot].request;
        if (status.ok()) status = Finish(requests[index], index, result, slab + slot * slot_bytes, done);
        free_slots[free_count++] = slot;
        --flying;
      }
    }
    return status;
  }

  io_uring ring_;
  AlignedBytes slab_;
  bool registered_ = false;
  bool broken_ = false;
};

}  // namespace

Status UringReader::Create(std::unique_ptr<UringReader>* reader) {
  std::unique_ptr<LiburingReader> opened;
  const int error = LiburingReader::Open(&opened);
  if (error != 0) return Unavailable(std::string("io_uring: ") + std::strerror(error));
  *reader = std::move(opened);
  return OkStatus();
}

#else

Status UringReader::Create(std::unique_ptr<UringReader>* /*reader*/) {
  return Unavailable("io_uring: this build has no liburing");
}

#endif

}  // namespace ev
