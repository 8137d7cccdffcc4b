// FaultEnv: a disk in memory that loses power, fills up and fails on demand.
//
// Every change of the disk is numbered: writes, allocations, truncations, syncs, makings, unlinkings.  What was written is
// kept over LosePower() once it is synced; before, each sector of it may be there or not, at random.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ev_tf/env/env.h"

namespace ev::testing {

class FaultEnv final : public Env {
 public:
  enum class Fault { kNone, kPowerLoss, kIoError, kDiskFull };

  explicit FaultEnv(uint64_t seed = 1) : random_(seed) {}

  // The n-th change from now (0 = the next) fails, and with kPowerLoss and `lasting` all after it, reads too.
  void FailAt(int64_t n, Fault fault, bool lasting = true);
  void FailReads(bool fail);
  void Heal() { FailAt(-1, Fault::kNone); }
  // What was not synced is kept, torn or lost; handles that are still open see an older file.
  void LosePower();
  int64_t changes() const;
  bool direct_allowed = true;
  bool threads_allowed = true;               // false: StartThread() throws, as for a process that may have no more
  LinkKind link_kind = LinkKind::kHardLink;  // what Link() does

  // The bytes of a file, to look at and to spoil.
  std::string Contents(const std::string& path);
  void SetContents(const std::string& path, std::string bytes);
  uint64_t TotalBytes();

  Status Open(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) override;
  Status Lock(const std::string& path, std::unique_ptr<FileLock>* lock) override;
  Status CreateDirectories(const std::string& path) override;
  Status List(const std::string& path, std::vector<std::string>* names) override;
  Status Unlink(const std::string& path) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status SyncDirectory(const std::string& path) override;
  Status Link(const std::string& from, const std::string& to, LinkKind* kind) override;
  Status ReadBatch(Span<const ReadRequest> requests, size_t memory, const ReadDone& done, ReadStats* stats) override;
  std::string read_backend() const override { return "memory"; }
  uint64_t NowNanos() override;
  std::thread StartThread(const std::string& name, std::function<void()> body) override;

 private:
  friend class FaultFile;
  friend class FaultLock;

  // An inode: what reads see, and what is on the device for sure.
  struct Node {
    std::string now;
    std::string synced;
  };
  using Directory = std::map<std::string, std::shared_ptr<Node>>;

  // Requires mu_.  The Status of the next change.
  Status Change(const std::string& what);
  bool reads_fail() const;

  mutable std::mutex mu_;
  // Guarded by mu_.
  Directory now_;
  Directory synced_;
  std::set<std::string> locks_;
  std::mt19937_64 random_;
  int64_t changes_ = 0;
  int64_t fail_at_ = -1;
  Fault fault_ = Fault::kNone;
  bool lasting_ = true;
  bool fail_reads_ = false;
  uint64_t clock_ = 0;
};

}  // namespace ev::testing
