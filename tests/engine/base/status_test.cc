#include "ev_tf/base/status.h"

#include <gtest/gtest.h>

namespace ev {
namespace {

TEST(Status, DefaultIsOk) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.ToString(), "Ok");
}

TEST(Status, AnErrorKeepsItsCodeAndMessage) {
  const Status status = InvalidArgument("dim: expected 1 to 65536, found 0");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.ToString(), "InvalidArgument: dim: expected 1 to 65536, found 0");
}

TEST(Status, OkWithAMessageIsOk) {
  const Status status(StatusCode::kOk, "dropped");
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.message(), "");
}

TEST(Status, CopiesShareTheError) {
  Status copy;
  {
    const Status status = OutOfSpace("rows: no memory for 64 bytes");
    copy = status;
  }
  EXPECT_EQ(copy.code(), StatusCode::kOutOfSpace);
  EXPECT_EQ(copy.message(), "rows: no memory for 64 bytes");
}

TEST(Status, EveryCodeHasAName) {
  for (const StatusCode code :
       {StatusCode::kNotFound, StatusCode::kInvalidArgument, StatusCode::kFailedPrecondition, StatusCode::kIoError,
        StatusCode::kCorruption, StatusCode::kOutOfSpace, StatusCode::kUnavailable}) {
    EXPECT_EQ(Status(code, "m").ToString().find("Unknown"), std::string::npos) << static_cast<int>(code);
  }
}

TEST(Status, ReturnIfErrorLeavesAtTheFirstError) {
  int reached = 0;
  const auto run = [&reached](const Status& first) -> Status {
    EV_RETURN_IF_ERROR(first);
    ++reached;
    EV_RETURN_IF_ERROR(NotFound("second"));
    ++reached;
    return OkStatus();
  };
  EXPECT_EQ(run(Unavailable("first")).message(), "first");
  EXPECT_EQ(reached, 0);
  EXPECT_EQ(run(OkStatus()).message(), "second");
  EXPECT_EQ(reached, 1);
}

}  // namespace
}  // namespace ev
