// ThreadSanitizer's exceptions for all tests.  ev_add_test links it where that sanitizer is on.
//
// LevelDB comes as a library that was built without the sanitizer: it does not see the atomics by which a row in LevelDB's
// memory is published, but it does see the memcpy and the memcmp.  Our own code above it is checked all the same.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_suppressions();  // NOLINT: its name
const char* __tsan_default_suppressions() { return "race:leveldb::\n"; }                      // NOLINT
