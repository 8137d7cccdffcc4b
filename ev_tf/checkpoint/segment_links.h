// SegmentLinks: the files beside a table file that are its segments, each a second name of a file of the table's own log, or a
// copy where the file system wants one.
//
// A save never takes a name that another one has: the table file that it replaces, and all that belongs to it, stays whole until
// the new one is in place.
//
// Threads:     one.
// Durability:  the names are there once Sync() has returned OK.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/status.h"
#include "ev_tf/env/env.h"
#include "ev_tf/tier/segmented_tier.h"

namespace ev {

namespace checkpoint {

// The directory of a file: ".", "/", "a/b".
std::string DirectoryOf(const std::string& path);

// How a table file says where a segment is; see SegmentEntry.
struct NameBeside {
  uint16_t strip = 0;
  std::string name;
};
// Requires: both are in one directory.
NameBeside NameSegment(const std::string& table_path, const std::string& segment_path);
// False: no name of a file in the table file's directory.
bool FindSegment(const std::string& table_path, const NameBeside& name, std::string* segment_path);

}  // namespace checkpoint

class SegmentLinks {
 public:
  // The path of segment i, in the directory of the table file; no file has it.
  using PathOf = std::function<std::string(size_t i)>;

  // path_of null: "<table file>.segment-<number>-<i>", the number larger than those that are there.  `env` outlives it.
  static Status Create(Env* env, const std::string& table_path, PathOf path_of, std::unique_ptr<SegmentLinks>* out);
  // Without a Keep() the files go.
  ~SegmentLinks();

  // Gives `from` the next name.
  Status Add(const SegmentFile& from);
  // The next name, for a file that the caller writes; it is not counted.
  std::string AddNew();
  // Segment i, in the order of Add, is none of the table's.  Requires: Add made it.
  Status Drop(size_t i);
  Status Sync();
  // The table file is in place.
  void Keep() { kept_ = true; }

  // Of the names, if they are our own, else 0.
  uint64_t number() const { return number_; }
  const std::string& path(size_t i) const { return links_[i].path; }
  // How many there are of each LinkKind.
  int64_t count(LinkKind kind) const { return counts_[static_cast<size_t>(kind)]; }

 private:
  SegmentLinks(Env* env, std::string table_path) : env_(env), table_path_(std::move(table_path)) {}

  struct Link {
    std::string path;  // empty: dropped
    LinkKind kind;
  };

  Env* const env_;
  const std::string table_path_;
  PathOf path_of_;
  uint64_t number_ = 0;  // 0: the names are not our own
  std::vector<Link> links_;
  std::array<int64_t, 3> counts_{};
  bool kept_ = false;
};

// Takes away the files "<table file>.segment-<number>-<i>" of every number but `keep`.
Status RemoveSegmentsExcept(Env* env, const std::string& table_path, uint64_t keep);

}  // namespace ev
