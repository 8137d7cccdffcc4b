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

  Status Read(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) override {
    uint32_t longest = 0;
    for (const ReadRequest& request : requests) longest = std::max(longest, request.length);
    if (longest <= kSlotBytes) {
      Batch batch(requests, {slab_.get(), kSlotBytes, registered_}, kDepth);
      return Run(&batch, kDepth, done, stats);
    }
    const size_t slot = (longest + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    const auto depth =
        static_cast<unsigned>(std::clamp<size_t>(memory / slot, 1, std::min<size_t>(kDepth, requests.size())));
    AlignedBytes slab = NewAlignedBytes(slot * depth);
    if (slab == nullptr)
      return IoError("read: expected " + std::to_string(slot * depth) + " bytes of memory, found none");
    Batch batch(requests, {slab.get(), slot, false}, depth);
    // While the caller uses what a long read brought, the next one has to be on its way.
    Status status = Run(&batch, /*visits_ahead=*/1, done, stats);
    if (broken_) static_cast<void>(slab.release());
    return status;
  }

 private:
  static constexpr size_t kSlotBytes = 4096;

  LiburingReader(const io_uring& ring, AlignedBytes slab) : ring_(ring), slab_(std::move(slab)) {
    const iovec memory{slab_.get(), kDepth * kSlotBytes};
    registered_ = io_uring_register_buffers(&ring_, &memory, 1) == 0;
  }

  // Where reads go: as many slots as a batch has reads in flight.
  struct Slots {
    std::byte* memory;
    size_t bytes;
    bool registered;  // with the kernel

    std::byte* at(unsigned slot) const { return memory + slot * bytes; }
  };

  // What of a call's requests is in flight, and in which slot.
  struct Batch {
    Batch(Span<const ReadRequest> all, const Slots& into, unsigned most) : requests(all), slots(into), depth(most) {
      for (; free_count < depth; ++free_count) free_slots[free_count] = free_count;
    }
    unsigned flying() const { return depth - free_count; }
    bool begun() const { return next == requests.size(); }  // all of them

    const Span<const ReadRequest> requests;
    const Slots slots;
    const unsigned depth;
    std::array<size_t, kDepth> request_of{};  // of each slot in flight
    std::array<unsigned, kDepth> free_slots{};
    unsigned free_count = 0;
    size_t next = 0;
  };

  // Prepares a read for each free slot.
  void Fill(Batch* batch, ReadStats* stats) {
    while (batch->free_count > 0 && !batch->begun()) {
      const unsigned slot = batch->free_slots[--batch->free_count];
      const ReadRequest& request = batch->requests[batch->next];
      batch->request_of[slot] = batch->next++;
      io_uring_sqe* sqe = io_uring_get_sqe(&ring_);  // not null: there are kDepth entries and as many slots
      std::byte* memory = batch->slots.at(slot);
      if (batch->slots.registered) {
        io_uring_prep_read_fixed(sqe, request.file->descriptor(), memory, request.length, request.offset, 0);
      } else {
        io_uring_prep_read(sqe, request.file->descriptor(), memory, request.length, request.offset);
      }
      io_uring_sqe_set_data64(sqe, slot);
      ++stats->reads;
      stats->bytes += request.length;
    }
    stats->max_depth = std::max(stats->max_depth, batch->flying());
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

  // Gives what was prepared to the kernel and waits for `wanted` reads to end.
  Status Submit(unsigned wanted) {
    const int submitted = io_uring_submit_and_wait(&ring_, wanted);
    if (submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY) return OkStatus();
    broken_ = true;
    return IoError(std::string("io_uring: submit: ") + std::strerror(-submitted));
  }

  // Free slots are filled again after `visits_ahead` visits at the latest.
  Status Run(Batch* batch, unsigned visits_ahead, const ReadDone& done, ReadStats* stats) {
    Status status;
    while (batch->flying() > 0 || (!batch->begun() && status.ok())) {
      if (status.ok()) Fill(batch, stats);
      // Of short reads an eighth of the queue at a time: the device stays busy, and system calls are few.
      const unsigned share = batch->flying() / (batch->begun() ? 2 : 8);
      EV_RETURN_IF_ERROR(Submit(std::clamp(share, 1U, visits_ahead)));
      io_uring_cqe* cqe = nullptr;
      for (unsigned visits = 0; visits < visits_ahead && io_uring_peek_cqe(&ring_, &cqe) == 0; ++visits) {
        const auto slot = static_cast<unsigned>(io_uring_cqe_get_data64(cqe));
        const int result = cqe->res;
        io_uring_cqe_seen(&ring_, cqe);
        const size_t index = batch->request_of[slot];
        if (status.ok()) status = Finish(batch->requests[index], index, result, batch->slots.at(slot), done);
        batch->free_slots[batch->free_count++] = slot;
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
