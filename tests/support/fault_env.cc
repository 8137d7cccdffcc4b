#include "tests/support/fault_env.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

namespace ev::testing {
namespace {

constexpr size_t kSector = 512;

bool Aligned(uint64_t value) { return value % kDirectAlignment == 0; }

}  // namespace

class FaultFile final : public File {
 public:
  FaultFile(FaultEnv* env, std::string path, std::shared_ptr<FaultEnv::Node> node, bool direct)
      : env_(env), path_(std::move(path)), node_(std::move(node)), direct_(direct) {}

  const std::string& path() const override { return path_; }
  bool direct() const override { return direct_; }

  Status ReadAt(uint64_t offset, Span<std::byte> out) override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    EV_RETURN_IF_ERROR(CheckAligned(offset, out.size(), out.data()));
    if (env_->reads_fail()) return IoError(path_ + " @ " + std::to_string(offset) + ": read: injected");
    if (offset + out.size() > node_->now.size()) {
      return IoError(path_ + " @ " + std::to_string(offset) + ": read: expected " + std::to_string(out.size()) +
                     " bytes, found " +
                     std::to_string(node_->now.size() - std::min<uint64_t>(offset, node_->now.size())));
    }
    if (!out.empty()) std::memcpy(out.data(), node_->now.data() + offset, out.size());
    return OkStatus();
  }

  Status WriteAt(uint64_t offset, Span<const std::byte> data) override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    EV_RETURN_IF_ERROR(CheckAligned(offset, data.size(), data.data()));
    Status status = env_->Change(path_ + " @ " + std::to_string(offset) + ": write");
    // A write that fails may have written its first sectors.
    const size_t n = status.ok() ? data.size() : env_->random_() % (data.size() / kSector + 1) * kSector;
    if (env_->fault_ == FaultEnv::Fault::kPowerLoss && !status.ok()) return status;
    if (n > 0) {
      if (node_->now.size() < offset + n) node_->now.resize(offset + n, '\0');
      std::memcpy(node_->now.data() + offset, data.data(), n);
    }
    return status;
  }

  Status Allocate(uint64_t offset, uint64_t /*bytes*/) override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    return env_->Change(path_ + " @ " + std::to_string(offset) + ": allocate");
  }
  Status Truncate(uint64_t size) override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    EV_RETURN_IF_ERROR(env_->Change(path_ + ": truncate"));
    node_->now.resize(size, '\0');
    return OkStatus();
  }
  Status Sync() override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    EV_RETURN_IF_ERROR(env_->Change(path_ + ": sync"));
    node_->synced = node_->now;
    return OkStatus();
  }
  Status Size(uint64_t* size) override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    *size = node_->now.size();
    return OkStatus();
  }
  const std::byte* Map(size_t /*bytes*/) override { return nullptr; }

 private:
  Status CheckAligned(uint64_t offset, size_t size, const void* data) const {
    if (!direct_ || (Aligned(offset) && Aligned(size) && Aligned(reinterpret_cast<uintptr_t>(data)))) return OkStatus();
    return IoError(path_ + " @ " + std::to_string(offset) + ": expected whole aligned sectors, found " +
                   std::to_string(size) + " bytes");
  }

  FaultEnv* const env_;
  const std::string path_;
  const std::shared_ptr<FaultEnv::Node> node_;
  const bool direct_;
};

class FaultLock final : public FileLock {
 public:
  FaultLock(FaultEnv* env, std::string path) : env_(env), path_(std::move(path)) {}
  ~FaultLock() override {
    std::lock_guard<std::mutex> lock(env_->mu_);
    env_->locks_.erase(path_);
  }

 private:
  FaultEnv* const env_;
  const std::string path_;
};

void FaultEnv::FailAt(int64_t n, Fault fault, bool lasting) {
  std::lock_guard<std::mutex> lock(mu_);
  fail_at_ = n < 0 ? -1 : changes_ + n;
  fault_ = n < 0 ? Fault::kNone : fault;
  lasting_ = lasting;
}

void FaultEnv::FailReads(bool fail) {
  std::lock_guard<std::mutex> lock(mu_);
  fail_reads_ = fail;
}

bool FaultEnv::reads_fail() const {
  return fail_reads_ || (fault_ == Fault::kPowerLoss && fail_at_ >= 0 && changes_ > fail_at_);
}

Status FaultEnv::Change(const std::string& what) {
  const int64_t n = changes_++;
  if (fault_ == Fault::kNone || fail_at_ < 0 || n < fail_at_ || (n > fail_at_ && !lasting_)) return OkStatus();
  switch (fault_) {
    case Fault::kDiskFull: return OutOfSpace(what + ": injected: no space left");
    case Fault::kIoError: return IoError(what + ": injected: device error");
    default: return IoError(what + ": injected: no power");
  }
}

int64_t FaultEnv::changes() const {
  std::lock_guard<std::mutex> lock(mu_);
  return changes_;
}

void FaultEnv::LosePower() {
  std::lock_guard<std::mutex> lock(mu_);
  // A name is as it was last synced, or as it is now.
  Directory left;
  std::set<std::string> names;
  for (const auto& [name, node] : now_) names.insert(name);
  for (const auto& [name, node] : synced_) names.insert(name);
  for (const std::string& name : names) {
    const Directory& source = random_() % 2 == 0 ? now_ : synced_;
    const auto it = source.find(name);
    if (it != source.end()) left[name] = it->second;
  }
  Directory device;
  for (const auto& [name, node] : left) {
    const size_t size = random_() % 2 == 0 ? node->now.size() : node->synced.size();
    auto kept = std::make_shared<Node>();
    kept->now.assign(size, '\0');
    for (size_t at = 0; at < size; at += kSector) {
      // What was synced and not written again is there for sure; a size that is not synced has zeros behind it.
      const std::string& source = random_() % 2 == 0 ? node->now : node->synced;
      const size_t n = std::min(kSector, size - at);
      if (at < source.size()) std::memcpy(kept->now.data() + at, source.data() + at, std::min(n, source.size() - at));
    }
    kept->synced = kept->now;
    device[name] = kept;
  }
  now_ = device;
  synced_ = device;
  fault_ = Fault::kNone;
  fail_at_ = -1;
  fail_reads_ = false;
  locks_.clear();
}

std::string FaultEnv::Contents(const std::string& path) {
  std::lock_guard<std::mutex> lock(mu_);
  return now_.at(path)->now;
}

void FaultEnv::SetContents(const std::string& path, std::string bytes) {
  std::lock_guard<std::mutex> lock(mu_);
  auto node = std::make_shared<Node>();
  node->now = node->synced = std::move(bytes);
  now_[path] = synced_[path] = node;
}

uint64_t FaultEnv::TotalBytes() {
  std::lock_guard<std::mutex> lock(mu_);
  uint64_t total = 0;
  for (const auto& [name, node] : now_) total += node->now.size();
  return total;
}

Status FaultEnv::Open(const std::string& path, const OpenOptions& options, std::unique_ptr<File>* file) {
  std::lock_guard<std::mutex> lock(mu_);
  auto it = now_.find(path);
  if (it == now_.end() && !options.create) return NotFound(path + ": open: no such file");
  if (options.create) {
    EV_RETURN_IF_ERROR(Change(path + ": create"));
    it = now_.insert_or_assign(path, std::make_shared<Node>()).first;
  }
  *file = std::make_unique<FaultFile>(this, path, it->second, options.direct && direct_allowed);
  return OkStatus();
}

Status FaultEnv::Lock(const std::string& path, std::unique_ptr<FileLock>* lock) {
  std::lock_guard<std::mutex> held(mu_);
  if (!locks_.insert(path).second) return Unavailable(path + ": locked");
  now_.try_emplace(path, std::make_shared<Node>());
  *lock = std::make_unique<FaultLock>(this, path);
  return OkStatus();
}

Status FaultEnv::CreateDirectories(const std::string& /*path*/) { return OkStatus(); }

Status FaultEnv::List(const std::string& path, std::vector<std::string>* names) {
  std::lock_guard<std::mutex> lock(mu_);
  names->clear();
  for (const auto& [name, node] : now_) {
    if (name.compare(0, path.size() + 1, path + "/") == 0) names->push_back(name.substr(path.size() + 1));
  }
  return OkStatus();
}

Status FaultEnv::Unlink(const std::string& path) {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(Change(path + ": unlink"));
  return now_.erase(path) == 1 ? OkStatus() : NotFound(path + ": unlink: no such file");
}

Status FaultEnv::Rename(const std::string& from, const std::string& to) {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(Change(from + ": rename"));
  const auto it = now_.find(from);
  if (it == now_.end()) return NotFound(from + ": rename: no such file");
  now_[to] = it->second;
  now_.erase(from);
  return OkStatus();
}

Status FaultEnv::SyncDirectory(const std::string& path) {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(Change(path + ": sync directory"));
  const auto in_it = [&](const std::string& name) { return name.substr(0, name.rfind('/')) == path; };
  for (auto it = synced_.begin(); it != synced_.end();) it = in_it(it->first) ? synced_.erase(it) : std::next(it);
  for (const auto& [name, node] : now_) {
    if (in_it(name)) synced_[name] = node;
  }
  return OkStatus();
}

Status FaultEnv::Link(const std::string& from, const std::string& to, LinkKind* kind) {
  std::lock_guard<std::mutex> lock(mu_);
  EV_RETURN_IF_ERROR(Change(to + ": link"));
  const auto it = now_.find(from);
  if (it == now_.end()) return NotFound(from + ": link: no such file");
  if (now_.count(to) != 0) return IoError(to + ": link: there is one of that name");
  *kind = link_kind;
  now_[to] = it->second;
  if (link_kind == LinkKind::kHardLink) return OkStatus();
  now_[to] = std::make_shared<Node>(*it->second);
  now_[to]->synced = now_[to]->now;
  return OkStatus();
}

Status FaultEnv::ReadBatch(Span<const ReadRequest> requests, size_t /*memory*/, const ReadDone& done,
                           ReadStats* stats) {
  std::vector<std::byte> memory;
  for (size_t i = 0; i < requests.size(); ++i) {
    memory.resize(requests[i].length + kDirectAlignment);
    void* start = memory.data();
    size_t room = memory.size();
    auto* data = static_cast<std::byte*>(std::align(kDirectAlignment, requests[i].length, start, room));
    EV_RETURN_IF_ERROR(requests[i].file->ReadAt(requests[i].offset, {data, requests[i].length}));
    ++stats->reads;
    stats->bytes += requests[i].length;
    EV_RETURN_IF_ERROR(done(i, data));
  }
  stats->max_depth = std::max(stats->max_depth, 1U);
  return OkStatus();
}

uint64_t FaultEnv::NowNanos() {
  std::lock_guard<std::mutex> lock(mu_);
  return clock_ += 1000;
}

std::thread FaultEnv::StartThread(const std::string& /*name*/, std::function<void()> body) {
  if (!threads_allowed) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  return std::thread(std::move(body));
}

}  // namespace ev::testing
