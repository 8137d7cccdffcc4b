// Expectations on a Status that say what it was.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "ev_tf/base/status.h"

#define EV_ASSERT_OK(expr)                                       \
  do {                                                           \
    const ::ev::Status ev_assert_ok_ = (expr);                   \
    ASSERT_TRUE(ev_assert_ok_.ok()) << ev_assert_ok_.ToString(); \
  } while (false)
#define EV_EXPECT_OK(expr)                                       \
  do {                                                           \
    const ::ev::Status ev_expect_ok_ = (expr);                   \
    EXPECT_TRUE(ev_expect_ok_.ok()) << ev_expect_ok_.ToString(); \
  } while (false)

namespace ev::test {

// `status` is an error of this code whose message has every part, e.g. the name, what was expected and what was found.
inline void ExpectError(const Status& status, StatusCode code, std::initializer_list<std::string> parts) {
  EXPECT_EQ(status.code(), code) << status.ToString();
  for (const std::string& part : parts) EXPECT_THAT(status.message(), ::testing::HasSubstr(part));
}

}  // namespace ev::test
