// The threads that move rows down: every client gets its turn, and none has one after it left (E5).
#include "ev_tf/eviction/eviction_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "ev_tf/optim/sgd.h"
#include "ev_tf/variable/storage_type.h"
#include "tests/support/sync_points.h"
#include "tests/support/temp_dir.h"
#include "tests/support/variable_support.h"

namespace ev {
namespace {

#if defined(NDEBUG)
TEST(EvictionPoolOrder, NeedsABuildWithAsserts) { GTEST_SKIP() << "sync points are compiled out (NDEBUG)"; }
#else

using test::Event;

// Pools are never destroyed: their threads wait for ever.
EvictionPool& NewPool(int threads) {
  static auto* const kept = new std::vector<EvictionPool*>;  // no leak
  kept->push_back(new EvictionPool(threads));
  return *kept->back();
}

class Client final : public EvictionClient {
 public:
  bool EvictSome() override {
    EXPECT_FALSE(left.load()) << "a turn of a client that has left";
    EXPECT_EQ(running.fetch_add(1), 0) << "two turns of one client at once";
    ++turns;
    started.Set();
    const bool more = wanted-- > 1;
    if (hold) go.Wait();
    running.fetch_sub(1);
    return more;
  }
  std::atomic<bool> left{false};
  std::atomic<int> running{0};
  std::atomic<int> turns{0};
  std::atomic<int> wanted{1};
  bool hold = false;
  Event started, go;
};

TEST(EvictionPoolOrder, E5UnregisterWaitsForTheTurnThatIsRunning) {
  EvictionPool& pool = NewPool(2);
  Client client;
  client.hold = true;
  client.wanted = 100;  // and there is more to do
  pool.Register(&client);
  pool.Wake(&client);
  ASSERT_TRUE(client.started.Wait());
  const auto waits = std::make_shared<Event>();
  Event gone;
  test::SyncPointsGuard points;
  points.Signal("eviction.unregister", waits);
  std::thread leaver([&] {
    pool.Unregister(&client);
    client.left = true;
    gone.Set();
  });
  ASSERT_TRUE(waits->Wait());
  pool.Wake(&client);  // in vain
  EXPECT_FALSE(gone.Wait(std::chrono::milliseconds(50)));
  client.go.Set();
  leaver.join();
  pool.Wake(&client);  // in vain
  Client other;        // which has its turn after whatever was queued
  pool.Register(&other);
  pool.Wake(&other);
  EXPECT_TRUE(other.started.Wait());
  EXPECT_EQ(client.turns.load(), 1);
  pool.Unregister(&other);
}

TEST(EvictionPoolOrder, AClientThatWaitsInTheQueueMayLeave) {
  EvictionPool& pool = NewPool(1);
  Client busy, waiting;
  busy.hold = true;
  pool.Register(&busy);
  pool.Register(&waiting);
  pool.Wake(&busy);
  ASSERT_TRUE(busy.started.Wait());
  pool.Wake(&waiting);
  pool.Unregister(&waiting);  // at once
  waiting.left = true;
  busy.go.Set();
  pool.Unregister(&busy);
  EXPECT_EQ(waiting.turns.load(), 0);
}

TEST(EvictionPoolOrder, AWakeDuringATurnIsOneMoreTurn) {
  EvictionPool& pool = NewPool(1);
  Client client;
  client.hold = true;
  pool.Register(&client);
  pool.Wake(&client);
  ASSERT_TRUE(client.started.Wait());
  for (int i = 0; i < 5; ++i) pool.Wake(&client);
  client.go.Set();
  Client last;
  pool.Register(&last);
  pool.Wake(&last);  // behind the turn that was asked for
  ASSERT_TRUE(last.started.Wait());
  for (int i = 0; i < 1000 && client.turns < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(client.turns.load(), 2);
  pool.Unregister(&client);
  pool.Unregister(&last);
}

TEST(EvictionPoolOrder, ABusyClientLeavesNoneBehind) {
  EvictionPool& pool = NewPool(1);
  Client busy;
  busy.wanted = 1 << 30;
  pool.Register(&busy);
  pool.Wake(&busy);
  std::vector<std::unique_ptr<Client>> others;
  for (int i = 0; i < 20; ++i) {
    others.push_back(std::make_unique<Client>());
    pool.Register(others.back().get());
    pool.Wake(others.back().get());
  }
  for (const auto& client : others) EXPECT_TRUE(client->started.Wait());
  pool.Unregister(&busy);
  for (const auto& client : others) pool.Unregister(client.get());
}

// --- variables that go while their rows move ---

class VariableThatGoes : public ::testing::TestWithParam<const char*> {
 protected:
  // A variable of 4 rows in DRAM with 300 rows, and files in `dir`.
  std::unique_ptr<EmbeddingVariable> Spilling() {
    VariableOptions options = test::Options(8);
    EV_EXPECT_OK(MakeStorage(StorageType::kDramSsdHash, dir_ / "rows", 4 * 32, CacheStrategy::kLru, &options.storage));
    return test::NewVariable(options, test::DefaultMatrix(4, 8));
  }
  static void Train(EmbeddingVariable* variable) {
    std::vector<Key> keys(300);
    for (size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<Key>(i);
    test::Descend(variable, keys, std::vector<float>(keys.size() * 8, 1.0f));
  }
  test::TempDir dir_;
  test::SyncPointsGuard points_;
};

TEST_P(VariableThatGoes, E5WaitsForItsTurn) {
  const auto there = std::make_shared<Event>();
  const auto go = std::make_shared<Event>();
  const auto waits = std::make_shared<Event>();
  points_.Hold(GetParam(), there, go);
  points_.Signal("eviction.unregister", waits);
  std::unique_ptr<EmbeddingVariable> variable = Spilling();
  Train(variable.get());
  ASSERT_TRUE(there->Wait());
  Event gone;
  std::thread last([&] {
    variable.reset();
    gone.Set();
  });
  ASSERT_TRUE(waits->Wait());
  EXPECT_FALSE(gone.Wait(std::chrono::milliseconds(50)));
  go->Set();
  last.join();
  EXPECT_TRUE(std::filesystem::is_empty(dir_ / "rows"));
  Train(Spilling().get());  // and the pool serves the next one
}

INSTANTIATE_TEST_SUITE_P(AtEachStep, VariableThatGoes,
                         ::testing::Values("eviction.turn", "demote.started", "demote.written"));

#endif

}  // namespace
}  // namespace ev
