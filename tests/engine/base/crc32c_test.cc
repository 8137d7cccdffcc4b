#include "ev_tf/base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace ev {
namespace {

// RFC 3720, B.4.
TEST(Crc32c, StandardVectors) {
  EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283U);
  EXPECT_EQ(Crc32c(std::string(32, '\0').data(), 32), 0x8a9136aaU);
  EXPECT_EQ(Crc32c(std::string(32, '\xff').data(), 32), 0x62a8ab43U);
  EXPECT_EQ(Crc32c("", 0), 0U);
}

TEST(Crc32c, TwinsAgreeAtEveryLengthAndAlignment) {
  std::mt19937 random(3);
  std::string bytes(200, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  for (size_t at = 0; at < 9; ++at) {
    for (size_t n = 0; n + at <= bytes.size(); ++n) EXPECT_EQ(Crc32c(&bytes[at], n), Crc32cPlain(&bytes[at], n));
  }
}

// Long runs go in lanes of 1,024 bytes, three side by side.
TEST(Crc32c, TwinsAgreeOnLongRuns) {
  std::mt19937 random(4);
  std::string bytes(10000, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  for (size_t n = 3000; n <= bytes.size(); n += n % 1024 < 9 || n % 1024 > 1015 ? 1 : 7) {
    ASSERT_EQ(Crc32c(bytes.data(), n, 77), Crc32cPlain(bytes.data(), n, 77)) << n;
  }
}

TEST(Crc32c, PartsAddUp) {
  const std::string bytes = "rows of an embedding variable";
  for (size_t n = 0; n <= bytes.size(); ++n) {
    EXPECT_EQ(Crc32c(bytes.data() + n, bytes.size() - n, Crc32c(bytes.data(), n)), Crc32c(bytes.data(), bytes.size()));
  }
}

}  // namespace
}  // namespace ev
