// The files of tables beside a TensorFlow checkpoint.
//
// A checkpoint of prefix P has for each table, or part of one, the file P.data-eAAAA-of-AAANN and a manifest that names it, an
// element of a string tensor in P.  A are letters and digits that depend on the tensor and the part, NN counts.  Stock TensorFlow
// deletes, and keeps, all P.data-?????-of-????? of a checkpoint together.  A save that overwrites a checkpoint writes files of
// other names: until its index is in place the old one is whole.
#pragma once

#include <string>
#include <vector>

#include "ev_tf/variable/checkpoint.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace ev::bridge {

// What a manifest says.
struct Manifest {
  std::string suffix;  // of the file's name, behind the prefix: ".data-eAAAA-of-AAANN"
  int64_t partition = 0;
  int64_t partitions = 1;
  int64_t rows = 0;
  int64_t file_bytes = 0;
  uint32_t checksum = 0;  // TableInfo::checksum
  // The checkpoint whose file it is, by the last part of its prefix; empty: that which has the manifest.
  std::string of;
};
inline constexpr char kDeepRecManifest[] = "deeprec tensors ";
std::string EncodeManifest(const Manifest& manifest);
// DataLoss: the text is no manifest.
absl::Status DecodeManifest(const std::string& text, Manifest* out);

// *out = a local path of `prefix`, which may begin with file://.  Unimplemented: another file system.
absl::Status LocalPrefix(const std::string& prefix, std::string* out);

// The file of a manifest that the checkpoint `prefix` has.
std::string PathOf(const std::string& prefix, const Manifest& manifest);

// Which of the tables of a checkpoint.
struct TableKey {
  std::string tensor_name;  // under which its manifest is in the checkpoint
  int64_t partition = 0;
};

// The segments of table file P.data-eAAAA-of-AAANN, where it has some (SaveOptions::link_segments), are P.data-sAAAA-of-NNSSS: stock
// TensorFlow deletes them with the checkpoint, too.  This is the suffix of segment i, to 46,655, of the table file's.
std::string SegmentSuffix(const std::string& table_suffix, size_t i);

// *suffix = a name for a new file of the table; no file has it, and none has that of a segment of it.  Makes the directory.
// What earlier saves of it left at `prefix` is deleted, but for the files of the checkpoint that is there now; `variable` is
// what such files call themselves.
absl::Status NewTableFile(const std::string& prefix, const TableKey& table, const std::string& variable,
                          std::string* suffix);

// The manifests of a table in a checkpoint: of tensor base + suffix, or else of base/part_0 + suffix, base/part_1 + suffix ...
// If DeepRec wrote the checkpoint, names of its variables with kDeepRecManifest before each.
// NotFound: there is none.  DataLoss: parts are missing.
absl::Status FindManifests(const std::string& prefix, const std::string& base, const std::string& suffix,
                           std::vector<std::string>* out);

// The manifests, of tensor `tensor_name`, of the file of a table in the checkpoint `previous` and of those that it builds on, as
// a checkpoint in the same directory has them.
absl::Status ManifestsBefore(const std::string& previous, const std::string& tensor_name,
                             std::vector<std::string>* out);

// The file of `manifest` is there, and the one that was saved.
absl::Status CheckTableFile(const std::string& path, const Manifest& manifest);

}  // namespace ev::bridge
