// Status: the result of every engine call that can fail.  No exception leaves the engine.
//
// A message answers what, where, expected, found:  InvalidArgument("dim: expected 1 to 65536, found 0").
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace ev {

enum class StatusCode : uint8_t {
  kOk,
  kNotFound,
  kInvalidArgument,
  kFailedPrecondition,
  kIoError,
  kCorruption,
  kOutOfSpace,
  kUnavailable,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : state_(code == StatusCode::kOk ? nullptr : std::make_shared<State>(State{code, std::move(message)})) {}

  bool ok() const { return state_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : state_->code; }
  const std::string& message() const {
    static const std::string empty;
    return ok() ? empty : state_->message;
  }
  // "InvalidArgument: dim: expected ..."
  std::string ToString() const;

 private:
  struct State {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const State> state_;  // null when ok
};

inline Status OkStatus() { return {}; }
inline Status NotFound(std::string message) { return {StatusCode::kNotFound, std::move(message)}; }
inline Status InvalidArgument(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }
inline Status FailedPrecondition(std::string message) { return {StatusCode::kFailedPrecondition, std::move(message)}; }
inline Status IoError(std::string message) { return {StatusCode::kIoError, std::move(message)}; }
inline Status Corruption(std::string message) { return {StatusCode::kCorruption, std::move(message)}; }
inline Status OutOfSpace(std::string message) { return {StatusCode::kOutOfSpace, std::move(message)}; }
inline Status Unavailable(std::string message) { return {StatusCode::kUnavailable, std::move(message)}; }

}  // namespace ev

#define EV_RETURN_IF_ERROR(expr)             \
  do {                                       \
    ::ev::Status ev_status_ = (expr);        \
    if (!ev_status_.ok()) return ev_status_; \
  } while (false)
