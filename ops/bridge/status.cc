#include "ops/bridge/status.h"

namespace ev::bridge {
namespace {

absl::StatusCode TfCode(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return absl::StatusCode::kOk;
    case StatusCode::kNotFound: return absl::StatusCode::kNotFound;
    case StatusCode::kInvalidArgument: return absl::StatusCode::kInvalidArgument;
    case StatusCode::kFailedPrecondition: return absl::StatusCode::kFailedPrecondition;
    case StatusCode::kIoError: return absl::StatusCode::kInternal;
    case StatusCode::kCorruption: return absl::StatusCode::kDataLoss;
    case StatusCode::kOutOfSpace: return absl::StatusCode::kResourceExhausted;
    case StatusCode::kUnavailable: return absl::StatusCode::kUnimplemented;
  }
  return absl::StatusCode::kUnknown;
}

}  // namespace

absl::Status ToTf(const Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(TfCode(status.code()), status.message());
}

}  // namespace ev::bridge
