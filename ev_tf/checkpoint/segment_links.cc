#include "ev_tf/checkpoint/segment_links.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>

#include "ev_tf/base/first_error.h"

namespace ev {
namespace checkpoint {

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

NameBeside NameSegment(const std::string& table_path, const std::string& segment_path) {
  size_t same = 0;
  while (same < table_path.size() && same < segment_path.size() && table_path[same] == segment_path[same]) ++same;
  return {static_cast<uint16_t>(table_path.size() - same), segment_path.substr(same)};
}

bool FindSegment(const std::string& table_path, const NameBeside& name, std::string* segment_path) {
  const size_t begin = table_path.rfind('/') + 1;
  if (name.name.empty() || name.name.find('/') != std::string::npos || name.strip > table_path.size() - begin) {
    return false;
  }
  *segment_path = table_path.substr(0, table_path.size() - name.strip) + name.name;
  return true;
}

}  // namespace checkpoint

namespace {

constexpr char kInfix[] = ".segment-";

std::string OwnPath(const std::string& table_path, uint64_t number, size_t i) {
  char end[64];
  std::snprintf(end, sizeof(end), "%s%" PRIu64 "-%06zu", kInfix, number, i);
  return table_path + end;
}

// Calls visit(path, number) for each file of such a name.
template <typename Visitor>
Status ForEachOwn(Env* env, const std::string& table_path, Visitor&& visit) {
  const std::string directory = checkpoint::DirectoryOf(table_path);
  const std::string begin = table_path.substr(table_path.rfind('/') + 1) + kInfix;
  std::vector<std::string> names;
  EV_RETURN_IF_ERROR(env->List(directory, &names));
  for (const std::string& name : names) {
    if (name.compare(0, begin.size(), begin) != 0) continue;
    uint64_t number = 0;
    size_t i = 0;
    int length = 0;
    const char* rest = name.c_str() + begin.size();
    if (std::sscanf(rest, "%19" SCNu64 "-%19zu%n", &number, &i, &length) != 2 || rest[length] != '\0') continue;
    visit(OwnPath(table_path, number, i), number);
  }
  return OkStatus();
}

}  // namespace

Status SegmentLinks::Create(Env* env, const std::string& table_path, PathOf path_of,
                            std::unique_ptr<SegmentLinks>* out) {
  std::unique_ptr<SegmentLinks> links(new SegmentLinks(env, table_path));
  links->path_of_ = std::move(path_of);
  if (links->path_of_ == nullptr) {
    uint64_t last = 0;
    EV_RETURN_IF_ERROR(
        ForEachOwn(env, table_path, [&](const std::string&, uint64_t number) { last = std::max(last, number); }));
    links->number_ = last + 1;
    links->path_of_ = [table_path, number = last + 1](size_t i) { return OwnPath(table_path, number, i); };
  }
  *out = std::move(links);
  return OkStatus();
}

SegmentLinks::~SegmentLinks() {
  if (kept_) return;
  for (const Link& link : links_) {
    if (!link.path.empty()) static_cast<void>(env_->Unlink(link.path));  // what stays the next save takes away
  }
}

Status SegmentLinks::Add(const SegmentFile& from) {
  Link link{path_of_(links_.size()), LinkKind::kHardLink};
  EV_RETURN_IF_ERROR(env_->Link(from.path, link.path, &link.kind));
  ++counts_[static_cast<size_t>(link.kind)];
  links_.push_back(std::move(link));
  return OkStatus();
}

std::string SegmentLinks::AddNew() {
  links_.push_back({path_of_(links_.size()), LinkKind::kCopy});
  return links_.back().path;
}

Status SegmentLinks::Drop(size_t i) {
  EV_RETURN_IF_ERROR(env_->Unlink(links_[i].path));
  --counts_[static_cast<size_t>(links_[i].kind)];
  links_[i].path.clear();
  return OkStatus();
}

Status SegmentLinks::Sync() { return env_->SyncDirectory(checkpoint::DirectoryOf(table_path_)); }

Status RemoveSegmentsExcept(Env* env, const std::string& table_path, uint64_t keep) {
  FirstError error;
  EV_RETURN_IF_ERROR(ForEachOwn(env, table_path, [&](const std::string& path, uint64_t number) {
    if (number != keep) error.Keep(env->Unlink(path));
  }));
  return error.status();
}

}  // namespace ev
