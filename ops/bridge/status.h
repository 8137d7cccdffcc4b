// Engine errors as TensorFlow errors, and a net under every kernel for what is thrown.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ev_tf/base/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// The same message under the matching code.  TensorFlow's Unavailable makes its sessions try again, so nothing becomes
// that: a disk that fails, or a tier that this machine does not have, stops the training.
absl::Status ToTf(const Status& status);

// Runs `body`, which returns an absl::Status, and gives its error to `ctx`.  bad_alloc becomes ResourceExhausted, any
// other exception Internal: TensorFlow's threads do not survive an exception.
template <typename Body>
void RunGuarded(tensorflow::OpKernelContext* ctx, Body&& body) {
  absl::Status status;
  try {
    status = std::forward<Body>(body)();
  } catch (const std::bad_alloc&) {
    status = absl::ResourceExhaustedError("out of memory in an embedding variable's op");
  } catch (const std::exception& e) {
    status = absl::InternalError(absl::StrCat("an embedding variable's op threw: ", e.what()));
  }
  if (!status.ok()) ctx->CtxFailure(__FILE__, __LINE__, status);
}

}  // namespace ev::bridge
