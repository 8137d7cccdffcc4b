#include "ev_tf/admission/admission.h"

#include <limits>
#include <string>
#include <utility>

#include "ev_tf/admission/counter.h"
#include "ev_tf/admission/counting_bloom.h"

namespace ev {
namespace {

Status Expect(bool holds, const char* what, const std::string& expected, const std::string& found) {
  if (holds) return OkStatus();
  return InvalidArgument(std::string(what) + ": expected " + expected + ", found " + found);
}

Status MakeBloom(const AdmissionOptions& options, std::unique_ptr<Admission>* out) {
  const int bytes = options.counter_bytes;
  EV_RETURN_IF_ERROR(Expect(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8, "counter_type", "1, 2, 4 or 8 bytes",
                            std::to_string(bytes)));
  const int64_t most = bytes >= 4 ? std::numeric_limits<uint32_t>::max() : (int64_t{1} << (8 * bytes)) - 1;
  EV_RETURN_IF_ERROR(Expect(options.filter_freq <= most, "filter_freq",
                            "at most " + std::to_string(most) + " in counters of " + std::to_string(bytes) + " bytes",
                            std::to_string(options.filter_freq)));
  std::unique_ptr<CountingBloom> bloom;
  EV_RETURN_IF_ERROR(CountingBloom::Make(options, &bloom));
  *out = std::move(bloom);
  return OkStatus();
}

}  // namespace

Status MakeAdmission(const AdmissionOptions& options, std::unique_ptr<Admission>* out) {
  out->reset();
  EV_RETURN_IF_ERROR(
      Expect(options.filter_freq >= 0, "filter_freq", "at least 0", std::to_string(options.filter_freq)));
  if (!options.enabled()) return OkStatus();
  const bool sized = options.max_element_size > 0;
  const double probability = options.false_positive_probability;
  EV_RETURN_IF_ERROR(Expect(sized == (probability > 0), "false_positive_probability",
                            "it and max_element_size together",
                            std::to_string(probability) + " and " + std::to_string(options.max_element_size)));
  if (sized) {
    EV_RETURN_IF_ERROR(
        Expect(probability < 1, "false_positive_probability", "less than 1", std::to_string(probability)));
    return MakeBloom(options, out);
  }
  EV_RETURN_IF_ERROR(Expect(options.filter_freq <= kMaxCountedFrequency, "filter_freq",
                            "at most " + std::to_string(kMaxCountedFrequency), std::to_string(options.filter_freq)));
  *out = std::make_unique<Counter>(static_cast<uint32_t>(options.filter_freq));
  return OkStatus();
}

}  // namespace ev
