#include "ops/bridge/table_file.h"

#include <algorithm>
#include <cctype>
#include <cinttypes>
#include <cstdio>

#include "ev_tf/base/crc32c.h"
#include "ops/bridge/deeprec_tables.h"
#include "ops/bridge/status.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/util/tensor_bundle/tensor_bundle.h"

namespace ev::bridge {
namespace {

using tensorflow::Env;

constexpr char kManifestFormat[] =
    "ev_tf table 1 %31s part=%" SCNd64 "/%" SCNd64 " rows=%" SCNd64 " bytes=%" SCNd64 " checksum=%" SCNx32;
constexpr char kOf[] = " of=";
constexpr char kPattern[] = ".data-e____-of-_____";  // _ is a letter or a digit
constexpr size_t kCounted = 2;                       // of these, at the end
constexpr int kMostNumbers = 36 * 36;

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool IsTableSuffix(const std::string& suffix) {
  if (suffix.size() != sizeof(kPattern) - 1) return false;
  for (size_t i = 0; i < suffix.size(); ++i) {
    const bool fits =
        kPattern[i] == '_' ? std::isalnum(static_cast<unsigned char>(suffix[i])) != 0 : suffix[i] == kPattern[i];
    if (!fits) return false;
  }
  return true;
}

constexpr char kLetters[] = "0123456789abcdefghijklmnopqrstuvwxyz";

// Of file `number` of a table, 0 to kMostNumbers.
std::string SuffixOf(const TableKey& table, int number) {
  const std::string name = absl::StrCat(table.tensor_name, "#", table.partition);
  uint32_t hash = Crc32c(name.data(), name.size());
  std::string letters(9 - kCounted, '0');
  for (char& c : letters) {
    c = kLetters[hash % 36];
    hash /= 36;
  }
  letters += {kLetters[number / 36], kLetters[number % 36]};
  return ".data-e" + letters.substr(0, 4) + "-of-" + letters.substr(4);
}

// What the suffixes of all segments of a table file begin with.
std::string SegmentsBegin(const std::string& table_suffix) {
  const size_t letters = sizeof(".data-e") - 1;
  return ".data-s" + table_suffix.substr(letters, 4) + "-of-" + table_suffix.substr(table_suffix.size() - kCounted);
}

absl::Status ReadTexts(tensorflow::BundleReader* reader, const std::string& tensor_name,
                       std::vector<std::string>* out) {
  tensorflow::DataType dtype;
  tensorflow::TensorShape shape;
  TF_RETURN_IF_ERROR(reader->LookupDtypeAndShape(tensor_name, &dtype, &shape));
  if (dtype != tensorflow::DT_STRING) {
    return absl::DataLossError(
        absl::StrCat("tensor ", tensor_name, ": expected strings, found ", tensorflow::DataTypeString(dtype)));
  }
  tensorflow::Tensor tensor(dtype, shape);
  TF_RETURN_IF_ERROR(reader->Lookup(tensor_name, &tensor));
  const auto texts = tensor.flat<tensorflow::tstring>();
  for (int64_t i = 0; i < texts.size(); ++i) out->emplace_back(texts(i));
  return absl::OkStatus();
}

// The files that the checkpoint at `prefix` has of a table; none where there is no checkpoint.  False: who knows.
bool CurrentSuffixes(const std::string& prefix, const std::string& tensor_name, std::vector<std::string>* suffixes) {
  if (!Env::Default()->FileExists(prefix + ".index").ok()) return true;
  tensorflow::BundleReader reader(Env::Default(), prefix);
  if (!reader.status().ok()) return false;
  if (!reader.Contains(tensor_name)) return true;
  std::vector<std::string> texts;
  if (!ReadTexts(&reader, tensor_name, &texts).ok()) return false;
  for (const std::string& text : texts) {
    Manifest manifest;
    if (!DecodeManifest(text, &manifest).ok()) return false;
    if (manifest.of.empty()) suffixes->push_back(manifest.suffix);
  }
  return true;
}

// The variable `base` or its parts, if DeepRec wrote the checkpoint.
void FindDeepRec(tensorflow::BundleReader* reader, const std::string& base, std::vector<std::string>* manifests) {
  if (HasDeepRecTable(reader, base)) {
    manifests->push_back(kDeepRecManifest + base);
    return;
  }
  const auto next = [&] { return absl::StrCat(base, "/part_", manifests->size()); };
  while (HasDeepRecTable(reader, next())) manifests->push_back(kDeepRecManifest + next());
}

// Deletes a file that a save left, finished or not, if it is of `variable`.
void DeleteAbandoned(const std::string& path, const std::string& variable) {
  TableInfo info;
  if (InspectTable(path, &info).ok() && info.name == variable) {
    static_cast<void>(RemoveTable(path));  // the next save tries again
  }
}

}  // namespace

std::string SegmentSuffix(const std::string& table_suffix, size_t i) {
  return SegmentsBegin(table_suffix) +
         std::string{kLetters[i / (36 * 36) % 36], kLetters[i / 36 % 36], kLetters[i % 36]};
}

std::string EncodeManifest(const Manifest& manifest) {
  char text[200];
  std::snprintf(text, sizeof(text),
                "ev_tf table 1 %s part=%" PRId64 "/%" PRId64 " rows=%" PRId64 " bytes=%" PRId64 " checksum=%08" PRIx32,
                manifest.suffix.c_str(), manifest.partition, manifest.partitions, manifest.rows, manifest.file_bytes,
                manifest.checksum);
  return manifest.of.empty() ? text : absl::StrCat(text, kOf, manifest.of);
}

absl::Status DecodeManifest(const std::string& text, Manifest* out) {
  char suffix[32] = {};
  Manifest manifest;
  if (const size_t of = text.find(kOf); of != std::string::npos) manifest.of = text.substr(of + sizeof(kOf) - 1);
  const int fields = std::sscanf(text.c_str(), kManifestFormat, suffix, &manifest.partition, &manifest.partitions,
                                 &manifest.rows, &manifest.file_bytes, &manifest.checksum);
  manifest.suffix = suffix;
  if (fields != 6 || !IsTableSuffix(manifest.suffix) || manifest.of.find('/') != std::string::npos) {
    return absl::DataLossError(
        absl::StrCat("expected the manifest of a table file, found \"", text.substr(0, 100), "\""));
  }
  *out = manifest;
  return absl::OkStatus();
}

absl::Status LocalPrefix(const std::string& prefix, std::string* out) {
  const size_t scheme = prefix.find("://");
  if (scheme == std::string::npos) {
    *out = prefix;
  } else if (prefix.compare(0, scheme, "file") == 0) {
    *out = prefix.substr(scheme + 3);
  } else {
    return absl::UnimplementedError(absl::StrCat("checkpoint ", prefix,
                                                 ": tables are saved to a local or mounted file system, found ",
                                                 prefix.substr(0, scheme), "://"));
  }
  return absl::OkStatus();
}

absl::Status NewTableFile(const std::string& prefix, const TableKey& table, const std::string& variable,
                          std::string* suffix) {
  Env* env = Env::Default();
  TF_RETURN_IF_ERROR(env->RecursivelyCreateDir(DirectoryOf(prefix)));
  std::vector<std::string> names;
  TF_RETURN_IF_ERROR(env->GetChildren(DirectoryOf(prefix), &names));
  const std::string ours = SuffixOf(table, 0).substr(0, sizeof(kPattern) - 1 - kCounted);
  const std::string file = prefix.substr(prefix.rfind('/') + 1) + ours;
  const std::vector<std::string> all = names;
  names.erase(std::remove_if(names.begin(), names.end(),
                             [&](const std::string& name) { return name.compare(0, file.size(), file) != 0; }),
              names.end());
  std::vector<std::string> current;
  if (!names.empty() && CurrentSuffixes(prefix, table.tensor_name, &current)) {
    for (const std::string& name : names) {
      const std::string old = ours + name.substr(file.size());
      if (std::find(current.begin(), current.end(), old) == current.end()) DeleteAbandoned(prefix + old, variable);
    }
  }
  for (int number = 0; number < kMostNumbers; ++number) {
    *suffix = SuffixOf(table, number);
    const std::string segments = prefix.substr(prefix.rfind('/') + 1) + SegmentsBegin(*suffix);
    const bool taken = std::any_of(all.begin(), all.end(), [&](const std::string& name) {
      return name.compare(0, segments.size(), segments) == 0;  // of a save that did not end
    });
    if (!taken && !env->FileExists(prefix + *suffix).ok()) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat(prefix, ours, "??: expected at most ", kMostNumbers, " files of one table, delete those of others"));
}

absl::Status FindManifests(const std::string& prefix, const std::string& base, const std::string& suffix,
                           std::vector<std::string>* out) {
  tensorflow::BundleReader reader(Env::Default(), prefix);
  TF_RETURN_IF_ERROR(reader.status());
  out->clear();
  if (reader.Contains(base + suffix)) return ReadTexts(&reader, base + suffix, out);
  const auto part = [&](size_t i) { return absl::StrCat(base, "/part_", i, suffix); };
  Manifest first;
  first.partitions = 0;
  if (reader.Contains(part(0))) {
    TF_RETURN_IF_ERROR(ReadTexts(&reader, part(0), out));
    if (!out->empty()) TF_RETURN_IF_ERROR(DecodeManifest(out->front(), &first));
  }
  for (auto i = static_cast<size_t>(1); static_cast<int64_t>(i) < first.partitions; ++i) {
    if (!reader.Contains(part(i))) {
      return absl::DataLossError(absl::StrCat("checkpoint ", prefix, ": expected ", first.partitions,
                                              " parts of variable '", base, "', found no tensor ", part(i)));
    }
    TF_RETURN_IF_ERROR(ReadTexts(&reader, part(i), out));
  }
  if (out->empty()) FindDeepRec(&reader, base, out);
  if (!out->empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("checkpoint ", prefix, " has no table of variable '", base,
                                          "': expected tensor ", base, suffix, " or ", part(0)));
}

std::string PathOf(const std::string& prefix, const Manifest& manifest) {
  if (manifest.of.empty()) return prefix + manifest.suffix;
  return absl::StrCat(DirectoryOf(prefix), "/", manifest.of, manifest.suffix);
}

absl::Status ManifestsBefore(const std::string& previous, const std::string& tensor_name,
                             std::vector<std::string>* out) {
  tensorflow::BundleReader reader(Env::Default(), previous);
  TF_RETURN_IF_ERROR(reader.status());
  TF_RETURN_IF_ERROR(ReadTexts(&reader, tensor_name, out));
  for (std::string& text : *out) {
    Manifest manifest;
    TF_RETURN_IF_ERROR(DecodeManifest(text, &manifest));
    if (manifest.of.empty()) manifest.of = previous.substr(previous.rfind('/') + 1);
    text = EncodeManifest(manifest);
  }
  return absl::OkStatus();
}

absl::Status CheckTableFile(const std::string& path, const Manifest& manifest) {
  TableInfo info;
  TF_RETURN_IF_ERROR(ToTf(InspectTable(path, &info)));
  if (info.rows == manifest.rows && info.file_bytes == manifest.file_bytes && info.checksum == manifest.checksum) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(path, ": expected a table of ", manifest.rows, " rows in ",
                                          manifest.file_bytes, " bytes, found ", info.rows, " rows in ",
                                          info.file_bytes, " bytes: the file is of another save"));
}

}  // namespace ev::bridge
