// kill -9 at a random moment: the log opens, what was promised is there, and no row is half of two.
//
// The promises come over a pipe: a child writes a line's worth of them once Flush() has returned.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/ssd_log_model.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using testing::LogTable;
using Versions = std::unordered_map<Key, uint64_t>;

constexpr Key kKeys = 400;

// Fast by default; EV_KILLS for more.
int Kills() {
  const char* wanted = std::getenv("EV_KILLS");
  return wanted != nullptr ? std::atoi(wanted) : test::Rounds(20, 4);
}

SsdLogOptions Options(const std::string& path, bool async_compaction) {
  SsdLogOptions options;
  options.path = path;
  options.row_bytes = 112;
  options.segment_bytes = 24 << 10;
  options.durable = true;
  options.io_mode = SsdIoMode::kBuffered;
  options.existing = SsdExisting::kRecover;
  options.async_compaction = async_compaction;
  return options;
}

// All keys have versions from `first` on, key by key in rounds; a promise is the newest version that was flushed.
[[noreturn]] void WriteUntilKilled(const std::string& path, bool async_compaction, uint64_t first, int promises) {
  LogTable table(Options(path, async_compaction));
  if (!table.Open().ok()) _exit(2);
  test::Random random(first);
  for (uint64_t version = first;; ++version) {
    std::vector<Key> keys;
    for (Key key = 0; key < kKeys; ++key) {
      if (random.OneIn(4)) keys.push_back(key);
    }
    if (!table.Put(keys, version).ok()) _exit(3);
    if (!random.OneIn(3)) continue;
    if (!(random.OneIn(4) ? table->Settle() : table->Flush()).ok()) _exit(4);
    if (write(promises, &version, sizeof(version)) != sizeof(version)) _exit(5);
  }
}

// The next promise of a child; 0 if it is gone, and came to none.
uint64_t NextPromise(int pipe_end) {
  uint64_t promise = 0;
  return read(pipe_end, &promise, sizeof(promise)) == sizeof(promise) ? promise : 0;
}

// The newest promise of a child that was killed, at least `promise`.
uint64_t LastPromise(int pipe_end, uint64_t promise) {
  while (const uint64_t next = NextPromise(pipe_end)) promise = next;
  close(pipe_end);
  return promise;
}

// What the child has put before it flushed `version`: it draws the same numbers again.
Versions Promised(uint64_t first, uint64_t last) {
  Versions versions;
  if (last == 0) return versions;
  test::Random random(first);
  for (uint64_t version = first; version <= last; ++version) {
    for (Key key = 0; key < kKeys; ++key) {
      if (random.OneIn(4)) versions[key] = version;
    }
    if (random.OneIn(3)) static_cast<void>(random.OneIn(4));
  }
  return versions;
}

TEST(SsdLogKill, EveryPromiseIsKept) {
  int with_promises = 0;
  uint64_t torn = 0;
  for (const bool async_compaction : {false, true}) {
    const test::TempDir dir;
    test::Random moments(async_compaction ? 1 : 2);
    Versions promised;
    uint64_t first = 1;
    for (int kill_number = 0; kill_number < Kills() / 2 + 1; ++kill_number) {
      SCOPED_TRACE(::testing::Message() << "kill " << kill_number << ", async " << async_compaction);
      static_cast<void>(test::Seed());  // before the fork: the child draws from the same seed
      int ends[2];
      ASSERT_EQ(pipe(ends), 0);
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        close(ends[0]);
        WriteUntilKilled(dir / "log", async_compaction, first, ends[1]);
      }
      close(ends[1]);
      // Every other one gets as far as a promise, however slow the machine is; the others may be killed before all.
      const uint64_t kept = kill_number % 2 == 1 ? NextPromise(ends[0]) : 0;
      std::this_thread::sleep_for(std::chrono::microseconds(moments.Below(test::kUnderSanitizer ? 400000 : 80000)));
      ASSERT_EQ(kill(child, SIGKILL), 0);
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << WEXITSTATUS(status);
      const uint64_t last = LastPromise(ends[0], kept);
      with_promises += last != 0 ? 1 : 0;
      for (const auto& [key, version] : Promised(first, last)) promised[key] = version;

      LogTable table(Options(dir / "log", async_compaction));
      const Status opened = table.Open();
      ASSERT_TRUE(opened.ok()) << opened.ToString();
      torn += table->recovery().torn_segments + table->recovery().dropped_files;
      Versions found;
      const Status whole = table.ReadAll(&found);  // each row's bytes say whose it is
      ASSERT_TRUE(whole.ok()) << whole.ToString();
      for (const auto& [key, version] : promised) {
        ASSERT_TRUE(found.count(key) != 0) << "key " << key << " version " << version << " is lost";
        ASSERT_GE(found[key], version) << "key " << key;
      }
      first += 1000000;  // versions of one child are above those of all before it
      for (const auto& [key, version] : found) ASSERT_LT(version, first) << "key " << key << " was never put";
      promised = found;  // and they stay, whatever comes
    }
  }
  EXPECT_GE(with_promises, 2 * ((Kills() / 2 + 1) / 2));
  RecordProperty("torn", static_cast<int>(torn));
}

}  // namespace
}  // namespace ev
