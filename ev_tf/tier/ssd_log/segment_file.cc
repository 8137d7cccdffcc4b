#include "ev_tf/tier/ssd_log/segment_file.h"

#include <memory>
#include <string>

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

}  // namespace

Status ReadSegment(Env* env, const SegmentFile& file, Span<const uint64_t> live, const SegmentRow& row) {
  Geometry geometry;
  EV_RETURN_IF_ERROR(MakeGeometryOfSlots(file.row_bytes, file.most_slots, &geometry));
  OpenOptions read;
  read.write = false;
  std::unique_ptr<File> opened;
  EV_RETURN_IF_ERROR(env->Open(file.path, read, &opened));
  Status taken;
  uint64_t rows = 0;
  ScanResult scan;
  EV_RETURN_IF_ERROR(ScanSegment(
      opened.get(), geometry, file.number,
      [&](uint32_t slot, const RecordView& record) {
        if (!taken.ok() || slot >= file.slots || !HasSlot(live, slot)) return;
        ++rows;
        taken = row(slot, record.key, record.row);
      },
      &scan, file.slots));
  EV_RETURN_IF_ERROR(taken);
  EV_RETURN_IF_ERROR(CheckScan(file, geometry, scan));
  uint64_t wanted = 0;
  for (const uint64_t word : live) wanted += static_cast<uint64_t>(__builtin_popcountll(word));
  if (rows != wanted) return Wrong(file, kHeaderBytes, "rows", std::to_string(wanted), std::to_string(rows));
  return OkStatus();
}

}  // namespace ev::ssd_log
