#include "ev_tf/tier/ssd_log/segment.h"

#include <algorithm>
#include <functional>
#include <string>

namespace ev::ssd_log {

Status SegmentTable::Init(const Geometry& geometry, Env* env) {
  env_ = env;
  limit_ = std::min<uint32_t>(kMaxSegments, (kMaxPosition - 1) / geometry.slots);
  if (limit_ == 0) return InvalidArgument("segment_bytes: expected segments of fewer than 2^30 rows");
  const size_t bytes = limit_ * sizeof(std::atomic<Segment*>);
  return MemoryRegion::Reserve(bytes, /*huge_from=*/bytes + kHugePageBytes, &table_);
}

SegmentTable::~SegmentTable() {
  for (Segment* segment : All()) delete segment;
}

bool SegmentTable::Numbers::Take(uint32_t limit, uint32_t* number) {
  std::lock_guard<std::mutex> lock(mu_);
  if (!free_.empty()) {
    std::pop_heap(free_.begin(), free_.end(), std::greater<>());
    *number = free_.back();
    free_.pop_back();
    return true;
  }
  if (high_water_ == limit) return false;
  *number = high_water_++;
  return true;
}

void SegmentTable::Numbers::TakeThis(uint32_t number) {
  std::lock_guard<std::mutex> lock(mu_);
  if (number < high_water_) {
    free_.erase(std::remove(free_.begin(), free_.end(), number), free_.end());
  } else {
    for (uint32_t n = high_water_; n < number; ++n) free_.push_back(n);
    high_water_ = number + 1;
  }
  std::make_heap(free_.begin(), free_.end(), std::greater<>());
}

void SegmentTable::Numbers::Give(uint32_t number) {
  std::lock_guard<std::mutex> lock(mu_);
  free_.push_back(number);
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

uint32_t SegmentTable::Numbers::high_water() const {
  std::lock_guard<std::mutex> lock(mu_);
  return high_water_;
}

Status SegmentTable::TakeNumber(uint32_t* number) {
  if (numbers_->Take(limit_, number)) return OkStatus();
  return OutOfSpace("segments: expected at most " + std::to_string(limit_) +
                    ", all in use (larger segment_bytes hold more rows)");
}

void SegmentTable::Install(std::unique_ptr<Segment> segment) {
  const uint32_t number = segment->number;
  slots()[number].store(segment.release(), std::memory_order_seq_cst);
}

void SegmentTable::InstallFound(std::unique_ptr<Segment> segment) {
  numbers_->TakeThis(segment->number);
  Install(std::move(segment));
}

std::function<void()> SegmentTable::Remove(Segment* segment) {
  const uint32_t number = segment->number;
  slots()[number].store(nullptr, std::memory_order_seq_cst);
  domain_.Retire([segment, env = env_] {
    env->CloseLater(std::move(segment->file));
    delete segment;
  });
  return [numbers = numbers_, number] { numbers->Give(number); };
}

std::vector<Segment*> SegmentTable::All() const {
  const uint32_t end = numbers_->high_water();
  std::vector<Segment*> all;
  for (uint32_t i = 0; i < end; ++i) {
    if (Segment* segment = Find(i)) all.push_back(segment);
  }
  return all;
}

size_t SegmentTable::count() const { return All().size(); }

}  // namespace ev::ssd_log
