#include "ev_tf/checkpoint/segment_rows.h"

#include <cstring>
#include <string>

#include "ev_tf/row/row_layout.h"

namespace ev::checkpoint {
namespace {

constexpr size_t kBytesAtOnce = 1 << 20;

// Rows as a tier has them, taken apart.
class Columns {
 public:
  Columns(const TableDescription& table, const RowLayout& layout) : table_(table), layout_(layout) {}

  void Add(Key key, const std::byte* row) {
    const auto* floats = reinterpret_cast<const float*>(row);
    keys_.push_back(key);
    values_.resize(values_.size() + static_cast<size_t>(table_.dim));
    layout_.ReadValue(row, values_.data() + values_.size() - table_.dim);
    for (size_t s = 0; s < table_.slots.size(); ++s) {
      const float* slot = floats + layout_.slot_offset(static_cast<int>(s));
      slots_.insert(slots_.end(), slot, slot + table_.slots[s].dim);
    }
    if (!table_.has_frequency && !table_.has_version) return;
    RowMeta meta;
    std::memcpy(&meta, row + layout_.row_bytes(), sizeof(meta));
    if (table_.has_frequency) frequencies_.push_back(meta.frequency);
    if (table_.has_version) versions_.push_back(int64_t{meta.version_plus1} - 1);
  }
  size_t bytes() const { return table_.BlockBytes(keys_.size()); }
  TableRows rows() const { return {keys_, frequencies_, versions_, values_, slots_}; }
  void Clear() {
    keys_.clear();
    frequencies_.clear();
    versions_.clear();
    values_.clear();
    slots_.clear();
  }

 private:
  const TableDescription& table_;
  const RowLayout& layout_;
  std::vector<Key> keys_;
  std::vector<int64_t> frequencies_;
  std::vector<int64_t> versions_;
  std::vector<float> values_;
  std::vector<float> slots_;
};

}  // namespace

Status ReadSegmentColumns(const TableReader& reader, const TableSegment& segment,
                          const std::function<Status(const TableRows&)>& put) {
  const TableDescription& table = reader.table();
  RowLayout layout(table.dim, table.value_type);
  for (const SlotSpec& slot : table.slots) EV_RETURN_IF_ERROR(RowLayout(layout).WithSlot(slot, &layout));
  const bool has_meta = table.has_frequency || table.has_version;
  const size_t row_bytes = layout.row_bytes() + (has_meta ? kRowPartAlignment : 0);
  if (segment.file.row_bytes != row_bytes) {
    return Corruption(segment.file.path + " @ 16: row_bytes: expected " + std::to_string(row_bytes) +
                      " as the table's rows have, found " + std::to_string(segment.file.row_bytes));
  }
  Columns columns(table, layout);
  EV_RETURN_IF_ERROR(reader.ReadSegmentRows(segment, [&](uint32_t, Key key, const std::byte* row) -> Status {
    columns.Add(key, row);
    if (columns.bytes() < kBytesAtOnce) return OkStatus();
    EV_RETURN_IF_ERROR(put(columns.rows()));
    columns.Clear();
    return OkStatus();
  }));
  return put(columns.rows());
}

namespace {

// Puts `from` behind the first `row` rows of *column.
template <typename T>
void Append(Span<const T> from, size_t row, size_t width, std::byte* column) {
  if (!from.empty()) std::memcpy(column + row * width * sizeof(T), from.data(), from.size() * sizeof(T));
}

}  // namespace

Status ReadWholeSegment(const TableReader& reader, size_t i, std::vector<int64_t>* buffer, TableRows* rows) {
  TableSegment segment;
  EV_RETURN_IF_ERROR(reader.ReadSegment(i, &segment));
  const TableDescription& table = reader.table();
  const size_t n = reader.block(i).rows;
  const size_t words = (table.BlockBytes(n) + sizeof(int64_t) - 1) / sizeof(int64_t);
  if (buffer->size() < words) buffer->resize(words);
  const RowColumns<std::byte> columns(table, reinterpret_cast<std::byte*>(buffer->data()), n);
  size_t done = 0;
  EV_RETURN_IF_ERROR(ReadSegmentColumns(reader, segment, [&](const TableRows& piece) {
    Append(piece.keys, done, 1, columns.keys);
    Append(piece.frequencies, done, 1, columns.frequencies);
    Append(piece.versions, done, 1, columns.versions);
    Append(piece.values, done, static_cast<size_t>(table.dim), columns.values);
    Append(piece.slots, done, table.slot_floats(), columns.slots);
    done += piece.keys.size();
    return OkStatus();
  }));
  *rows = reader.Columns({table, reinterpret_cast<const std::byte*>(buffer->data()), n}, n);
  return OkStatus();
}

}  // namespace ev::checkpoint
