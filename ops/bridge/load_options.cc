#include "ops/bridge/load_options.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/logging.h"

namespace ev::bridge {
namespace {

class ProgressLog {
 public:
  explicit ProgressLog(std::string variable) : variable_(std::move(variable)), next_us_(Now() + kPauseUs) {}

  void Note(int64_t done, int64_t total) {
    const uint64_t now = Now();
    uint64_t next = next_us_.load(std::memory_order_relaxed);
    if (now < next || !next_us_.compare_exchange_strong(next, now + kPauseUs)) return;
    LOG(INFO) << "EmbeddingVariable '" << variable_ << "': loaded " << done << " of " << total << " rows, "
              << done * 100 / std::max<int64_t>(total, 1) << " %";
  }

 private:
  static constexpr uint64_t kPauseUs = 5'000'000;
  static uint64_t Now() { return tensorflow::Env::Default()->NowMicros(); }

  const std::string variable_;
  std::atomic<uint64_t> next_us_;
};

}  // namespace

std::function<void(int64_t done, int64_t total)> LogProgress(const std::string& variable) {
  return [log = std::make_shared<ProgressLog>(variable)](int64_t done, int64_t total) { log->Note(done, total); };
}

absl::Status ReadFrozen(tensorflow::OpKernelConstruction* ctx, const char* name, SaveOptions::Frozen* frozen) {
  std::string text;
  TF_RETURN_IF_ERROR(ctx->GetAttr(name, &text));
  *frozen = text == "memory"  ? SaveOptions::Frozen::kInMemory
            : text == "files" ? SaveOptions::Frozen::kInFiles
                              : SaveOptions::Frozen::kNo;
  return absl::OkStatus();
}

}  // namespace ev::bridge
