// Damaged table files: a Status that names the file, never a crash, a wrong row or a large allocation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "ev_tf/base/crc32c.h"
#include "ev_tf/checkpoint/format.h"
#include "ev_tf/variable/checkpoint.h"
#include "tests/support/fault_env.h"
#include "tests/support/random.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

using testing::FaultEnv;
using ::testing::HasSubstr;

constexpr char kPath[] = "disk/table";
constexpr char kBase[] = "disk/base";

VariableOptions TheOptions() {
  VariableOptions options = test::Options(3, true);
  options.admission.filter_freq = 2;
  return options;
}

// A full save, and a delta on it, with rows, counts and, in the delta, removed keys.
struct Files {
  std::string base;
  std::string delta;
};

const Files& Samples() {
  static const Files files = [] {
    FaultEnv env;
    SerialExecutor executor;
    const auto variable = test::NewVariable(TheOptions(), test::DefaultMatrix(2, 3));
    test::Apply(variable.get(), test::AdamCase(), {1, 1, -2, -2, 1001, 1001, 7}, std::vector<float>(21, 0.5f), 5);
    EV_EXPECT_OK(SaveBase(variable.get(), kBase, executor, &env));
    variable->Remove(std::vector<Key>{-2, 7});
    test::Apply(variable.get(), test::AdamCase(), {1, 8}, std::vector<float>(6, 0.5f), 6);
    EV_EXPECT_OK(SaveDelta(variable.get(), kPath, executor, &env));
    return Files{env.Contents(kBase), env.Contents(kPath)};
  }();
  return files;
}

class TableDecoder : public ::testing::TestWithParam<bool> {
 protected:
  bool delta() const { return GetParam(); }
  const std::string& Sample() const { return delta() ? Samples().delta : Samples().base; }

  // The file as it is loaded, and merged.
  Status Open(const std::string& bytes) const {
    FaultEnv env;
    env.SetContents(kPath, bytes);
    std::vector<std::string> paths = {kPath};
    if (delta()) {
      env.SetContents(kBase, Samples().base);
      paths.push_back(kBase);
    }
    SerialExecutor executor;
    std::unique_ptr<EmbeddingVariable> variable;
    const Status loaded = LoadTable(TheOptions(), paths, {}, executor, &variable, &env);
    const Status merged = MergeTables(paths, "disk/merged", &env);
    EXPECT_TRUE(merged.ok() || !loaded.ok()) << merged.ToString();
    return loaded;
  }

  void ExpectRefused(const std::string& bytes) const {
    const Status status = Open(bytes);
    ASSERT_FALSE(status.ok());
    EXPECT_TRUE(status.code() == StatusCode::kCorruption || status.code() == StatusCode::kFailedPrecondition)
        << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("disk/table"));
  }
};

TEST_P(TableDecoder, TheSampleIsWhole) { EV_EXPECT_OK(Open(Sample())); }

TEST_P(TableDecoder, EveryLengthIsRefused) {
  for (size_t n = 0; n < Sample().size(); ++n) {
    SCOPED_TRACE(n);
    ExpectRefused(Sample().substr(0, n));
  }
  ExpectRefused(Sample() + std::string(48, '\0'));
}

// Only the gaps between blocks are not under a checksum.
TEST_P(TableDecoder, EveryBitFlipIsFound) {
  size_t harmless = 0;
  for (size_t at = 0; at < Sample().size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = Sample();
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      if (Open(bytes).ok()) {
        EXPECT_EQ(Sample()[at], 0) << at;
        ++harmless;
      } else {
        ExpectRefused(bytes);
      }
    }
  }
  EXPECT_LT(harmless, 8 * checkpoint::kBlockAlignment * 8);
}

TEST_P(TableDecoder, EachDamageHasItsWords) {
  const auto with = [&](size_t at, char byte) {
    std::string bytes = Sample();
    bytes[at] = byte;
    return Open(bytes).ToString();
  };
  const size_t footer = Sample().size() - sizeof(checkpoint::Footer);
  EXPECT_THAT(with(0, 'x'), HasSubstr("Corruption: disk/table @ 0: magic: expected 0x31454c4241545645, found"));
  EXPECT_THAT(with(8, 2), HasSubstr("FailedPrecondition: disk/table: version: expected 1, found 2"));
  EXPECT_THAT(with(64, 'x'), HasSubstr("Corruption: disk/table @ 64: crc of a block: expected"));
  EXPECT_THAT(with(footer, 'x'), HasSubstr("Corruption: disk/table @ " + std::to_string(footer) + ": end of the file"));
  EXPECT_THAT(Open("short").ToString(),
              HasSubstr("Corruption: disk/table @ 0: size of the file: expected at least 64"));
}

// Bytes under right checksums, as a hostile writer makes them: sizes are checked before they are believed.
TEST_P(TableDecoder, RightChecksumsOverWrongNumbers) {
  test::Random random{1};
  checkpoint::Footer footer{};
  std::memcpy(&footer, Sample().data() + Sample().size() - sizeof(footer), sizeof(footer));
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = Sample();
    const size_t directory_bytes = footer.blocks * sizeof(checkpoint::BlockEntry);
    char* directory = bytes.data() + footer.directory_offset;
    if (i % 2 == 0) {  // an entry's numbers
      directory[random.Bits() % directory_bytes] = static_cast<char>(random.Bits());
    } else {  // the description
      checkpoint::BlockEntry entry{};
      std::memcpy(&entry, directory, sizeof(entry));
      bytes[entry.offset + random.Bits() % entry.bytes] = static_cast<char>(random.Bits());
      entry.crc = Crc32c(bytes.data() + entry.offset, entry.bytes);
      std::memcpy(directory, &entry, sizeof(entry));
    }
    checkpoint::Footer signed_footer = footer;
    signed_footer.directory_crc = Crc32c(directory, directory_bytes);
    signed_footer.crc = Crc32c(&signed_footer, offsetof(checkpoint::Footer, crc));
    std::memcpy(bytes.data() + bytes.size() - sizeof(footer), &signed_footer, sizeof(footer));
    static_cast<void>(Open(bytes));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, TableDecoder, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Delta" : "Full"; });

}  // namespace
}  // namespace ev
