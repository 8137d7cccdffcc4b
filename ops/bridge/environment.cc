#include "ops/bridge/environment.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ev::bridge {

absl::Status ReadSwitch(const char* name, bool otherwise, bool* value) {
  const char* text = std::getenv(name);
  std::string set = text == nullptr ? "" : text;
  std::transform(set.begin(), set.end(), set.begin(), [](unsigned char c) { return std::tolower(c); });
  *value = text == nullptr ? otherwise : set == "1" || set == "true";
  if (text == nullptr || *value || set == "0" || set == "false") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": expected 0, 1, true or false, found '", text, "'"));
}

absl::Status ReadServingDramBytes(int64_t otherwise, int64_t* bytes) {
  constexpr char kName[] = "TF_EV_SERVING_DRAM_BYTES";
  const char* text = std::getenv(kName);
  *bytes = otherwise;
  if (text == nullptr || (absl::SimpleAtoi(text, bytes) && *bytes > 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(kName, ": expected a number of bytes above 0, found '", text, "'"));
}

}  // namespace ev::bridge
