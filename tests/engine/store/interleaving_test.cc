// Orders of events that would lose an update, bring back what was removed, or show half of something, each forced.
//
// The names are those of ev_tf/store/store.h: E1 no lost update, E2 no resurrection, E3 no row used again under a reader,
// E4 nobody who reads waits for a write.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "ev_tf/base/executor.h"
#include "tests/support/sync_points.h"
#include "tests/support/tiered_store.h"

namespace ev {
namespace {

#if defined(NDEBUG)
TEST(Interleaving, NeedsABuildWithAsserts) { GTEST_SKIP() << "sync points are compiled out (NDEBUG)"; }
#else

using test::Elsewhere;
using test::Event;
using test::LowerKind;
using test::TieredStore;

class Interleaving : public ::testing::TestWithParam<LowerKind> {
 protected:
  void SetUp() override {
    if (!table_.missing().empty()) GTEST_SKIP() << table_.missing();
  }
  void Add(Key key, float delta) { EV_EXPECT_OK(table_.Add(key, delta)); }
  void Down() { EV_EXPECT_OK(table_.Down()); }

  test::SyncPointsGuard points_;
  TieredStore table_{GetParam()};
  const std::unique_ptr<Executor> threads_ = NewThreadPoolExecutor(2);  // of CopyDown
};

// --- a row on its way down ---

TEST_P(Interleaving, E1AnUpdateWhileTheCopyIsWrittenStays) {
  for (const char* point : {"demote.started", "demote.written"}) {
    SCOPED_TRACE(point);
    const Key key = 7;
    table_.Remove(key);
    Add(key, 1);
    points_.Once(point, [&] { Add(key, 10); });
    Down();
    EXPECT_EQ(table_.Read(key), 11);
    EXPECT_EQ(table_.WhereIs(key), 0);
    Down();  // as it is now
    EXPECT_EQ(table_.Read(key), 11);
    EXPECT_EQ(table_.WhereIs(key), 1);
    EXPECT_EQ(table_.RowsBelow(), 1u) << "the record that lost is given back";
  }
}

TEST_P(Interleaving, E1EveryUpdateOfManyStays) {
  for (Key key = 0; key < 200; ++key) Add(key, 1);
  int times = 0;
  SyncPoints::Global().At("demote.written", [&] {
    if (times++ < 5) {
      for (Key key = 0; key < 200; key += 3) Add(key, 1);
    }
  });
  while (table_.store().hot_rows() > 0) Down();  // it gives up where every row is wanted
  EXPECT_GT(times, 5);
  for (Key key = 0; key < 200; ++key) ASSERT_EQ(table_.Read(key), key % 3 == 0 ? 6 : 1) << key;
  EXPECT_EQ(table_.RowsBelow(), 200u);
}

TEST_P(Interleaving, E2ARowRemovedWhileItsCopyIsWrittenStaysAway) {
  for (const char* point : {"demote.started", "demote.written"}) {
    SCOPED_TRACE(point);
    Add(7, 1);
    points_.Once(point, [&] { EXPECT_EQ(table_.Remove(7), 1u); });
    Down();
    EXPECT_EQ(table_.WhereIs(7), -1);
    EXPECT_EQ(table_.Look(7), TieredStore::kNone);
    EXPECT_EQ(table_.RowsBelow(), 0u);
    EXPECT_EQ(table_.store().hot_rows(), 0u);
  }
}

TEST_P(Interleaving, E2ARowMadeAnewWhileItsOldCopyIsWrittenIsTheNewOne) {
  Add(7, 1);
  points_.Once("demote.started", [&] {
    table_.Remove(7);
    table_.store().epochs().Collect();  // the row's place is free again, and is taken again
    Add(7, 100);
  });
  Down();
  EXPECT_EQ(table_.Read(7), 100);
  Down();
  EXPECT_EQ(table_.Read(7), 100);
  EXPECT_EQ(table_.RowsBelow(), 1u);
}

// The removal has unlisted the key and not yet looked at its copy; a demotion must wait, as it would see a half.
TEST_P(Interleaving, E2ADemotionInTheMiddleOfARemovalFindsNothing) {
  Add(7, 1);
  std::thread demotion;
  points_.Once("remove.unlisted", [&] { demotion = std::thread([&] { Down(); }); });
  EXPECT_EQ(table_.Remove(7), 1u);
  demotion.join();
  EXPECT_EQ(table_.WhereIs(7), -1);
  EXPECT_EQ(table_.RowsBelow(), 0u);
  EXPECT_EQ(table_.store().hot_rows(), 0u);
}

// --- a row that gets a copy ---

TEST_P(Interleaving, RowsHaveCopiesUntilTheyAreWritten) {
  for (Key key = 0; key < 9000; ++key) Add(key, 1);
  EV_ASSERT_OK(table_.store().CopyDown(*threads_));
  EXPECT_EQ(table_.store().hot_rows(), 9000u) << "they stay where they are";
  EXPECT_EQ(table_.RowsBelow(), 9000u);
  const int64_t writes = table_.store().metrics(1).writes;
  EV_ASSERT_OK(table_.store().CopyDown(*threads_));
  EXPECT_EQ(table_.store().metrics(1).writes, writes) << "each has one already";
  for (Key key = 0; key < 100; ++key) Add(key, 1);
  EXPECT_EQ(table_.RowsBelow(), 8900u);
  Down();
  EXPECT_EQ(table_.store().metrics(kHotTier).clean_demotions, 8900);
  EXPECT_EQ(table_.store().metrics(1).writes, writes + 100);
  for (Key key = 0; key < 9000; ++key) ASSERT_EQ(table_.Read(key), key < 100 ? 2 : 1) << key;
  EXPECT_EQ(table_.RowsBelow(), 9000u);
}

TEST_P(Interleaving, E1ARowThatIsUpdatedWhileItGetsACopyHasNone) {
  for (const char* point : {"copy_down.started", "copy_down.written"}) {
    SCOPED_TRACE(point);
    table_.Remove(7);
    Add(7, 1);
    points_.Once(point, [&] { Add(7, 10); });
    EV_ASSERT_OK(table_.store().CopyDown(*threads_));
    EXPECT_EQ(table_.RowsBelow(), 0u) << "the copy that lost is given back";
    Down();
    EXPECT_EQ(table_.Read(7), 11);
    EXPECT_EQ(table_.RowsBelow(), 1u);
  }
}

TEST_P(Interleaving, E2ARowThatIsRemovedOrMadeAnewWhileItGetsACopyHasNone) {
  for (const char* point : {"copy_down.started", "copy_down.written"}) {
    for (const bool again : {false, true}) {
      SCOPED_TRACE(std::string(point) + (again ? " again" : ""));
      Add(7, 1);
      points_.Once(point, [&] {
        EXPECT_EQ(table_.Remove(7), 1u);
        table_.store().epochs().Collect();  // the row's place is free again, and is taken again
        if (again) Add(7, 100);
      });
      EV_ASSERT_OK(table_.store().CopyDown(*threads_));
      EXPECT_EQ(table_.RowsBelow(), 0u);
      EXPECT_EQ(table_.Look(7), again ? 100 : TieredStore::kNone);
      Down();
      EXPECT_EQ(table_.Look(7), again ? 100 : TieredStore::kNone);
      table_.Remove(7);
    }
  }
}

// Copies are written 4096 at a time, by each thread its half.
TEST_P(Interleaving, WhoeverWantsRoomGoesBetweenCopies) {
  for (Key key = 0; key < 9000; ++key) Add(key, 1);
  std::thread update;
  Event roomy;
  points_.Once("copy_down.started", [&] {
    const auto begun = std::make_shared<Event>();
    update = std::thread([&, begun] {
      begun->Set();
      EV_EXPECT_OK(table_.store().Demote(1000));
      roomy.Set();
    });
    ASSERT_TRUE(begun->Wait());
    while (table_.store().waiting_for_turn() == 0) std::this_thread::yield();
  });
  std::atomic<int> copies{0};
  SyncPoints::Global().At("copy_down.written", [&] {
    if (++copies != 3) return;
    // Set after its turn, maybe not yet; one that waited for all copies would not come before this returns.
    EXPECT_TRUE(roomy.Wait(std::chrono::seconds(20))) << "it waits for all copies";
  });
  EV_ASSERT_OK(table_.store().CopyDown(*threads_));
  update.join();
  EXPECT_LE(table_.store().hot_rows(), 1000u);
  for (Key key = 0; key < 9000; ++key) ASSERT_EQ(table_.Read(key), 1) << key;
}

// Each move waits until another thread waits to move rows, so that there is always one.
TEST_P(Interleaving, CopiesComeToAnEndWhereSomebodyAlwaysWantsRoom) {
  for (Key key = 0; key < 9000; ++key) Add(key, 1);
  std::atomic<bool> done{false};
  std::atomic<int> moves{0};
  SyncPoints::Global().At("demote.started", [&] {
    ++moves;
    while (!done.load() && table_.store().waiting_for_turn() < 2) std::this_thread::yield();
  });
  std::vector<std::thread> movers;
  points_.Once("copy_down.started", [&] {
    for (int i = 0; i < 6; ++i) {
      movers.emplace_back([&, i] {
        for (Key key = 10000 + i; !done.load(); key += 6) {
          Add(key, 1);
          Down();
        }
      });
    }
    while (table_.store().waiting_for_turn() < 2) std::this_thread::yield();
  });
  EV_EXPECT_OK(table_.store().CopyDown(*threads_));
  // Some dozens, up to 600 seen on a busy machine; where copies waited until nobody wanted room, tens of thousands.
  EXPECT_LT(moves.load(), 5000);
  done = true;
  for (std::thread& mover : movers) mover.join();
  for (Key key = 0; key < 9000; ++key) ASSERT_EQ(table_.Read(key), 1) << key;
}

// --- a row on its way up ---

TEST_P(Interleaving, E1APromotionThatReadAnOldRowLosesToANewerOne) {
  for (const char* point : {"fetch.read", "promote.started"}) {
    SCOPED_TRACE(point);
    const Key key = 7;
    table_.Remove(key);
    Add(key, 1);
    Down();
    points_.Once(point, [&] {
      Elsewhere([&] {
        Add(key, 1);
        Down();
      });
    });
    const float seen = table_.Look(key);
    EXPECT_TRUE(seen == 1 || seen == 2) << seen;
    EXPECT_EQ(table_.Look(key), 2);
    EXPECT_EQ(table_.Read(key), 2);
    Down();
    EXPECT_EQ(table_.Read(key), 2);
    EXPECT_EQ(table_.RowsBelow(), 1u);
  }
}

TEST_P(Interleaving, E1AnUpdateThatReadAnOldRowAddsToTheNewerOne) {
  Add(7, 1);
  Down();
  points_.Once("fetch.read", [&] {
    Elsewhere([&] {
      Add(7, 10);
      Down();
    });
  });
  Add(7, 100);
  EXPECT_EQ(table_.Read(7), 111);
  Down();
  EXPECT_EQ(table_.Read(7), 111);
}

TEST_P(Interleaving, E2ARowRemovedWhileItComesUpStaysAway) {
  for (const char* point : {"fetch.read", "promote.started"}) {
    SCOPED_TRACE(point);
    Add(7, 1);
    Down();
    points_.Once(point, [&] { Elsewhere([&] { EXPECT_EQ(table_.Remove(7), 1u); }); });
    table_.Look(7);
    EXPECT_EQ(table_.WhereIs(7), -1);
    EXPECT_EQ(table_.Look(7), TieredStore::kNone);
    EXPECT_EQ(table_.store().hot_rows(), 0u) << "the place that was taken for it is given back";
    EXPECT_EQ(table_.RowsBelow(), 0u);
  }
}

TEST_P(Interleaving, E2ARowMadeAnewWhileItsOldOneComesUpIsTheNewOne) {
  Add(7, 1);
  Down();
  points_.Once("promote.started", [&] {
    Elsewhere([&] {
      table_.Remove(7);
      Add(7, 100);
      Down();
    });
  });
  table_.Look(7);
  EXPECT_EQ(table_.Read(7), 100);
  EXPECT_EQ(table_.RowsBelow(), 1u);
}

TEST_P(Interleaving, TwoPromotionsOfOneRowMakeOne) {
  Add(7, 1);
  Down();
  points_.Once("promote.started", [&] { Elsewhere([&] { EXPECT_EQ(table_.Look(7), 1); }); });
  EXPECT_EQ(table_.Look(7), 1);
  EXPECT_EQ(table_.store().hot_rows(), 1u);
  Down();
  EXPECT_EQ(table_.store().metrics(kHotTier).clean_demotions, 1);
  EXPECT_EQ(table_.RowsBelow(), 1u);
  EXPECT_EQ(table_.Read(7), 1);
}

// --- readers ---

TEST_P(Interleaving, E3ARowUnderAReaderIsNotUsedAgain) {
  Add(7, 1);
  const float* row = nullptr;
  {
    const EpochGuard guard(table_.store().epochs());
    RowRefs refs;
    const Key key = 7;
    EV_ASSERT_OK(table_.store().Read(Span<const Key>(&key, 1), ColdRows(), &refs));
    row = refs.rows[0];
    Elsewhere([&] {
      Down();
      for (Key other = 100; other < 400; ++other) Add(other, 5);  // they want its place
      Down();
      for (Key other = 100; other < 400; ++other) Add(other, 5);
    });
    EXPECT_EQ(table_.WhereIs(7), 1);
    for (int64_t d = 0; d < TieredStore::kDim; ++d) ASSERT_EQ(row[d], 1);
  }
  Elsewhere([&] { Down(); });
  EXPECT_EQ(table_.Look(7), 1);
}

TEST_P(Interleaving, E4LookupsGoOnWhileTheDeviceWrites) {
  for (Key key = 0; key < 64; ++key) Add(key, 1);
  for (Key key = 1000; key < 1500; ++key) Add(key, 1);
  Down();
  for (Key key = 0; key < 32; ++key) Add(key, 1);     // dirty, and garbage below
  for (Key key = 100; key < 164; ++key) Add(key, 1);  // new
  const auto writing = std::make_shared<Event>();
  const auto go = std::make_shared<Event>();
  // In the tier, where that has a place to stop, else before it.
  points_.Hold("leveldb.write", writing, go);
  points_.Hold("demote.started", writing, go);
  if (GetParam().kind == TierKind::kLevelDb) points_.Once("demote.started", [] {});
  std::thread mover([&] { Down(); });
  ASSERT_TRUE(writing->Wait());
  const auto looked = std::make_shared<Event>();
  std::thread reader([&] {
    for (Key key = 0; key < 164; ++key) {
      const float want = key < 32 ? 2 : key < 64 || key >= 100 ? 1 : TieredStore::kNone;
      EXPECT_EQ(table_.Look(key), want) << key;
    }
    looked->Set();
  });
  EXPECT_TRUE(looked->Wait(std::chrono::seconds(20))) << "a lookup waits for the write";
  // Updates bring rows up and give back their places below.  If they wait for that, then not with a lock on a stripe.
  const auto updated = std::make_shared<Event>();
  std::thread writer([&] {
    for (Key key = 32; key < 64; ++key) Add(key, 1);
    updated->Set();
  });
  updated->Wait(std::chrono::milliseconds(200));
  const auto again = std::make_shared<Event>();
  std::thread second([&] {
    for (Key key = 1000; key < 1500; ++key) EXPECT_EQ(table_.Look(key), 1);  // of every stripe
    again->Set();
  });
  EXPECT_TRUE(again->Wait(std::chrono::seconds(20))) << "a lookup waits for an update that waits for the write";
  go->Set();
  mover.join();
  reader.join();
  writer.join();
  second.join();
  for (Key key = 0; key < 64; ++key) EXPECT_EQ(table_.Read(key), 2);
}

// Rows go down 4096 at a time.
TEST_P(Interleaving, WhoeverWantsRoomWaitsForNoMoreThanThat) {
  for (Key key = 0; key < 5000; ++key) Add(key, 1);
  int writes = 0;
  Event roomy;
  std::thread update;
  SyncPoints::Global().At("demote.started", [&] {
    if (++writes != 2) return;
    update = std::thread([&] {
      EV_EXPECT_OK(table_.store().DemoteOrWait(1000));
      roomy.Set();
    });
    EXPECT_TRUE(roomy.Wait(std::chrono::seconds(20))) << "it waits for the whole turn";
  });
  Down();
  ASSERT_EQ(writes, 2);
  update.join();
  EXPECT_EQ(table_.store().hot_rows(), 0u);
  EV_EXPECT_OK(table_.store().DemoteOrWait(0));  // nobody's turn: its own
}

INSTANTIATE_TEST_SUITE_P(All, Interleaving,
                         ::testing::Values(LowerKind{"dram", TierKind::kDram}, LowerKind{"ssd_log", TierKind::kSsdLog},
                                           LowerKind{"leveldb", TierKind::kLevelDb},
                                           LowerKind{"pmem_libpmem", TierKind::kPmemLibpmem}),
                         [](const auto& info) { return info.param.name; });

// --- a tier that moves rows by itself ---

class LogInterleaving : public ::testing::Test {
 protected:
  void Add(Key key, float delta) { EV_EXPECT_OK(table_.Add(key, delta)); }
  void Down() { EV_EXPECT_OK(table_.Down()); }
  // Rows 0 to 999 below, of which a few of each segment are left: there is something to compact.
  void MakeGarbage() {
    for (Key key = 0; key < 1000; ++key) Add(key, 1);
    Down();
    for (Key key = 0; key < 1000; ++key) {
      if (key % 4 != 0) table_.Remove(key);
    }
    table_.store().epochs().Collect();
  }
  void ExpectWhole() {
    for (Key key = 0; key < 1000; key += 4) {
      ASSERT_EQ(table_.Read(key), 1) << key;
      ASSERT_EQ(table_.Look(key), 1) << key;
    }
    EXPECT_EQ(table_.store().size(), 250);
  }

  test::SyncPointsGuard points_;
  TieredStore table_{LowerKind{"ssd_log", TierKind::kSsdLog}};
};

TEST_F(LogInterleaving, E4LookupsGoOnWhileTheLogWrites) {
  for (Key key = 0; key < 500; ++key) Add(key, 1);
  Down();
  for (Key key = 0; key < 500; key += 2) Add(key, 1);
  const auto writing = std::make_shared<Event>();
  const auto go = std::make_shared<Event>();
  points_.Hold("ssd_log.write", writing, go);
  std::thread mover([&] { Down(); });
  ASSERT_TRUE(writing->Wait());
  const auto looked = std::make_shared<Event>();
  std::thread reader([&] {
    for (Key key = 0; key < 500; ++key) EXPECT_EQ(table_.Look(key), key % 2 == 0 ? 2 : 1) << key;
    looked->Set();
  });
  EXPECT_TRUE(looked->Wait(std::chrono::seconds(20))) << "a lookup waits for the write";
  go->Set();
  mover.join();
  reader.join();
}

TEST_F(LogInterleaving, ARowUpdatedOrRemovedWhileItIsCompactedIsTheNewOne) {
  MakeGarbage();
  std::atomic<int> copies{0};
  SyncPoints::Global().At("compaction.copied", [&] {
    if (copies++ != 0) return;
    Elsewhere([&] {
      for (Key key = 0; key < 1000; key += 8) Add(key, 1);
      for (Key key = 4; key < 1000; key += 16) table_.Remove(key);
    });
  });
  EV_ASSERT_OK(table_.lower()->Flush());
  SyncPoints::Global().Clear();
  ASSERT_GT(copies.load(), 0);
  for (int round = 0; round < 3; ++round) {
    for (Key key = 0; key < 1000; key += 4) {
      const float want = key % 8 == 0 ? 2 : key % 16 == 4 ? TieredStore::kNone : 1;
      ASSERT_EQ(table_.Read(key), want) << key;
    }
    Down();
    EV_ASSERT_OK(table_.lower()->Flush());
  }
}

// A call has read a row at a position.  Compaction moves the row, its segment goes, a new segment takes its number, and a
// newer version of the row comes to lie at that very position: what the call has read is not that row.
TEST_F(LogInterleaving, E1APositionThatACallHasReadFromIsNotGivenAgain) {
  for (const char* point : {"promote.started", "fetch.read"}) {
    SCOPED_TRACE(point);
    test::SyncPointsGuard points;
    TieredStore table(LowerKind{"ssd_log", TierKind::kSsdLog});
    const Key key = -7;
    float value = 1;
    EV_ASSERT_OK(table.Add(key, 1));
    EV_ASSERT_OK(table.Down());
    const Position first = table.PutAt(key);
    for (Key other = 0; other < 300; ++other) EV_ASSERT_OK(table.Add(other, 1));
    EV_ASSERT_OK(table.Down());
    for (Key other = 0; other < 300; ++other) table.Remove(other);
    table.store().epochs().Collect();
    int rounds = 0;
    points.Once(point, [&] {
      Elsewhere([&] {
        EV_EXPECT_OK(table.lower()->Flush());  // compacts
        do {
          EV_EXPECT_OK(table.Add(key, 1));
          ++value;
          EV_EXPECT_OK(table.Down());
        } while (table.PutAt(key) != first && ++rounds < 300);
      });
    });
    table.Look(key);
    EXPECT_EQ(rounds, 300) << "position " << first << " was given again under a guard";
    EXPECT_EQ(table.Read(key), value);
    EXPECT_EQ(table.Look(key), value);
  }
}

// The background thread has copied rows, and is held before it asks whose copy counts.
class AsyncCompaction : public ::testing::Test {
 protected:
  void SetUp() override {
    for (Key key = 0; key < 1000; ++key) EV_ASSERT_OK(table_.Add(key, 1));
    EV_ASSERT_OK(table_.Down());
    points_.Hold("compaction.copied", copied_, go_);
    points_.Signal("compaction.relocated", relocated_);
    for (Key key = 0; key < 1000; ++key) {
      if (key % 4 != 0) table_.Remove(key);
    }
    table_.store().epochs().Collect();
    ASSERT_TRUE(copied_->Wait());
  }
  // At `point` the background thread goes on, and what it does is done before anything else.
  void LetItGoAt(const char* point) {
    points_.Once(point, [this] {
      go_->Set();
      EXPECT_TRUE(relocated_->Wait());
    });
  }

  const std::shared_ptr<Event> copied_ = std::make_shared<Event>();
  const std::shared_ptr<Event> go_ = std::make_shared<Event>();
  const std::shared_ptr<Event> relocated_ = std::make_shared<Event>();
  test::SyncPointsGuard points_;
  TieredStore table_{LowerKind{"ssd_log", TierKind::kSsdLog, /*async_compaction=*/true}};
};

TEST_F(AsyncCompaction, RowsThatGetASlotStayWhereTheyWereFound) {
  LetItGoAt("relayout.read");
  RowLayout wider;
  EV_ASSERT_OK(table_.store().layout().WithSlot({"slot", TieredStore::kDim, 0.25f}, &wider));
  EV_ASSERT_OK(table_.store().Relayout(wider));
  for (int round = 0; round < 2; ++round) {
    for (Key key = 0; key < 1000; ++key) {
      ASSERT_EQ(table_.Read(key), key % 4 == 0 ? 1 : TieredStore::kNone) << key;
    }
    EV_ASSERT_OK(table_.Down());
  }
  EXPECT_EQ(table_.store().size(), 250);
  EXPECT_EQ(table_.RowsBelow(), 250u);
}

TEST_F(AsyncCompaction, AllRowsMayBeDroppedMeanwhile) {
  LetItGoAt("adopt.drained");
  EV_ASSERT_OK(table_.store().Clear());
  for (Key key = 0; key < 1000; key += 8) EV_ASSERT_OK(table_.Add(key, 3));
  EV_ASSERT_OK(table_.Down());
  for (Key key = 0; key < 1000; ++key) ASSERT_EQ(table_.Read(key), key % 8 == 0 ? 3 : TieredStore::kNone) << key;
  EXPECT_EQ(table_.RowsBelow(), 125u);
}

TEST_F(AsyncCompaction, E5AStoreThatGoesWaitsForTheStepThatIsRunning) {
  Event gone;
  std::thread last([&] {
    table_.Destroy();
    gone.Set();
  });
  EXPECT_FALSE(gone.Wait(std::chrono::milliseconds(100)));
  go_->Set();
  last.join();
  EXPECT_TRUE(relocated_->IsSet());
}

#endif

}  // namespace
}  // namespace ev
