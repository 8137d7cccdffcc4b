// kill -9 at every change of the disk that a save makes, before it and in the middle of it: the file that was there is there, or
// the new one, and whichever it is, complete.
//
// checkpoint_crash_test loses power over a disk in memory; here a process dies over the operating system's.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "ev_tf/env/env.h"
#include "tests/support/chain_files.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

constexpr int64_t kDim = 128;

// The operating system's files, until the change number `last` of this process.
class MortalEnv final : public Env {
 public:
  // in_the_middle: of a write the first half is done, of any other change all of it.
  explicit MortalEnv(int64_t last, bool in_the_middle = false) : last_(last), in_the_middle_(in_the_middle) {}

  int64_t changes() const { return changes_; }

  Status Open(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) override {
    std::unique_ptr<File> opened;
    const Status status =
        options.create ? Do([&] { return os_.Open(path, options, &opened); }) : os_.Open(path, options, &opened);
    if (status.ok()) *file = std::make_unique<MortalFile>(this, std::move(opened));
    return status;
  }
  Status Lock(const std::string& path, std::unique_ptr<FileLock>* lock) override { return os_.Lock(path, lock); }
  Status CreateDirectories(const std::string& path) override {
    return Do([&] { return os_.CreateDirectories(path); });
  }
  Status List(const std::string& path, std::vector<std::string>* names) override { return os_.List(path, names); }
  Status Unlink(const std::string& path) override {
    return Do([&] { return os_.Unlink(path); });
  }
  Status Rename(const std::string& from, const std::string& to) override {
    return Do([&] { return os_.Rename(from, to); });
  }
  Status SyncDirectory(const std::string& path) override {
    return Do([&] { return os_.SyncDirectory(path); });
  }
  Status Link(const std::string& from, const std::string& to, LinkKind* kind) override {
    return Do([&] { return os_.Link(from, to, kind); });
  }
  Status ReadBatch(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) override {
    return os_.ReadBatch(requests, memory, done, stats);
  }
  std::string read_backend() const override { return os_.read_backend(); }
  uint64_t NowNanos() override { return os_.NowNanos(); }
  std::thread StartThread(const std::string& name, std::function<void()> body) override {
    return os_.StartThread(name, std::move(body));
  }

 private:
  class MortalFile final : public File {
   public:
    MortalFile(MortalEnv* env, std::unique_ptr<File> file) : env_(env), file_(std::move(file)) {}
    const std::string& path() const override { return file_->path(); }
    bool direct() const override { return file_->direct(); }
    Status ReadAt(uint64_t offset, Span<std::byte> out) override { return file_->ReadAt(offset, out); }
    Status WriteAt(uint64_t offset, Span<const std::byte> data) override {
      if (env_->IsLast() && env_->in_the_middle_)
        static_cast<void>(file_->WriteAt(offset, data.subspan(0, data.size() / 2)));
      return env_->Do([&] { return file_->WriteAt(offset, data); }, /*is_write=*/true);
    }
    Status Allocate(uint64_t offset, uint64_t bytes) override {
      return env_->Do([&] { return file_->Allocate(offset, bytes); });
    }
    Status Truncate(uint64_t size) override {
      return env_->Do([&] { return file_->Truncate(size); });
    }
    Status Sync() override {
      return env_->Do([&] { return file_->Sync(); });
    }
    Status Size(uint64_t* size) override { return file_->Size(size); }
    const std::byte* Map(size_t bytes) override { return file_->Map(bytes); }
    int descriptor() const override { return file_->descriptor(); }

   private:
    MortalEnv* const env_;
    const std::unique_ptr<File> file_;
  };

  bool IsLast() const { return changes_ == last_; }

  template <typename F>
  Status Do(const F& change, bool is_write = false) {
    const bool is_last = changes_++ == last_;
    if (is_last && in_the_middle_ && !is_write) static_cast<void>(change());
    if (is_last) raise(SIGKILL);
    return change();
  }

  Env& os_ = Env::Default();
  const int64_t last_;
  const bool in_the_middle_;
  std::atomic<int64_t> changes_{0};  // writes may come from several threads
};

// Every row's floats are `generation`.
std::unique_ptr<EmbeddingVariable> Table(float generation, int64_t rows) {
  auto variable = test::NewVariable(test::Options(kDim, true), test::DefaultMatrix(2, kDim));
  std::vector<Key> keys;
  for (Key k = 0; k < rows; ++k) keys.push_back(k * 999 - 20000);
  EV_EXPECT_OK(variable->WriteRows(keys, {}, {std::vector<float>(keys.size() * kDim, generation), {}, {}, {}}));
  return variable;
}

// Runs `save` in a process of its own until its change number `last`; whether it came to its end.
template <typename F>
bool Survives(int64_t last, bool in_the_middle, const F& save) {
  const pid_t child = fork();
  if (child == 0) {
    MortalEnv env(last, in_the_middle);
    _exit(save(&env).ok() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    return false;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the save failed";
  return true;
}

// Calls body(last, in_the_middle) for each moment to die at; it says whether the save survived, which is when all are done.
// EV_KILLS: at least so many.  Gives the number of kills.
template <typename F>
int KillEverywhere(const F& body) {
  const char* wanted = std::getenv("EV_KILLS");
  const int least = wanted != nullptr ? std::atoi(wanted) : 1;
  int kills = 0;
  do {
    for (const bool in_the_middle : {false, true}) {
      for (int64_t last = 0; !body(last, in_the_middle); ++last, ++kills) {
        if (::testing::Test::HasFailure()) return kills;
      }
    }
  } while (kills < least);
  return kills;
}

std::vector<std::string> Files(const test::TempDir& dir) {
  std::vector<std::string> names;
  EV_EXPECT_OK(Env::Default().List(dir.path(), &names));
  return names;
}

TEST(CheckpointKill, LeavesTheOldOrTheNewOne) {
  const test::TempDir dir;
  SerialExecutor executor;
  const std::string path = dir / "table";
  const int64_t rows = 9000;  // several pieces of a file
  const auto old_one = Table(1, rows);
  const auto new_one = Table(2, rows);
  int found[3] = {};
  const int kills = KillEverywhere([&](int64_t last, bool in_the_middle) {
    SCOPED_TRACE(::testing::Message() << "killed at change " << last << (in_the_middle ? ", in the middle" : ""));
    EV_EXPECT_OK(SaveTable(*old_one, path, executor));
    EXPECT_EQ(Files(dir), std::vector<std::string>{"table"}) << "the next save takes away what a killed one left";
    const bool survived =
        Survives(last, in_the_middle, [&](Env* env) { return SaveTable(*new_one, path, executor, env); });
    std::unique_ptr<EmbeddingVariable> loaded;
    const std::vector<std::string> paths = {path};
    const Status status = LoadTable(test::Options(kDim, true), paths, {}, executor, &loaded);
    EXPECT_TRUE(status.ok()) << status.ToString();
    if (!status.ok()) return true;
    EXPECT_EQ(loaded->size(), rows);
    const test::StoredRows stored = test::ReadRows(*loaded, loaded->Keys());
    const float generation = stored.values.at(0);
    EXPECT_EQ(stored.values, std::vector<float>(static_cast<size_t>(rows * kDim), generation));
    EXPECT_TRUE(generation == 2 || (generation == 1 && !survived));
    ++found[static_cast<int>(generation)];
    return survived;
  });
  EXPECT_GT(kills, 12);
  EXPECT_GT(found[1], 8) << "old ones";
  EXPECT_GT(found[2], 2) << "new ones, of saves that died after the rename too";
  RecordProperty("kills", kills);
}

TEST(CheckpointKill, LeavesTheDeltaWholeOrNone) {
  const test::TempDir dir;
  SerialExecutor executor;
  const std::string delta = dir / "d1";
  const auto variable = Table(1, 3000);
  EV_ASSERT_OK(SaveBase(variable.get(), dir / "full", executor));
  const test::State before = test::StateOf(*variable);
  variable->Remove(std::vector<Key>{-20000, 999 - 20000});
  test::Descend(variable.get(), {5, 6, 7}, std::vector<float>(3 * kDim, 0.5f));
  const test::State after = test::StateOf(*variable);
  int with = 0;
  const int kills = KillEverywhere([&](int64_t last, bool in_the_middle) {
    SCOPED_TRACE(::testing::Message() << "killed at change " << last << (in_the_middle ? ", in the middle" : ""));
    std::filesystem::remove(delta);
    const bool survived =
        Survives(last, in_the_middle, [&](Env* env) { return SaveDelta(variable.get(), delta, executor, env); });
    const bool there = std::filesystem::exists(delta);
    EXPECT_TRUE(there || !survived);
    with += there ? 1 : 0;
    const auto load = [&](const std::vector<std::string>& files) {
      return test::StateOf(*test::LoadFiles(test::Options(kDim, true), files, {}, &Env::Default()));
    };
    test::ExpectSame(load({dir / "full"}), before);
    if (there) test::ExpectSame(load({dir / "full", delta}), after);
    return survived;
  });
  EXPECT_GT(kills, 5);
  EXPECT_GT(with, 2) << "deltas, of saves that died after the rename too";
  RecordProperty("kills", kills);
}

}  // namespace
}  // namespace ev
