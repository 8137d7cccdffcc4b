// Storage types by their numbers, and the directories in which their tiers keep files.
#include "ev_tf/variable/storage_type.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/variable/scratch_directory.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

namespace fs = std::filesystem;

bool IsEmpty(const std::string& path) { return fs::directory_iterator(path) == fs::directory_iterator(); }

TEST(StorageTypeTest, WhatIsRefusedIsNamed) {
  const test::TempDir dir;
  StorageOptions out;
  const auto make = [&](int type, const std::string& path, int64_t bytes) {
    return MakeStorage(static_cast<StorageType>(type), path, bytes, CacheStrategy::kLru, &out);
  };
  EV_EXPECT_OK(make(0, "", 0));
  EXPECT_FALSE(out.open_lower);
  EV_EXPECT_OK(make(12, dir.path(), 1));
  EXPECT_TRUE(out.open_lower);
  EXPECT_EQ(out.dram_bytes, 1);
  test::ExpectError(make(12, "", 1), StatusCode::kInvalidArgument, {"storage_path", "directory"});
  test::ExpectError(make(14, dir.path(), 0), StatusCode::kInvalidArgument, {"storage_size", "found 0"});
  for (const int hbm : {6, 13, 102, 104, 105, 106, 107}) {
    test::ExpectError(make(hbm, dir.path(), 1), StatusCode::kUnavailable,
                      {"storage_type " + std::to_string(hbm), "GPU memory"});
  }
  for (const int three : {101, 103}) {
    EV_EXPECT_OK(MakeStorage(static_cast<StorageType>(three), dir.path(), {100, 200}, CacheStrategy::kLru, &out));
    ASSERT_EQ(out.between.size(), 1u);
    EXPECT_EQ(out.dram_bytes, 100);
    EXPECT_EQ(out.between[0].bytes, 200);
    test::ExpectError(MakeStorage(static_cast<StorageType>(three), dir.path(), {100, 0}, CacheStrategy::kLru, &out),
                      StatusCode::kInvalidArgument, {"storage_size", "tier below DRAM", "found 0"});
  }
  EV_EXPECT_OK(make(2, "", 1));
  test::ExpectError(make(3, "", 1), StatusCode::kInvalidArgument, {"storage_path"});
  test::ExpectError(make(77, dir.path(), 1), StatusCode::kUnavailable, {"storage_type 77"});
}

TEST(StorageTypeTest, ARelativePathStaysWhereTheProcessWas) {
  const test::TempDir dir;
  const fs::path before = fs::current_path();
  for (const StorageType type : {StorageType::kDramSsdHash, StorageType::kDramPmem}) {
    fs::current_path(dir.path());
    StorageOptions out;
    const Status made = MakeStorage(type, "relative", 1, CacheStrategy::kLru, &out);
    fs::current_path(before);
    EV_ASSERT_OK(made);
    std::shared_ptr<Tier> tier;
    const Status opened = out.open_lower(16, nullptr, &tier);
    if (opened.code() == StatusCode::kUnavailable) continue;  // no libpmem here
    EV_ASSERT_OK(opened);
    EXPECT_FALSE(IsEmpty(dir / "relative"));
    tier.reset();
    EXPECT_TRUE(IsEmpty(dir / "relative"));
  }
}

TEST(ScratchDirectoryTest, GoesWithItsFiles) {
  const test::TempDir dir;
  std::unique_ptr<ScratchDirectory> first, second;
  EV_ASSERT_OK(ScratchDirectory::Make(dir / "a/b", &first));
  EV_ASSERT_OK(ScratchDirectory::Make(dir / "a/b", &second));
  EXPECT_NE(first->path(), second->path());
  std::ofstream(first->path() + "/file") << "rows";
  const std::string path = first->path();
  first.reset();
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::is_directory(second->path()));
}

TEST(ScratchDirectoryTest, APlaceWhereNoneCanBeMade) {
  const test::TempDir dir;
  std::unique_ptr<ScratchDirectory> scratch;
  std::ofstream(dir / "file") << "in the way";
  test::ExpectError(ScratchDirectory::Make(dir / "file", &scratch), StatusCode::kInvalidArgument,
                    {"storage_path", "file"});
  fs::create_directory(dir / "locked");
  fs::permissions(dir.path(), fs::perms::all);
  fs::permissions(dir / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  const test::AsNobody nobody;
  test::ExpectError(ScratchDirectory::Make(dir / "locked", &scratch), StatusCode::kInvalidArgument,
                    {"Permission denied"});
}

TEST(ScratchDirectoryTest, GoesWithTheProcessThatMadeIt) {
  const test::TempDir dir;
  std::unique_ptr<ScratchDirectory> ours;
  EV_ASSERT_OK(ScratchDirectory::Make(dir / "parent", &ours));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::unique_ptr<ScratchDirectory> theirs;
    if (!ScratchDirectory::Make(dir / "child", &theirs).ok()) _exit(2);
    std::ofstream(theirs->path() + "/file") << "rows";
    static ScratchDirectory* const kept = theirs.release();
    std::exit(kept == nullptr ? 3 : 0);  // with both directories
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::is_directory(ours->path()));
  EXPECT_TRUE(IsEmpty(dir / "child"));
}

// Who makes a directory in `parent` and stays, until it is killed.
pid_t ForkAndHold(const std::string& parent, std::string* path) {
  int ready[2];
  if (pipe(ready) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) {
    std::unique_ptr<ScratchDirectory> theirs;
    if (!ScratchDirectory::Make(parent, &theirs).ok()) _exit(2);
    std::ofstream(theirs->path() + "/rows") << "rows";
    if (write(ready[1], theirs->path().c_str(), theirs->path().size()) < 0) _exit(3);
    for (;;) pause();
  }
  char text[4096];
  close(ready[1]);
  const ssize_t n = read(ready[0], text, sizeof(text));
  close(ready[0]);
  path->assign(text, n > 0 ? static_cast<size_t>(n) : 0);
  return child;
}

TEST(ScratchDirectoryTest, WhatAKilledProcessLeftIsTakenAwayAndNothingElse) {
  const test::TempDir dir;
  const std::string parent = dir / "parent";
  std::string dead, alive;
  const pid_t killed = ForkAndHold(parent, &dead);
  const pid_t running = ForkAndHold(parent, &alive);
  ASSERT_TRUE(fs::exists(dead + "/rows") && fs::exists(alive + "/rows"));
  // What others keep there, under names like ours.
  for (const char* name : {"ev_1", "ev_models", "ev_1_abc", "rows", "ev_12_notours.d"}) {
    fs::create_directory(parent + "/" + name);
  }
  std::ofstream(parent + "/ev_1_abcdef") << "a file";
  kill(killed, SIGKILL);
  ASSERT_EQ(waitpid(killed, nullptr, 0), killed);
  std::unique_ptr<ScratchDirectory> ours;
  EV_ASSERT_OK(ScratchDirectory::Make(parent, &ours));
  EXPECT_FALSE(fs::exists(fs::path(dead).parent_path()));
  EXPECT_TRUE(fs::exists(alive + "/rows")) << "of a process that is alive";
  for (const char* name : {"ev_1", "ev_models", "ev_1_abc", "rows", "ev_12_notours.d", "ev_1_abcdef"}) {
    EXPECT_TRUE(fs::exists(parent + "/" + name)) << name;
  }
  kill(running, SIGKILL);
  ASSERT_EQ(waitpid(running, nullptr, 0), running);
  ours.reset();
  EV_ASSERT_OK(ScratchDirectory::Make(parent, &ours));
  EXPECT_FALSE(fs::exists(fs::path(alive).parent_path()));
}

// Processes that come and go at once under one parent: each keeps what it made for as long as it lives.
TEST(ScratchDirectoryTest, ProcessesThatTidyUpAtOnceDoNotDisturbEachOther) {
  const test::TempDir dir;
  std::vector<pid_t> children;
  for (int c = 0; c < 8; ++c) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int i = 0; i < 40; ++i) {
        std::unique_ptr<ScratchDirectory> first, second;
        if (!ScratchDirectory::Make(dir / "p", &first).ok() || !ScratchDirectory::Make(dir / "p", &second).ok())
          _exit(2);
        std::ofstream(second->path() + "/rows") << "rows";
        usleep(static_cast<useconds_t>(i * 10));
        if (!fs::exists(first->path()) || !fs::exists(second->path() + "/rows")) _exit(3);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(IsEmpty(dir / "p"));
}

}  // namespace
}  // namespace ev
