// Storage types by their numbers, and the directories in which their tiers keep files.
#include "ev_tf/variable/storage_type.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

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

}  // namespace
}  // namespace ev
