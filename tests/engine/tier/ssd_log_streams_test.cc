// The two streams of a log: what goes where, when a segment may be unlinked, and what recovery makes of their files.
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <thread>

#include "ev_tf/env/buffer_pool.h"
#include "ev_tf/tier/ssd_log/compactor.h"
#include "ev_tf/tier/ssd_log/recovery.h"
#include "tests/support/fault_env.h"
#include "tests/support/ssd_log_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/sync_points.h"

namespace ev::ssd_log {
namespace {

using testing::FaultEnv;
using testing::FillRow;
using testing::LogTable;
using testing::MapIndex;
using Versions = std::unordered_map<Key, uint64_t>;

constexpr size_t kRowBytes = 112;
constexpr uint64_t kSegmentBytes = 12 << 10;
constexpr char kPath[] = "disk";

std::vector<Key> Range(Key first, Key end) {
  std::vector<Key> keys;
  for (Key k = first; k < end; ++k) keys.push_back(k);
  return keys;
}

Geometry Small() {
  Geometry geometry;
  EV_EXPECT_OK(MakeGeometry(kRowBytes, kSegmentBytes, &geometry));
  return geometry;
}

// An index that may refuse to have rows moved.
class PickyIndex final : public Relocator {
 public:
  void Relocate(Span<const Key> keys, Span<const Position> from, Span<const Position> to, Span<bool> moved) override {
    index.Relocate(keys, from, to, moved);
    for (size_t i = 0; i < keys.size(); ++i) {
      Position old = 0;
      if (!moved[i] || keys[i] < refused_from) continue;
      index.Set(keys[i], from[i], &old);
      moved[i] = false;
    }
  }
  void WhenUnseen(std::function<void()> free) override { free(); }

  MapIndex index;
  Key refused_from = std::numeric_limits<Key>::max();
};

// A durable log and its compactor with no tier around them that would flush by itself.  Any garbage is wanted back.
class BareLog {
 public:
  explicit BareLog(FaultEnv* env)
      : geometry_(Small()),
        log_(env, {kPath, true, true}, geometry_, &table_, &counters_),
        compactor_(env, {kPath, true, 1.0, &index_}, geometry_, &table_, &log_, &counters_) {
    EV_EXPECT_OK(table_.Init(geometry_, env));
  }

  Log& log() { return log_; }
  PickyIndex& index() { return index_; }
  Key slots() const { return geometry_.slots; }
  uint64_t segments_unlinked() const { return Value(counters_.segments_unlinked); }

  void Put(const std::vector<Key>& keys, uint64_t version) {
    std::vector<std::byte> rows(keys.size() * kRowBytes);
    for (size_t i = 0; i < keys.size(); ++i) FillRow(keys[i], version, {rows.data() + i * kRowBytes, kRowBytes});
    std::vector<Position> positions(keys.size());
    EV_ASSERT_OK(log_.Append(keys, rows, positions));
    Add(counters_.rows_put, keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      Position old = 0;
      if (!index_.index.Set(keys[i], positions[i], &old)) {
        Add(counters_.rows, 1);
        continue;
      }
      SegmentAt(old)->ClearLive(old % geometry_.slots);
      compactor_.NoteEmpty();
    }
  }
  // Rows copied.
  size_t Step() {
    size_t copied = 0;
    const Status status = compactor_.Step(&copied);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return copied;
  }
  const Segment* SegmentOf(Key key) {
    Position position = 0;
    EXPECT_TRUE(index_.index.Find(key, &position)) << key;
    return SegmentAt(position);
  }

 private:
  Segment* SegmentAt(Position position) { return table_.Find(position / geometry_.slots); }

  const Geometry geometry_;
  PickyIndex index_;
  Counters counters_;
  SegmentTable table_;
  Log log_;
  Compactor compactor_;
};

// What a tier that recovers finds.
Versions Recovered(FaultEnv* env) {
  SsdLogOptions options;
  options.path = kPath;
  options.row_bytes = kRowBytes;
  options.segment_bytes = kSegmentBytes;
  options.env = env;
  options.existing = SsdExisting::kRecover;
  Versions found;
  {
    LogTable table(options);
    EV_EXPECT_OK(table.Open());
    EV_EXPECT_OK(table.ReadAll(&found));
    EXPECT_EQ(table->size(), found.size());
    // It works on: a row more, everything compacted, and the same once more.
    EV_EXPECT_OK(table.Put({1000}, 1));
    EV_EXPECT_OK(table->Settle());
  }
  LogTable again(options);
  EV_EXPECT_OK(again.Open());
  Versions later;
  EV_EXPECT_OK(again.ReadAll(&later));
  EXPECT_EQ(later.erase(1000), 1U);
  EXPECT_EQ(later, found);
  return found;
}

void ExpectAtLeast(const Versions& found, const Versions& promised) {
  for (const auto& [key, version] : promised) {
    const auto it = found.find(key);
    ASSERT_NE(it, found.end()) << "key " << key << " is lost";
    EXPECT_GE(it->second, version) << "key " << key;
  }
}

TEST(SsdLogStreams, PutsAndCopiesShareNoSegment) {
  FaultEnv env;
  BareLog bare(&env);
  std::set<uint64_t> puts;
  std::set<uint64_t> copies;
  bare.Put(Range(0, 200), 0);
  for (uint64_t round = 1; round < 40; ++round) {
    for (Key first = 0; first < 200; first += 20) {
      std::vector<Key> keys;
      for (Key k = first; k < first + 20; k += 1 + static_cast<Key>(round % 3)) keys.push_back(k);
      bare.Put(keys, round);
      for (const Key k : keys) {
        puts.insert(bare.SegmentOf(k)->ordinal);
        EXPECT_EQ(bare.SegmentOf(k)->stream, Stream::kPuts);
      }
      std::vector<uint64_t> before;
      for (Key k = 0; k < first; ++k) before.push_back(bare.SegmentOf(k)->ordinal);
      bare.Step();
      for (Key k = 0; k < first; ++k) {
        if (bare.SegmentOf(k)->ordinal == before[static_cast<size_t>(k)]) continue;
        copies.insert(bare.SegmentOf(k)->ordinal);
        EXPECT_EQ(bare.SegmentOf(k)->stream, Stream::kCopies);
      }
    }
    if (round % 8 == 0) EV_ASSERT_OK(bare.log().Flush());
  }
  EXPECT_GT(puts.size(), 10U);
  EXPECT_GT(copies.size(), 3U);
  for (const uint64_t ordinal : copies) EXPECT_EQ(puts.count(ordinal), 0U) << ordinal;
}

// Two segments with dead rows, the second with more of them: it goes first when both are young, and has time when the first is
// old.
TEST(SsdLogStreams, AnOldSegmentGoesBeforeAPoorerYoungOne) {
  for (const bool old : {false, true}) {
    FaultEnv env;
    BareLog bare(&env);
    const Key all = bare.slots();
    const Key between = old ? 10 * all : 0;
    const Key second = 1000;
    bare.Put(Range(0, all), 1);
    bare.Put(Range(second, second + between), 1);
    bare.Put(Range(second + between, second + between + all), 1);
    bare.Put(Range(0, all / 2), 2);
    bare.Put(Range(second + between, second + between + all / 2 + 6), 2);
    EV_ASSERT_OK(bare.log().Flush());
    ASSERT_EQ(bare.Step(), static_cast<size_t>(old ? all / 2 : all / 2 - 6));
    EXPECT_EQ(bare.SegmentOf(all - 1)->stream, old ? Stream::kCopies : Stream::kPuts);
    EXPECT_EQ(bare.SegmentOf(second + between + all - 1)->stream, old ? Stream::kPuts : Stream::kCopies);
  }
}

TEST(SsdLogStreams, WithoutCopiesThereIsOneFileAndOneBuffer) {
  FaultEnv env;
  const size_t lent = BufferPool::Global().lent();
  BareLog bare(&env);
  const auto files = [&] {
    std::vector<std::string> names;
    EV_EXPECT_OK(env.List(kPath, &names));
    return names.size();
  };
  bare.Put(Range(0, bare.slots() / 2), 1);
  EXPECT_EQ(bare.Step(), 0U);
  EXPECT_EQ(files(), 1U);
  EXPECT_EQ(BufferPool::Global().lent(), lent + 1);
  EV_ASSERT_OK(bare.log().Flush());
  EXPECT_EQ(BufferPool::Global().lent(), lent);
  bare.Put(Range(0, bare.slots() / 2), 2);
  bare.Put(Range(0, bare.slots() / 4), 3);
  EV_ASSERT_OK(bare.log().Flush());
  EXPECT_EQ(files(), 2U);
  EXPECT_EQ(bare.Step(), static_cast<size_t>(bare.slots() / 4));
  EXPECT_EQ(files(), 3U);
  EXPECT_EQ(BufferPool::Global().lent(), lent + 1) << "the rows that were put are in their file";
  EV_ASSERT_OK(bare.log().WriteOut());
  EXPECT_EQ(BufferPool::Global().lent(), lent);
}

// As a save relies on: `synced` is said of a segment that is closed, and only once its rows are on the device.
TEST(SsdLogStreams, AClosedSegmentIsSyncedOnceItIsFlushed) {
  FaultEnv env;
  BareLog bare(&env);
  const Key few = bare.slots() / 4;
  const auto close = [&] {
    bool closed = false;
    EV_EXPECT_OK(bare.log().ClosePoorSegments(2, &closed));
    EXPECT_TRUE(closed);
  };
  bare.Put(Range(0, few), 1);
  close();
  EXPECT_FALSE(bare.SegmentOf(0)->synced);
  EV_ASSERT_OK(bare.log().Flush());
  EXPECT_TRUE(bare.SegmentOf(0)->synced);
  bare.Put(Range(0, few), 2);
  EV_ASSERT_OK(bare.log().Flush());
  EXPECT_FALSE(bare.SegmentOf(0)->synced) << "it is written to";
  close();
  EXPECT_TRUE(bare.SegmentOf(0)->synced) << "it is not, and all of it was flushed";
}

// Half of a segment is put again and on the device, the other half is copied.  Until the copies are on the device as well
// their originals stay, whichever change of the flush fails.
TEST(SsdLogStreams, ASegmentStaysUntilItsCopiesAreOnTheDevice) {
  bool flushed = false;
  int failed = 0;
  for (int64_t stop = 0; !flushed; ++stop) {
    ASSERT_LT(stop, 20);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SCOPED_TRACE(::testing::Message() << "change " << stop << ", seed " << seed);
      FaultEnv env(static_cast<uint64_t>(stop) * 100 + seed);
      Versions promised;
      {
        BareLog bare(&env);
        const Key half = bare.slots() / 2;
        bare.Put(Range(0, bare.slots()), 1);
        bare.Put(Range(0, half), 2);
        EV_ASSERT_OK(bare.log().Flush());
        for (const Key k : Range(0, bare.slots())) promised[k] = k < half ? 2 : 1;
        ASSERT_EQ(bare.Step(), static_cast<size_t>(half));
        EXPECT_EQ(bare.segments_unlinked(), 0U);
        env.FailAt(stop, FaultEnv::Fault::kIoError);
        flushed = bare.log().Flush().ok();
        env.Heal();
        failed += flushed ? 0 : 1;
        bare.Step();
        EXPECT_EQ(bare.segments_unlinked(), flushed ? 1U : 0U);
      }
      env.LosePower();
      ExpectAtLeast(Recovered(&env), promised);
      if (HasFailure()) return;
    }
  }
  EXPECT_GE(failed, 4 * 20) << "space, records, directory, sync, mark";
}

// A segment of which some rows were copied, and the others put again.  Its copies are on the device, what was put is not.
TEST(SsdLogStreams, ASegmentStaysUntilNewerRowsAreOnTheDevice) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    FaultEnv env(seed);
    Versions promised;
    {
      BareLog bare(&env);
      const Key all = bare.slots();
      bare.Put(Range(0, all), 1);
      bare.Put(Range(0, all / 2), 2);
      bare.index().refused_from = all - 10;
      EV_ASSERT_OK(bare.log().Flush());
      ASSERT_EQ(bare.Step(), static_cast<size_t>(all - all / 2));
      EV_ASSERT_OK(bare.log().Flush());  // the copies, too
      for (const Key k : Range(0, all)) promised[k] = k < all / 2 ? 2 : 1;
      EXPECT_EQ(bare.SegmentOf(all - 11)->stream, Stream::kCopies);
      ASSERT_EQ(bare.SegmentOf(all - 10)->ordinal, 0U);
      bare.Put(Range(all - 10, all), 3);
      bare.Step();
      EXPECT_EQ(bare.segments_unlinked(), 0U);
      if (seed % 2 == 1) {
        EV_ASSERT_OK(bare.log().Flush());
        bare.Step();
        EXPECT_EQ(bare.segments_unlinked(), 1U);
        for (const Key k : Range(all - 10, all)) promised[k] = 3;
      }
    }
    env.LosePower();
    ExpectAtLeast(Recovered(&env), promised);
    if (HasFailure()) return;
  }
}

// Copies stand in a file that was made before the one with their originals, and both are found: whichever is taken, no row
// is lost, doubled or older.  `flushed`: else power is lost while only what was flushed before the copying is promised.
void ExpectCopiesInAnOlderFileAreFound(uint64_t seed, bool flushed) {
  FaultEnv env(seed);
  Versions promised;
  {
    BareLog bare(&env);
    const Key all = bare.slots();
    bare.Put(Range(0, all), 1);        // file 0
    bare.Put(Range(0, all / 2), 2);    // file 1
    EV_ASSERT_OK(bare.log().Flush());  // ends file 1 with fillers, at the latest when it is full
    ASSERT_EQ(bare.Step(), static_cast<size_t>(all - all / 2));
    const Segment* const copies = bare.SegmentOf(all - 1);
    ASSERT_EQ(copies->stream, Stream::kCopies);
    bare.Put(Range(0, all / 2), 3);      // file 1 is full, file 3 begins
    bare.Put(Range(100, 100 + all), 4);  // file 3 is full
    bare.Put(Range(0, all / 2), 5);      // of which a few rows stay
    bare.Put(Range(100, 100 + all - 5), 6);
    EV_ASSERT_OK(bare.log().Flush());
    for (const Key k : Range(0, all)) promised[k] = k < all / 2 ? 5 : 1;
    for (const Key k : Range(100, 100 + all)) promised[k] = k < 100 + all - 5 ? 6 : 4;
    const Key moved = 100 + all - 1;
    const uint64_t source = bare.SegmentOf(moved)->ordinal;
    ASSERT_GT(source, copies->ordinal);
    for (int step = 0; step < 5 && bare.SegmentOf(moved)->ordinal == source; ++step) bare.Step();
    ASSERT_EQ(bare.SegmentOf(moved), copies);
    if (flushed) EV_ASSERT_OK(bare.log().Flush());
  }
  if (!flushed) env.LosePower();
  const Versions found = Recovered(&env);
  ExpectAtLeast(found, promised);
  EXPECT_EQ(found, promised);
}

TEST(SsdLogStreams, ACopyInAnOlderFileThanItsOriginalIsTheSameRow) {
  ExpectCopiesInAnOlderFileAreFound(1, true);
  for (uint64_t seed = 0; seed < 50 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    ExpectCopiesInAnOlderFileAreFound(seed, false);
  }
}

constexpr uint64_t kHalfWindow = uint64_t{1} << 31;

// The sequence numbers in a file, in the order of its rows.
std::vector<uint64_t> SequencesOf(FaultEnv* env, const Segment& segment) {
  std::vector<uint64_t> sequences;
  std::unique_ptr<File> file;
  EV_EXPECT_OK(env->Open(segment.file->path(), {}, &file));
  ScanResult scan;
  const auto take = [&](uint32_t, const RecordView& record) { sequences.push_back(record.sequence); };
  EV_EXPECT_OK(ScanSegment(file.get(), Small(), segment.number, take, &scan));
  EXPECT_EQ(scan.header.sequence, segment.window.base());
  return sequences;
}

TEST(SsdLogStreams, ADrawLeavesOutWhatFillersHave) {
  constexpr uint64_t kAll = uint64_t{1} << 32;
  for (uint64_t start = kAll - 4; start < kAll + 3; ++start) {
    for (uint64_t n = 0; n < 6; ++n) {
      SCOPED_TRACE(::testing::Message() << n << " from " << start);
      LogNumbers numbers;
      numbers.next_sequence = start;
      const uint64_t first = numbers.DrawSequences(n);
      EXPECT_GE(first, start);
      EXPECT_LE(first, std::max(start, kAll + n));
      for (uint64_t s = first; s < first + n; ++s) EXPECT_NE(s, kAll);
      EXPECT_EQ(numbers.next_sequence, first + n);
    }
  }
}

TEST(SsdLogStreams, NoRowHasTheSequenceOfAFiller) {
  FaultEnv env;
  Versions promised;
  {
    BareLog bare(&env);
    bare.log().StartAt(0, (uint64_t{1} << 32) - 10);
    for (Key first = 0; first < 30; first += 3) bare.Put(Range(first, first + 3), 1);
    EV_ASSERT_OK(bare.log().Flush());
    for (const Key k : Range(0, 30)) promised[k] = 1;
    const std::vector<uint64_t> sequences = SequencesOf(&env, *bare.SegmentOf(0));
    ASSERT_EQ(sequences.size(), 30U);
    EXPECT_EQ(sequences.front(), (uint64_t{1} << 32) - 10);
    for (size_t i = 0; i < 30; ++i) {
      EXPECT_NE(static_cast<uint32_t>(sequences[i]), 0U);
      EXPECT_GE(sequences[i], sequences[0] + i);
    }
  }
  EXPECT_EQ(Recovered(&env), promised);
}

// A batch that ends behind the window of the open file.
TEST(SsdLogStreams, PutsGoToAnotherFileBehindTheWindow) {
  FaultEnv env;
  Versions promised;
  {
    BareLog bare(&env);
    bare.log().StartAt(0, (uint64_t{1} << 40) + 12345);
    bare.Put(Range(0, 5), 1);
    const Segment* const first = bare.SegmentOf(0);
    EXPECT_EQ(first->window.base(), (uint64_t{1} << 40) + 12345 + 5);
    bare.log().SkipTo(first->window.last() - 3);
    bare.Put(Range(5, 15), 1);
    bare.Put(Range(0, 3), 2);
    EV_ASSERT_OK(bare.log().Flush());
    EXPECT_EQ(bare.SegmentOf(8), first);
    EXPECT_EQ(SequencesOf(&env, *first).back(), first->window.last());
    EXPECT_TRUE(first->closed);
    EXPECT_TRUE(first->synced);
    EXPECT_EQ(first->appended, Small().next_group(9));
    const Segment* const second = bare.SegmentOf(9);
    EXPECT_EQ(second->ordinal, first->ordinal + 1);
    EXPECT_EQ(SequencesOf(&env, *second).front(), first->window.last() + 1);
    EXPECT_EQ(bare.SegmentOf(0), second);
    for (const Key k : Range(0, 15)) promised[k] = k < 3 ? 2 : 1;
  }
  env.LosePower();
  EXPECT_EQ(Recovered(&env), promised);
}

// Rows of which an older version is still in a file, and that are put again after they were copied, or never.
void ExpectAncientRowsKeepTheirOrder(uint64_t seed, bool flushed) {
  FaultEnv env(seed);
  Versions promised;
  {
    BareLog bare(&env);
    const Key all = bare.slots();
    const Key half = all / 2;
    bare.index().refused_from = 200;
    bare.Put(Range(200, 200 + half), 1);
    bare.Put(Range(half, all), 1);     // file 0 is full, and stays
    bare.Put(Range(0, all), 2);        // file 1
    bare.Put(Range(0, half), 3);       // file 2
    EV_ASSERT_OK(bare.log().Flush());  // the ancient rows
    bare.log().SkipTo((uint64_t{1} << 33) + 5);
    bare.Put(Range(0, 4), 4);  // file 3
    EXPECT_GT(bare.SegmentOf(0)->window.base(), uint64_t{1} << 33);
    for (int step = 0; step < 5 && bare.SegmentOf(half)->stream == Stream::kPuts; ++step) bare.Step();
    const Segment* const copies = bare.SegmentOf(half);
    ASSERT_EQ(copies->stream, Stream::kCopies);
    for (const Key k : Range(0, all)) promised[k] = k < half ? 3 : 2;
    for (const Key k : Range(200, 200 + half)) promised[k] = 1;
    EV_ASSERT_OK(bare.log().WriteOut());
    const std::vector<uint64_t> sequences = SequencesOf(&env, *copies);
    ASSERT_GE(sequences.size(), static_cast<size_t>(half));
    for (const uint64_t s : sequences) EXPECT_EQ(s, copies->window.first());
    EXPECT_EQ(copies->window.first(), copies->window.base() - kHalfWindow);
    bare.Put(Range(all - 4, all), 5);
    if (flushed) {
      EV_ASSERT_OK(bare.log().Flush());
      bare.Step();
      EXPECT_EQ(bare.segments_unlinked(), 1U);
      for (const Key k : Range(0, 4)) promised[k] = 4;
      for (const Key k : Range(all - 4, all)) promised[k] = 5;
    }
  }
  env.LosePower();
  const Versions found = Recovered(&env);
  ExpectAtLeast(found, promised);
  if (flushed) {
    EXPECT_EQ(found, promised);
  }
}

TEST(SsdLogStreams, AncientRowsThatAreCopiedKeepTheOrderOfVersions) {
  ExpectAncientRowsKeepTheirOrder(1, true);
  for (uint64_t seed = 0; seed < 50 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    ExpectAncientRowsKeepTheirOrder(seed, false);
  }
}

// The open file of copies is so old that rows put now are behind its window.
TEST(SsdLogStreams, CopiesGoToAnotherFileBehindTheWindow) {
  FaultEnv env;
  Versions promised;
  {
    BareLog bare(&env);
    const Key all = bare.slots();
    bare.log().StartAt(0, (uint64_t{1} << 40) + 12345);
    bare.Put(Range(0, all), 1);
    bare.Put(Range(0, all / 2), 2);
    bare.Put(Range(100, 100 + all / 2), 2);  // the second file is full, too
    EV_ASSERT_OK(bare.log().Flush());
    ASSERT_EQ(bare.Step(), static_cast<size_t>(all / 2));
    const Segment* const first = bare.SegmentOf(all - 1);
    ASSERT_EQ(first->stream, Stream::kCopies);
    bare.log().SkipTo(first->window.last() - 1);  // it has two rows more
    bare.Put(Range(200, 200 + all), 3);
    bare.Put(Range(202, 202 + all / 2), 4);
    EV_ASSERT_OK(bare.log().Flush());
    EXPECT_FALSE(first->closed);
    for (int step = 0; step < 5 && bare.SegmentOf(200 + all - 1)->stream == Stream::kPuts; ++step) bare.Step();
    const Segment* const second = bare.SegmentOf(200 + all - 1);
    ASSERT_EQ(second->stream, Stream::kCopies);
    ASSERT_NE(second, first);
    EV_ASSERT_OK(bare.log().Flush());
    EXPECT_TRUE(first->closed);
    EXPECT_EQ(SequencesOf(&env, *first).back(), first->window.last());
    EXPECT_EQ(SequencesOf(&env, *second).back(), first->window.last() - 2 + static_cast<uint64_t>(all))
        << "copies keep their numbers";
    for (const Key k : Range(0, all)) promised[k] = k < all / 2 ? 2 : 1;
    for (const Key k : Range(100, 100 + all / 2)) promised[k] = 2;
    for (const Key k : Range(200, 200 + all)) promised[k] = k >= 202 && k < 202 + all / 2 ? 4 : 3;
  }
  env.LosePower();
  EXPECT_EQ(Recovered(&env), promised);
}

#if !defined(NDEBUG)

// A flush while rows are between two streams: copied, and the index does not know, or does.  Then power is lost.
TEST(SsdLogStreams, AFlushWhileRowsMoveKeepsItsPromise) {
  for (const char* point : {"compaction.copied", "compaction.relocated"}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      for (int nth = 0; nth < 6; ++nth) {
        SCOPED_TRACE(::testing::Message() << point << " " << nth << ", seed " << seed);
        FaultEnv env(seed);
        SsdLogOptions options;
        options.path = kPath;
        options.row_bytes = kRowBytes;
        options.segment_bytes = kSegmentBytes;
        options.env = &env;
        Versions written;
        Versions promised;
        int passed = 0;
        {
          LogTable table(options);
          EV_ASSERT_OK(table.Open());
          const test::SyncPointsGuard points;
          SyncPoints::Global().At(point, [&] {
            if (passed++ != nth) return;
            std::thread other([&] { EV_EXPECT_OK(table->Flush()); });
            other.join();
            promised = written;
            env.FailAt(static_cast<int64_t>(seed % 5), FaultEnv::Fault::kPowerLoss);
          });
          for (uint64_t version = 1; promised.empty(); ++version) {
            ASSERT_LT(version, 100U);
            std::vector<Key> keys;
            for (Key k = 0; k < 120; ++k) {
              if ((static_cast<uint64_t>(k) * 7 + version * 3) % (k < 60 ? 2 : 9) == 0) keys.push_back(k);
            }
            if (!table.Put(keys, version).ok()) break;
            for (const Key k : keys) written[k] = version;
          }
          ASSERT_GT(passed, nth);
        }
        env.LosePower();
        ExpectAtLeast(Recovered(&env), promised);
        if (HasFailure()) return;
      }
    }
  }
}

#endif

}  // namespace
}  // namespace ev::ssd_log
