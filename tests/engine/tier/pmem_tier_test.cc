// What only the PMEM tiers have: addresses, extents, libraries that may be missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "ev_tf/tier/pmem/pmem_libpmem_tier.h"
#include "ev_tf/tier/pmem/pmem_memkind_tier.h"
#include "ev_tf/tier/pmem/shared_library.h"
#include "tests/support/temp_dir.h"

namespace ev {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr size_t kMiB = size_t{1} << 20;

// The tests of both members; Tier is one of them.
template <typename Tier>
class PmemTierTest : public ::testing::Test {
 protected:
  void Open(size_t row_bytes) {
    tier_.reset();
    const Status status = Tier::Open(dir_.path(), row_bytes, &tier_);
    if (status.code() == StatusCode::kUnavailable) GTEST_SKIP() << status.message();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  Status OpenAt(const std::string& path) { return Tier::Open(path, 64, &tier_); }

  test::TempDir dir_;
  std::unique_ptr<Tier> tier_;
};

using Members = ::testing::Types<PmemLibpmemTier, PmemMemkindTier>;
TYPED_TEST_SUITE(PmemTierTest, Members);

TYPED_TEST(PmemTierTest, ARowHasAnAddressThatStays) {
  ASSERT_NO_FATAL_FAILURE(this->Open(128));
  if (this->tier_ == nullptr) return;
  std::vector<Position> first(10);
  ASSERT_TRUE(this->tier_->Allocate(first).ok());
  std::vector<float*> addresses;
  for (size_t i = 0; i < first.size(); ++i) {
    addresses.push_back(this->tier_->row(first[i]));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(addresses[i]) % 16, 0u);
    for (int j = 0; j < 32; ++j) addresses[i][j] = static_cast<float>(100 * i + j);
  }
  std::vector<Position> many(100000);  // several extents more
  ASSERT_TRUE(this->tier_->Allocate(many).ok());
  EXPECT_EQ(std::set<Position>(many.begin(), many.end()).size(), many.size());
  for (const Position position : many) std::memset(this->tier_->row(position), 0xff, 128);
  const std::vector<Key> keys(first.size());
  std::vector<std::byte> rows(first.size() * 128);
  ASSERT_TRUE(this->tier_->Get(keys, first, rows).ok());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(this->tier_->row(first[i]), addresses[i]);
    EXPECT_EQ(addresses[i][31], static_cast<float>(100 * i + 31));
    EXPECT_EQ(std::memcmp(rows.data() + i * 128, addresses[i], 128), 0);
  }
  EXPECT_TRUE(this->tier_->Flush().ok());
}

TYPED_TEST(PmemTierTest, ItGrowsByWhatIsNeededAndUsesFreedRowsAgain) {
  ASSERT_NO_FATAL_FAILURE(this->Open(256));
  if (this->tier_ == nullptr) return;
  EXPECT_EQ(this->tier_->bytes(), 0u);
  std::vector<Position> one(1);
  ASSERT_TRUE(this->tier_->Allocate(one).ok());
  EXPECT_LE(this->tier_->bytes(), 2 * kMiB);  // a small table takes little
  std::vector<Position> many(200000);
  ASSERT_TRUE(this->tier_->Allocate(many).ok());
  const size_t bytes = this->tier_->bytes();
  EXPECT_GE(bytes, many.size() * 256);
  EXPECT_LE(bytes, many.size() * 256 * 9 / 8 + 4 * kMiB);
  for (int round = 0; round < 5; ++round) {
    this->tier_->Remove(std::vector<Key>(many.size()), many);
    EXPECT_EQ(this->tier_->size(), 1u);
    ASSERT_TRUE(this->tier_->Allocate(many).ok());
  }
  EXPECT_EQ(this->tier_->bytes(), bytes);
  EXPECT_EQ(this->tier_->size(), many.size() + 1);
}

TYPED_TEST(PmemTierTest, AFullDiskIsUsedToItsEndAndFreedRowsServeAgain) {
  const test::SmallDisk disk(40 * kMiB);
  if (!disk.mounted()) GTEST_SKIP() << "no small disk to fill: mount says " << disk.why();
  const Status opened = TypeParam::Open(disk.path(), 4096, &this->tier_);
  if (opened.code() == StatusCode::kUnavailable) GTEST_SKIP() << opened.message();
  ASSERT_TRUE(opened.ok()) << opened.ToString();
  std::vector<Position> batch(64);
  const std::vector<Key> keys(batch.size());
  const std::vector<std::byte> rows(batch.size() * 4096, std::byte{1});
  Status status;
  size_t put = 0;
  while ((status = this->tier_->Put(keys, rows, batch)).ok() && put < 100000) put += batch.size();
  EXPECT_EQ(status.code(), StatusCode::kOutOfSpace) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(disk.path()));
  EXPECT_EQ(this->tier_->size(), put);
  EXPECT_GE(put * 4096, 24 * kMiB);  // memkind keeps some of it
  const std::vector<Position> gone = {0, 1, 2, 3};
  this->tier_->Remove(std::vector<Key>(gone.size()), gone);
  std::vector<Position> again(gone.size());
  EXPECT_TRUE(this->tier_->Allocate(again).ok());
  EXPECT_EQ(this->tier_->size(), put);
  this->tier_.reset();
}

TYPED_TEST(PmemTierTest, NothingIsLeftBehind) {
  ASSERT_NO_FATAL_FAILURE(this->Open(64));
  if (this->tier_ == nullptr) return;
  std::vector<Position> positions(50000);
  ASSERT_TRUE(this->tier_->Allocate(positions).ok());
  EXPECT_TRUE(fs::is_empty(this->dir_.path()));  // also while it is open: the files have no names
  this->tier_.reset();
  EXPECT_TRUE(fs::is_empty(this->dir_.path()));
}

TYPED_TEST(PmemTierTest, PathsThatWillNotDo) {
  const Status opened = this->OpenAt(this->dir_.path());
  if (opened.code() == StatusCode::kUnavailable) GTEST_SKIP() << opened.message();
  const std::string missing = this->dir_ / "missing";
  Status status = this->OpenAt(missing);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr(missing + ": No such file or directory"));

  const std::string file = this->dir_ / "file";
  std::ofstream(file) << "no directory";
  status = this->OpenAt(file);
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr(file + ": Not a directory"));

  fs::permissions(this->dir_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  const test::AsNobody nobody;
  status = this->OpenAt(this->dir_.path());
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr(this->dir_.path() + ": Permission denied"));
}

TYPED_TEST(PmemTierTest, AReadOnlyDiskIsAnIoError) {
  test::SmallDisk disk(kMiB);
  if (!disk.mounted()) GTEST_SKIP() << "no disk to make read-only: mount says " << disk.why();
  ASSERT_TRUE(disk.MakeReadOnly());
  const Status status = this->OpenAt(disk.path());
  if (status.code() == StatusCode::kUnavailable) GTEST_SKIP() << status.message();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr("Read-only file system"));
}

TYPED_TEST(PmemTierTest, RowSizesThatCannotBe) {
  for (const size_t row_bytes : {size_t{0}, size_t{1} << 40}) {
    const Status status = TypeParam::Open(this->dir_.path(), row_bytes, &this->tier_);
    if (status.code() == StatusCode::kUnavailable) GTEST_SKIP() << status.message();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  }
}

TYPED_TEST(PmemTierTest, ThousandTablesInOneDirectory) {
  ASSERT_NO_FATAL_FAILURE(this->Open(64));
  if (this->tier_ == nullptr) return;
  std::vector<std::unique_ptr<TypeParam>> tiers(1000);
  for (size_t i = 0; i < tiers.size(); ++i) {
    const Status status = TypeParam::Open(this->dir_.path(), 64, &tiers[i]);
    ASSERT_TRUE(status.ok()) << i << ": " << status.ToString();
  }
}

TYPED_TEST(PmemTierTest, RowsOfOddSizesStandAligned) {
  ASSERT_NO_FATAL_FAILURE(this->Open(100));
  if (this->tier_ == nullptr) return;
  std::vector<Position> positions(3);
  const std::vector<Key> keys = {1, 2, 3};
  std::vector<std::byte> rows(300);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i);
  ASSERT_TRUE(this->tier_->Put(keys, rows, positions).ok());
  std::vector<std::byte> read(300);
  ASSERT_TRUE(this->tier_->Get(keys, positions, read).ok());
  EXPECT_EQ(read, rows);
  for (const Position position : positions) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(this->tier_->row(position)) % 16, 0u);
  }
}

TEST(PmemLibraries, AMissingLibraryIsNamedWithItsPackage) {
  Libpmem pmem;
  Status status = Libpmem::Load("libno_such_pmem.so.1", &pmem);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("libno_such_pmem.so.1"));
  EXPECT_THAT(status.message(), HasSubstr("the package libpmem1"));
  Memkind memkind;
  status = Memkind::Load("libno_such_memkind.so.0", &memkind);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("the package libmemkind0"));
}

TEST(PmemLibraries, ALibraryWithoutTheFunctionsIsNamedWithTheFirstOne) {
  Libpmem pmem;
  const Status status = Libpmem::Load("libc.so.6", &pmem);
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("libc.so.6 has no pmem_map_file"));
}

TEST(PmemMemkind, WithoutAPathItNeedsKmemDax) {
  Memkind memkind;
  if (const Status loaded = Memkind::Load(Memkind::kFile, &memkind); !loaded.ok()) GTEST_SKIP() << loaded.message();
  std::unique_ptr<PmemMemkindTier> tier;
  const Status status = PmemMemkindTier::Open("", 64, &tier);
  if (memkind.check_available(*memkind.dax_kmem) == 0) {
    EXPECT_TRUE(status.ok()) << status.ToString();
  } else {
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_THAT(status.message(), HasSubstr("KMEM DAX"));
    EXPECT_THAT(status.message(), HasSubstr("with a path"));
  }
}

}  // namespace
}  // namespace ev
