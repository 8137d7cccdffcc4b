#include "ev_tf/tier/pmem/shared_library.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ev {

Status SharedLibrary::Open(const std::string& file, const std::string& package, SharedLibrary* out) {
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    return Unavailable("the library " + file + " is needed and does not load (" + (why != nullptr ? why : "no reason") +
                       "); Debian and Ubuntu have it in the package " + package);
  }
  out->file_ = file;
  out->handle_ = handle;
  return OkStatus();
}

Status SharedLibrary::FindSymbol(const char* name, void** out) const {
  *out = dlsym(handle_, name);
  if (*out != nullptr) return OkStatus();
  return Unavailable("the library " + file_ + " has no " + name + ": a newer version is needed");
}

Status CheckWritableDirectory(const std::string& where, const std::string& path) {
  if (path.empty()) return InvalidArgument(where + ": path: expected a directory, found an empty string");
  const auto refused = [&](int error) {
    return IoError(where + ": expected a directory to write to, " + path + ": " + std::strerror(error));
  };
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return refused(errno);
  if (!S_ISDIR(info.st_mode)) return refused(ENOTDIR);
  if (faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0) return refused(errno);
  return OkStatus();
}

}  // namespace ev
