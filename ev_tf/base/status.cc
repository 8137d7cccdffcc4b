#include "ev_tf/base/status.h"

namespace ev {
namespace {

const char* CodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "Ok";
    case StatusCode::kNotFound: return "NotFound";
    case StatusCode::kInvalidArgument: return "InvalidArgument";
    case StatusCode::kFailedPrecondition: return "FailedPrecondition";
    case StatusCode::kIoError: return "IoError";
    case StatusCode::kCorruption: return "Corruption";
    case StatusCode::kOutOfSpace: return "OutOfSpace";
    case StatusCode::kUnavailable: return "Unavailable";
  }
  return "Unknown";
}

}  // namespace

std::string Status::ToString() const { return ok() ? "Ok" : std::string(CodeName(code())) + ": " + message(); }

}  // namespace ev
