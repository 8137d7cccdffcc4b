#include "ev_tf/eviction/eviction_pool.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

namespace ev {
namespace {

constexpr int kMaxThreads = 256;

constexpr char kThreadsVariable[] = "TF_MULTI_TIER_EV_EVICTION_THREADS";

// The number that the environment says; 0 if it is none of 1 to kMaxThreads.
int ThreadsFromEnvironment() {
  const char* text = std::getenv(kThreadsVariable);
  if (text == nullptr || *text == '\0') return 1;
  char* end = nullptr;
  const long wanted = std::strtol(text, &end, 10);
  return *end == '\0' && wanted >= 1 && wanted <= kMaxThreads ? static_cast<int>(wanted) : 0;
}

}  // namespace

Status EvictionPool::CheckEnvironment() {
  if (ThreadsFromEnvironment() != 0) return OkStatus();
  return InvalidArgument(std::string(kThreadsVariable) + ": expected 1 to " + std::to_string(kMaxThreads) + ", found " +
                         std::getenv(kThreadsVariable));
}

EvictionPool& EvictionPool::Global() {
  static auto* pool = new EvictionPool(std::max(1, ThreadsFromEnvironment()));
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
