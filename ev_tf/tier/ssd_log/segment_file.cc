#include "ev_tf/tier/ssd_log/segment_file.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ev_tf/base/hex.h"
#include "ev_tf/tier/ssd_log/recovery.h"

namespace ev::ssd_log {
namespace {

Status Wrong(const SegmentFile& file, uint64_t offset, const char* what, const std::string& expected,
             const std::string& found) {
  return Corruption(file.path + " @ " + std::to_string(offset) + ": " + what + ": expected " + expected + ", found " +
                    found);
}

Status CheckScan(const SegmentFile& file, const Geometry& geometry, const ScanResult& scan) {
  if (!scan.has_header) return Wrong(file, 0, "header", "one of a segment", "none");
  if (scan.header.ordinal != file.ordinal) {
    return Wrong(file, offsetof(FileHeader, ordinal), "ordinal", std::to_string(file.ordinal),
                 std::to_string(scan.header.ordinal));
  }
  if (scan.slots != file.slots) {
    return Wrong(file, geometry.offset(file.slots), "records", std::to_string(file.slots), std::to_string(scan.slots));
  }
  if (scan.records_crc != file.records_crc) {
    return Wrong(file, kHeaderBytes, "crc of all records", Hex(file.records_crc), Hex(scan.records_crc));
  }
  return OkStatus();
}

Status OpenToRead(Env* env, const SegmentFile& file, std::unique_ptr<File>* opened) {
  OpenOptions read;
  read.write = false;
  EV_RETURN_IF_ERROR(env->Open(file.path, read, opened));
  uint64_t size = 0;
  EV_RETURN_IF_ERROR((*opened)->Size(&size));
  if (size < kHeaderBytes) return OkStatus();  // the scan says what is wrong
  std::vector<std::byte> header(sizeof(FileHeader));
  EV_RETURN_IF_ERROR((*opened)->ReadAt(0, header));
  return CheckVersion(header, file.path);
}

}  // namespace

Status CheckSegmentVersion(Env* env, const SegmentFile& file) {
  std::unique_ptr<File> opened;
  return OpenToRead(env, file, &opened);
}

Status ReadSegment(Env* env, const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row,
                   SegmentSequences* sequences) {
  std::unique_ptr<File> opened;
  EV_RETURN_IF_ERROR(OpenToRead(env, file, &opened));  // first: the layout of another version is another
  Geometry geometry;
  EV_RETURN_IF_ERROR(MakeGeometryOfSlots(file.row_bytes, file.most_slots, &geometry));
  Status taken;
  uint64_t rows = 0;
  uint64_t end = 0;
  ScanResult scan;
  EV_RETURN_IF_ERROR(ScanSegment(
      opened.get(), geometry, file.number,
      [&](uint32_t slot, const RecordView& record) {
        if (!taken.ok() || slot >= file.slots || !HasSlot(live, slot)) return;
        ++rows;
        end = std::max(end, record.sequence + 1);
        taken = row(slot, record.key, record.row);
      },
      &scan, file.slots));
  EV_RETURN_IF_ERROR(taken);
  EV_RETURN_IF_ERROR(CheckScan(file, geometry, scan));
  uint64_t wanted = 0;
  for (const uint64_t word : live) wanted += static_cast<uint64_t>(__builtin_popcountll(word));
  if (rows != wanted) return Wrong(file, kHeaderBytes, "rows", std::to_string(wanted), std::to_string(rows));
  if (sequences != nullptr) *sequences = {SequenceWindow(scan.header.sequence), end};
  return OkStatus();
}

}  // namespace ev::ssd_log
