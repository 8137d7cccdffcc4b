#include "ev_tf/eviction/eviction_pool.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "ev_tf/base/sync_point.h"

namespace ev {
namespace {

constexpr int kMaxThreads = 256;
constexpr char kVariable[] = "TF_MULTI_TIER_EV_EVICTION_THREADS";

}  // namespace

Status EvictionPool::ThreadsFromEnvironment(int* threads) {
  const char* text = std::getenv(kVariable);
  if (text == nullptr || *text == '\0') {
    *threads = 1;
    return OkStatus();
  }
  char* end = nullptr;
  errno = 0;
  const long wanted = std::strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || wanted < 1 || wanted > kMaxThreads) {
    return InvalidArgument(std::string(kVariable) + ": expected 1 to " + std::to_string(kMaxThreads) + ", found " +
                           text);
  }
  *threads = static_cast<int>(wanted);
  return OkStatus();
}

EvictionPool& EvictionPool::Global() {
  static auto* pool = [] {
    int threads = 1;
    // Its clients have been refused if this fails; then the pool has none.
    static_cast<void>(ThreadsFromEnvironment(&threads));
    return new EvictionPool(threads);
  }();
  return *pool;
}

void EvictionPool::Register(EvictionClient* client) {
  std::lock_guard<std::mutex> lock(mu_);
  clients_[client] = State{};
  if (started_) return;
  started_ = true;
  for (int i = 0; i < threads_; ++i) std::thread([this] { Loop(); }).detach();
}

void EvictionPool::Unregister(EvictionClient* client) {
  std::unique_lock<std::mutex> lock(mu_);
  State& state = clients_[client];
  state.leaving = true;
  if (state.queued) {
    queue_.erase(std::find(queue_.begin(), queue_.end(), client));
    state.queued = false;
  }
  EV_SYNC_POINT("eviction.unregister");
  turn_ended_.wait(lock, [&] { return !state.running; });
  clients_.erase(client);
}

void EvictionPool::Wake(EvictionClient* client) {
  {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = clients_.find(client);
    if (it == clients_.end() || it->second.queued || it->second.leaving) return;
    if (it->second.running) {
      it->second.again = true;
      return;
    }
    it->second.queued = true;
    queue_.push_back(client);
  }
  wake_.notify_one();
}

void EvictionPool::Loop() {
  std::unique_lock<std::mutex> lock(mu_);
  for (;;) {
    wake_.wait(lock, [this] { return !queue_.empty(); });
    EvictionClient* client = queue_.front();
    queue_.pop_front();
    clients_[client].queued = false;
    clients_[client].running = true;
    lock.unlock();
    EV_SYNC_POINT("eviction.turn");
    const bool more = client->EvictSome();
    lock.lock();
    State& state = clients_[client];
    state.running = false;
    if ((more || state.again) && !state.leaving) {
      state.again = false;
      state.queued = true;
      queue_.push_back(client);
    }
    turn_ended_.notify_all();
  }
}

}  // namespace ev
