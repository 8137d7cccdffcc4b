// Functions of a shared library that is looked for when it is first needed: a package that may use it runs without it.
#pragma once

#include <string>

#include "ev_tf/base/status.h"

namespace ev {

class SharedLibrary {
 public:
  // file: as for dlopen, "libpmem.so.1".  package: what to install where it is missing.
  // Unavailable: it is not there, or does not load; the message names both.  A library once loaded stays.
  static Status Open(const std::string& file, const std::string& package, SharedLibrary* out);

  // *out = the function or variable `name`.  Unavailable: the library has none.
  template <typename T>
  Status Find(const char* name, T** out) const {
    void* found = nullptr;
    EV_RETURN_IF_ERROR(FindSymbol(name, &found));
    *out = reinterpret_cast<T*>(found);
    return OkStatus();
  }

 private:
  Status FindSymbol(const char* name, void** out) const;

  std::string file_;
  void* handle_ = nullptr;
};

// Whether rows can be put into files of the directory `path`, before a library with poorer messages finds out.
// InvalidArgument: the path is empty.  IoError: it is missing, no directory, or may not be written.
Status CheckWritableDirectory(const std::string& where, const std::string& path);

}  // namespace ev
