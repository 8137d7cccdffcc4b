#include "python/engine_module/table_files.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/variable/table_file.h"
#include "python/engine_module/arrays.h"
#include "python/engine_module/rules.h"

namespace ev::python {
namespace {

// Runs `call` without the GIL and throws its Status with it.
template <typename F>
void WithoutGil(const F& call) {
  Status status;
  {
    py::gil_scoped_release nogil;
    status = call();
  }
  ThrowIfError(status);
}

// Rows, or filtered keys, of one block.
struct TableBlock {
  bool filtered = false;
  SpanArray<Key> keys;
  py::object frequencies = py::none();
  py::object versions = py::none();
  py::object values = py::none();
  py::object slots = py::none();

  py::ssize_t size() const { return keys.size(); }
};

// What a block's arrays are views of.
struct BlockBuffer {
  std::vector<int64_t> words;
  TableRows rows;
};

TableBlock BlockOfRows(std::unique_ptr<BlockBuffer> owned, int64_t dim, bool has_frequency, bool has_version) {
  const TableRows rows = owned->rows;
  const auto n = static_cast<py::ssize_t>(rows.keys.size());
  const py::capsule owner(owned.release(), [](void* p) { delete static_cast<BlockBuffer*>(p); });
  TableBlock block;
  block.keys = SpanArray<Key>(n, rows.keys.data(), owner);
  if (has_frequency) block.frequencies = SpanArray<int64_t>(n, rows.frequencies.data(), owner);
  if (has_version) block.versions = SpanArray<int64_t>(n, rows.versions.data(), owner);
  block.values = SpanArray<float>(Shape{n, dim}, rows.values.data(), owner);
  const py::ssize_t width = n == 0 ? 0 : static_cast<py::ssize_t>(rows.slots.size()) / n;
  block.slots = SpanArray<float>(Shape{n, width}, rows.slots.data(), owner);
  return block;
}

TableBlock BlockOfFilteredKeys(const std::vector<FilteredKey>& filtered) {
  const auto n = static_cast<py::ssize_t>(filtered.size());
  SpanArray<Key> keys(n);
  SpanArray<int64_t> frequencies(n);
  SpanArray<int64_t> versions(n);
  for (py::ssize_t i = 0; i < n; ++i) {
    const FilteredKey& key = filtered[static_cast<size_t>(i)];
    keys.mutable_at(i) = key.key;
    frequencies.mutable_at(i) = key.frequency;
    versions.mutable_at(i) = int64_t{key.version_plus1} - 1;
  }
  TableBlock block;
  block.filtered = true;
  block.keys = keys;
  block.frequencies = frequencies;
  block.versions = versions;
  return block;
}

class Reader {
 public:
  explicit Reader(const std::string& path) {
    WithoutGil([&] { return SavedTable::Open(path, &table_); });
  }

  const SavedTable& table() const { return *table_; }
  const TableInfo& info() const { return table_->info(); }

  SpanArray<float> DefaultRows() const {
    SpanArray<float> out(Shape{info().default_value_dim, info().dim});
    std::vector<float> rows;
    WithoutGil([&] { return table_->ReadDefaultRows(&rows); });
    std::copy(rows.begin(), rows.end(), out.mutable_data());
    return out;
  }

  TableBlock Read(int64_t i, int64_t partition, int64_t partitions) const {
    const size_t block = Block(i);
    const checkpoint::Part part = PartOf(partition, partitions);
    if (table_->is_filtered(block)) {
      std::vector<FilteredKey> keys;
      WithoutGil([&] { return table_->ReadFilteredKeys(block, part, &keys); });
      return BlockOfFilteredKeys(keys);
    }
    if (!table_->has_rows(block)) {
      throw py::index_error("block: expected one of row_blocks() or filtered_blocks(), received " + std::to_string(i));
    }
    auto buffer = std::make_unique<BlockBuffer>();
    WithoutGil([&] { return table_->ReadRows(block, part, &buffer->words, &buffer->rows); });
    return BlockOfRows(std::move(buffer), info().dim, info().has_frequency, info().has_version);
  }

  std::pair<int, int> Buckets(int64_t i) const {
    const size_t block = Block(i);
    return {table_->first_bucket(block), table_->last_bucket(block)};
  }

  // Numbers of the blocks of one kind that may hold keys of a partition.
  std::vector<int64_t> BlocksOf(bool filtered, int64_t partition, int64_t partitions) const {
    const checkpoint::Part part = PartOf(partition, partitions);
    std::vector<int64_t> blocks;
    for (size_t i = 0; i < table_->blocks(); ++i) {
      const bool wanted = filtered ? table_->is_filtered(i) : table_->has_rows(i);
      if (wanted && table_->Touches(i, part)) blocks.push_back(static_cast<int64_t>(i));
    }
    return blocks;
  }

 private:
  size_t Block(int64_t i) const {
    if (i < 0 || static_cast<size_t>(i) >= table_->blocks()) {
      throw py::index_error("block: expected 0 to " + std::to_string(table_->blocks()) + " (excluded), received " +
                            std::to_string(i));
    }
    return static_cast<size_t>(i);
  }
  checkpoint::Part PartOf(int64_t partition, int64_t partitions) const {
    const checkpoint::Part part{partition, partitions};
    ThrowIfError(part.Check(table_->path()));
    return part;
  }

  std::unique_ptr<SavedTable> table_;
};

class Writer {
 public:
  Writer(const std::string& path, int64_t dim, std::string name, const py::object& default_rows,
         std::vector<SlotSpec> slots, bool has_frequency, bool has_version) {
    const SpanArray<float> defaults = ToMatrix("default_rows", default_rows);
    if (dim > 0 && (defaults.shape(1) != dim || defaults.shape(0) == 0)) {
      throw py::value_error("default_rows: expected shape [rows, " + std::to_string(dim) + "], received " +
                            ToString(ShapeOf(defaults)));
    }
    for (SlotSpec& slot : slots) slot.dim = slot.dim == 0 ? dim : slot.dim;
    const checkpoint::TableDescription table{std::move(name), dim,         defaults.shape(0),
                                             has_frequency,   has_version, std::move(slots)};
    WithoutGil([&, rows = In(defaults)] { return TableBuilder::Create(path, table, rows, &builder_); });
  }

  void Write(const py::object& keys_in, const py::object& values_in, const py::object& slots_in,
             const py::object& frequencies_in, const py::object& versions_in) {
    TableBuilder& builder = Open();
    const checkpoint::TableDescription& table = builder.table();
    const SpanArray<Key> keys = ToKeys1D(keys_in);
    const py::ssize_t n = keys.size();
    if (n > std::numeric_limits<int32_t>::max()) {
      throw py::value_error("keys: expected fewer than 2**31 a call, received " + std::to_string(n));
    }
    const SpanArray<float> values = ToArray<float>("values", values_in, {n, table.dim});
    const auto width = static_cast<py::ssize_t>(table.slot_floats());
    SpanArray<float> slots;
    SpanArray<int64_t> frequencies;
    SpanArray<int64_t> versions;
    TableRows rows{In(keys), {}, {}, In(values), {}};
    if (width > 0) {
      slots = ToArray<float>("slots", slots_in, {n, width});
      rows.slots = In(slots);
    }
    if (table.has_frequency) {
      frequencies = ToArray<int64_t>("frequencies", frequencies_in, {n});
      rows.frequencies = In(frequencies);
    }
    if (table.has_version) {
      versions = ToArray<int64_t>("versions", versions_in, {n});
      rows.versions = In(versions);
    }
    WithoutGil([&] { return builder.Add(rows); });
  }

  void WriteFiltered(const py::object& keys_in, const py::object& frequencies_in, const py::object& versions_in) {
    TableBuilder& builder = Open();
    const SpanArray<Key> keys = ToKeys1D(keys_in);
    const py::ssize_t n = keys.size();
    const SpanArray<int64_t> frequencies = ToArray<int64_t>("frequencies", frequencies_in, {n});
    const SpanArray<int64_t> versions = ToArray<int64_t>("versions", versions_in, {n});
    constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
    std::vector<FilteredKey> filtered;
    for (py::ssize_t i = 0; i < n; ++i) {
      const int64_t frequency = frequencies.at(i);
      const int64_t version = versions.at(i);
      if (frequency < 1 || frequency > kMost || version < -1 || version >= kMost) {
        throw py::value_error("filtered keys: expected frequencies of at least 1 and versions of at least -1, found " +
                              std::to_string(frequency) + " and " + std::to_string(version));
      }
      filtered.push_back({keys.at(i), static_cast<uint32_t>(frequency), static_cast<uint32_t>(version + 1)});
    }
    WithoutGil([&] { return builder.AddFilteredKeys(filtered); });
  }

  void Commit() {
    TableBuilder& builder = Open();
    WithoutGil([&] { return builder.Commit(); });
    rows_ = builder.rows();
    builder_.reset();
  }
  void Discard() { builder_.reset(); }
  int64_t rows() const { return builder_ == nullptr ? rows_ : builder_->rows(); }

 private:
  TableBuilder& Open() {
    if (builder_ == nullptr) throw py::value_error("the file was committed or discarded before");
    return *builder_;
  }

  std::unique_ptr<TableBuilder> builder_;  // null once the file is committed or discarded
  int64_t rows_ = 0;
};

constexpr char kReaderDoc[] =
    R"(A table file, read a block at a time. Needs the memory of one block, whatever the table.

Args:
  path: str.

Raises:
  OSError, KeyError: the file cannot be read or is not there.
  RuntimeError: it is damaged, or of another release. The message says file, offset, expected, found.

Any method may be called from any thread, at once.

Example:
  >>> import numpy as np, os, tempfile
  >>> path = os.path.join(tempfile.mkdtemp(), "items")
  >>> with TableWriter(path, dim=2, name="items") as writer:
  ...   writer.write([7, -3], np.array([[1, 2], [3, 4]], np.float32))
  >>> reader = TableReader(path)
  >>> reader.name, reader.dim, reader.rows
  ('items', 2, 2)
  >>> for i in reader.row_blocks():
  ...   block = reader.read(i)
  ...   print(block.keys, block.values)
  [ 7 -3] [[1. 2.]
   [3. 4.]]
)";

constexpr char kReadDoc[] = R"(Reads one block and checks its checksum.

Args:
  block: int, 0 to `blocks` (excluded).
  partition, partitions: int, default 0 of 1. Of keys with (key mod 1000) mod partitions == partition (floor mod) only.

Returns:
  TableBlock.

Raises:
  IndexError, ValueError: no such block, none of rows or filtered keys, or no such partition.
  RuntimeError: the block is damaged.
)";

constexpr char kWriterDoc[] = R"(A new table file. Under its name it appears whole, at commit(), or not at all.

As a context manager it commits at the end, and leaves nothing when the body raises.

Args:
  path: str, in a directory that exists.
  dim: int, 1 to 65536. Floats per embedding.
  name: str, default "". The variable's.
  default_rows: float32 [m, dim], m >= 1; default one row of zeros. What keys without a row read: row key mod m.
  slots: list of SlotSpec, default []. Slots of every row.
  has_frequency, has_version: bool, default False. Whether rows have these.

Raises:
  ValueError, TypeError: a bad argument.
  KeyError: no such directory.  OSError, MemoryError: the file cannot be written; MemoryError if the disk is full.

Example:
  >>> import numpy as np, os, tempfile
  >>> path = os.path.join(tempfile.mkdtemp(), "items")
  >>> with TableWriter(path, dim=1, has_frequency=True) as writer:
  ...   writer.write([5], np.array([[0.5]], np.float32), frequencies=np.array([3]))
  >>> TableReader(path).read(0).frequencies
  array([3])
)";

constexpr char kWriteDoc[] =
    R"(Adds rows. May be called from several threads at once; the more rows a call, the better they stand.

Args:
  keys: int64 or int32 [n], that are in no other call either.
  values: float32 [n, dim].
  slots: float32 [n, sum of the slots' dims]; needed if the table has slots.
  frequencies, versions: int64 [n]; needed if the table has them.

Raises:
  ValueError, TypeError: a bad argument.  OSError, MemoryError: the file cannot be written; MemoryError if the disk is full.
)";

void DefineBlock(py::module_& m) {
  py::class_<TableBlock>(m, "TableBlock", "Rows of a block of a table file, or keys that a filter counts.")
      .def_readonly("filtered", &TableBlock::filtered, "bool: these keys are counted and have no row yet.")
      .def_readonly("keys", &TableBlock::keys, "int64 [n].")
      .def_readonly("frequencies", &TableBlock::frequencies, "int64 [n]; None if the table has none.")
      .def_readonly("versions", &TableBlock::versions,
                    "int64 [n], -1 where no update has named the key; None if the table has none.")
      .def_readonly("values", &TableBlock::values, "float32 [n, dim]; None of filtered keys.")
      .def_readonly("slots", &TableBlock::slots, "float32 [n, sum of the slots' dims]; None of filtered keys.")
      .def("__len__", &TableBlock::size);
}

void DefineReader(py::module_& m) {
  py::class_<Reader>(m, "TableReader", kReaderDoc)
      .def(py::init<const std::string&>(), py::arg("path"))
      .def_property_readonly("path", [](const Reader& r) { return r.table().path(); })
      .def_property_readonly(
          "name", [](const Reader& r) { return r.info().name; }, "str, the variable's.")
      .def_property_readonly("dim", [](const Reader& r) { return r.info().dim; })
      .def_property_readonly("rows", [](const Reader& r) { return r.info().rows; })
      .def_property_readonly(
          "slots", [](const Reader& r) { return r.info().slots; }, "list of SlotSpec.")
      .def_property_readonly("has_frequency", [](const Reader& r) { return r.info().has_frequency; })
      .def_property_readonly("has_version", [](const Reader& r) { return r.info().has_version; })
      .def_property_readonly("default_value_dim", [](const Reader& r) { return r.info().default_value_dim; })
      .def_property_readonly("file_bytes", [](const Reader& r) { return r.info().file_bytes; })
      .def_property_readonly(
          "checksum", [](const Reader& r) { return r.table().checksum(); },
          "int that depends on every byte of the file that has a checksum.")
      .def_property_readonly("blocks", [](const Reader& r) { return r.table().blocks(); })
      .def("default_rows", &Reader::DefaultRows, "float32 [default_value_dim, dim].")
      .def(
          "row_blocks", [](const Reader& r, int64_t p, int64_t of) { return r.BlocksOf(false, p, of); },
          py::arg("partition") = 0, py::arg("partitions") = 1,
          "Numbers of the blocks of rows that may hold keys of a partition: list of int.")
      .def(
          "filtered_blocks", [](const Reader& r, int64_t p, int64_t of) { return r.BlocksOf(true, p, of); },
          py::arg("partition") = 0, py::arg("partitions") = 1,
          "Numbers of the blocks of keys that a filter counts: list of int.")
      .def("buckets", &Reader::Buckets, py::arg("block"),
           "(first, last): every key of a block has first <= key mod 1000 <= last (floor mod).")
      .def("read", &Reader::Read, py::arg("block"), py::arg("partition") = 0, py::arg("partitions") = 1, kReadDoc);
}

void DefineWriter(py::module_& m) {
  py::class_<Writer>(m, "TableWriter", kWriterDoc)
      .def(py::init([](const std::string& path, int64_t dim, std::string name, const py::object& default_rows,
                       const std::vector<SlotSpec>& slots, bool has_frequency, bool has_version) {
             py::object defaults = default_rows;
             if (defaults.is_none()) {
               SpanArray<float> zeros(Shape{1, std::max<int64_t>(dim, 0)});
               std::fill_n(zeros.mutable_data(), zeros.size(), 0.0f);
               defaults = zeros;
             }
             return std::make_unique<Writer>(path, dim, std::move(name), defaults, slots, has_frequency, has_version);
           }),
           py::arg("path"), py::arg("dim"), py::arg("name") = "", py::arg("default_rows") = py::none(),
           py::arg("slots") = std::vector<SlotSpec>(), py::arg("has_frequency") = false, py::arg("has_version") = false)
      .def("write", &Writer::Write, py::arg("keys"), py::arg("values"), py::arg("slots") = py::none(),
           py::arg("frequencies") = py::none(), py::arg("versions") = py::none(), kWriteDoc)
      .def("write_filtered", &Writer::WriteFiltered, py::arg("keys"), py::arg("frequencies"), py::arg("versions"),
           "Adds keys that a filter counts: int64 [n] each; frequencies at least 1, versions -1 if unknown.")
      .def("commit", &Writer::Commit,
           "Gives the file its name once it is on the disk. Nothing can be written after it.")
      .def("discard", &Writer::Discard, "Deletes what was written, unless it was committed.")
      .def_property_readonly("rows", &Writer::rows, "Rows written so far.")
      .def("__enter__", [](const py::object& self) { return self; })
      .def("__exit__", [](Writer& self, const py::object& type, const py::object&, const py::object&) {
        if (type.is_none()) {
          self.Commit();
        } else {
          self.Discard();
        }
      });
}

constexpr char kCrcDoc[] = R"(CRC-32C of bytes, the checksum of table files.

Args:
  data: any buffer in C order.
  crc: int, default 0. The checksum of what came before: the result is that of both together.

Example:
  >>> hex(crc32c(b"123456789"))
  '0xe3069283'
  >>> crc32c(b"6789", crc32c(b"12345")) == crc32c(b"123456789")
  True
)";

uint32_t CrcOf(const py::buffer& data, uint32_t crc) {
  const py::buffer_info bytes = data.request();
  py::ssize_t step = bytes.itemsize;
  for (py::ssize_t i = bytes.ndim - 1; i >= 0; --i) {
    if (bytes.shape[i] > 1 && bytes.strides[i] != step) throw py::value_error("data: expected a buffer in C order");
    step *= bytes.shape[i];
  }
  const py::gil_scoped_release nogil;
  return Crc32c(bytes.ptr, static_cast<size_t>(bytes.size * bytes.itemsize), crc);
}

constexpr char kInspectDoc[] = R"(What a table file of any kind says of itself; no row is read.

Args:
  path: str.

Returns:
  dict: path, name, dim, rows, file_bytes, checksum (int, of all that has one), has_frequency, has_version, frozen (bool, it is for
  serving), is_delta (bool, the file has only what changed since another one), save_id and base_id (str, of this state and of the
  full save that its chain began with; empty where it is of no chain), sequence (int, its place in the chain), filtered_keys, removed_keys (int).

Raises:
  RuntimeError: it is damaged.  KeyError, OSError: it is not there, or cannot be read.
)";

py::dict InspectFile(const std::string& path) {
  TableInfo info;
  WithoutGil([&] { return InspectTable(path, &info); });
  py::dict out;
  out["path"] = path;
  out["name"] = info.name;
  out["dim"] = info.dim;
  out["rows"] = info.rows;
  out["file_bytes"] = info.file_bytes;
  out["checksum"] = info.checksum;
  out["has_frequency"] = info.has_frequency;
  out["has_version"] = info.has_version;
  out["frozen"] = info.frozen;
  out["is_delta"] = info.is_delta;
  out["save_id"] = info.save_id;
  out["base_id"] = info.base_id;
  out["sequence"] = info.sequence;
  out["filtered_keys"] = info.filtered_keys;
  out["removed_keys"] = info.removed_keys;
  return out;
}

constexpr char kMergeDoc[] = R"(Writes a full save and all deltas that build on it to one file, which is a full save.

Args:
  paths: list of str, in any order; of all parts of a table if it was saved in parts.
  merged: str, the file to write.

Raises:
  ValueError: the files do not make one state: a link of the chain is missing, or they are of different tables.
  RuntimeError, KeyError, OSError, MemoryError: a file is damaged or not there, or `merged` cannot be written.
)";

}  // namespace

void DefineTableFiles(py::module_& m) {
  m.def(
      "verify_table", [](const std::string& path) { WithoutGil([&] { return VerifyTable(path); }); }, py::arg("path"),
      "Reads a table file of any kind and compares every checksum.\n\n"
      "Raises:\n  RuntimeError: it is damaged; the message says file, offset, expected, found.\n"
      "  KeyError, OSError: it is not there, or cannot be read.");
  m.def("inspect_table", &InspectFile, py::arg("path"), kInspectDoc);
  m.def(
      "merge_tables",
      [](const std::vector<std::string>& paths, const std::string& merged) {
        WithoutGil([&] { return MergeTables(paths, merged); });
      },
      py::arg("paths"), py::arg("merged"), kMergeDoc);
  m.def("crc32c", &CrcOf, py::arg("data"), py::arg("crc") = 0, kCrcDoc);
  DefineBlock(m);
  DefineReader(m);
  DefineWriter(m);
}

}  // namespace ev::python
