#include "ev_tf/variable/scratch_directory.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>
#include <utility>

namespace ev {
namespace {

namespace fs = std::filesystem;

void RemoveAll(const std::string& path) {
  std::error_code ignored;  // nothing depends on it any more
  fs::remove_all(path, ignored);
}

// The directories that this process has.
class Registry {
 public:
  // Never destroyed: background threads may still be at work when the process exits.
  static Registry& Global() {
    static auto* registry = new Registry;
    return *registry;
  }

  void Add(const std::string& path) {
    std::lock_guard<std::mutex> lock(mu_);
    if (!registered_) std::atexit([] { Global().RemoveAllOfThisProcess(); });
    registered_ = true;
    paths_.emplace(getpid(), path);
  }
  void Drop(const std::string& path) {
    std::lock_guard<std::mutex> lock(mu_);
    paths_.erase({getpid(), path});
  }

 private:
  // A child that was forked has the list of its parent, whose directories are in use.
  void RemoveAllOfThisProcess() {
    std::lock_guard<std::mutex> lock(mu_);
    for (const auto& [process, path] : paths_) {
      if (process == getpid()) RemoveAll(path);
    }
  }

  std::mutex mu_;
  bool registered_ = false;                        // guarded by mu_
  std::set<std::pair<pid_t, std::string>> paths_;  // guarded by mu_
};

}  // namespace

Status ScratchDirectory::Make(const std::string& parent, std::unique_ptr<ScratchDirectory>* out) {
  std::error_code error;
  fs::create_directories(parent, error);
  std::string path = (fs::path(parent) / ("ev_" + std::to_string(getpid()) + "_XXXXXX")).string();
  if (!error && mkdtemp(path.data()) == nullptr) error = std::error_code(errno, std::generic_category());
  if (error) return InvalidArgument("storage_path: " + path + " cannot be made: " + error.message());
  out->reset(new ScratchDirectory(std::move(path)));
  return OkStatus();
}

ScratchDirectory::ScratchDirectory(std::string path) : path_(std::move(path)) { Registry::Global().Add(path_); }

ScratchDirectory::~ScratchDirectory() {
  RemoveAll(path_);
  Registry::Global().Drop(path_);
}

}  // namespace ev
