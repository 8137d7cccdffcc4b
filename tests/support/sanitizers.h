// What a test does less of under a sanitizer, where everything takes ten times as long.
#pragma once

namespace ev::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderSanitizer = true;
#else
inline constexpr bool kUnderSanitizer = false;
#endif

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kUnderThreadSanitizer = true;
#else
inline constexpr bool kUnderThreadSanitizer = false;
#endif

// n, or a share of it under a sanitizer: for rounds whose number only makes rare things likelier.
constexpr int Rounds(int n, int share = 8) { return kUnderSanitizer ? (n + share - 1) / share : n; }

}  // namespace ev::test
