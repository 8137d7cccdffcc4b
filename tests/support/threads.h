// Threads of a test that begin together.
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace ev::test {

// Runs body(0) .. body(threads - 1), each on a thread of its own, once all have started; returns when all are done.
inline void RunTogether(int threads, const std::function<void(int)>& body) {
  std::atomic<int> waiting{threads};
  std::vector<std::thread> running;
  running.reserve(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      waiting.fetch_sub(1);
      while (waiting.load() != 0) std::this_thread::yield();
      body(t);
    });
  }
  for (std::thread& thread : running) thread.join();
}

}  // namespace ev::test
