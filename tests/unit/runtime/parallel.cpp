// Threads: what parallel_for promises.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include "autograd/runtime/frame.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("threads: as many as asked for, more than there are cores too") {
  const int before = num_threads();
  set_num_threads(4);
  CHECK(num_threads() == 4);
  std::atomic<int> present{0};
  parallel_for(4, 1, [&](std::int64_t, std::int64_t) {  // every piece waits for all four
    ++present;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (present < 4 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  });
  CHECK(present == 4);
  std::atomic<int> strayed{0};
  parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
    const auto outer = std::this_thread::get_id();
    parallel_for(100, 1, [&](std::int64_t, std::int64_t) { strayed += std::this_thread::get_id() != outer; });
  });
  CHECK(strayed == 0);
  int calls = 0;
  parallel_for(0, 1, [&](std::int64_t, std::int64_t) { ++calls; });
  parallel_for(-3, 1, [&](std::int64_t, std::int64_t) { ++calls; });
  CHECK(calls == 0);
  set_num_threads(before);
}

TEST_CASE("threads: every piece runs once, whatever the numbers of pieces and threads") {
  const int before = num_threads();
  for (int threads : {2, 5, 33, 100})
    for (std::int64_t pieces : {2, 7, 31, 33, 1000}) {
      INFO(threads, " threads, ", pieces, " pieces");
      set_num_threads(threads);
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(pieces));
      parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t) { ++runs[static_cast<std::size_t>(begin)]; });
      CHECK(std::all_of(runs.begin(), runs.end(), [](const auto& n) { return n == 1; }));
      CHECK(refusal<ValueError>([&] {
              parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t) {
                if (begin >= pieces / 2) throw ValueError(std::to_string(begin));
              });
            }) == std::to_string(pieces / 2));
    }
  set_num_threads(4);
  std::atomic<int> runs{0};
  const auto caller = [&runs] {
    for (int i = 0; i < 200; ++i) parallel_for(50, 1, [&](std::int64_t, std::int64_t) { ++runs; });
  };
  std::thread one(caller), two(caller), three(caller);
  for (int i = 0; i < 200; ++i) set_num_threads(1 + i % 6);  // at any time
  one.join();
  two.join();
  three.join();
  CHECK(runs == 30'000);
  set_num_threads(before);
}

TEST_CASE("threads: a loop waits only for pieces that somebody has begun") {
  const int before = num_threads();
  set_num_threads(2);
  // The only helper is kept in another thread's loop; this one's loops do not miss it.
  std::atomic<bool> kept{false}, over{false};
  std::thread other([&] {
    const auto owner = std::this_thread::get_id();
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!kept && std::chrono::steady_clock::now() < give_up)
      parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
        if (std::this_thread::get_id() != owner) {
          kept = true;
          while (!over) std::this_thread::yield();
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      });
  });
  while (!kept) std::this_thread::yield();
  std::atomic<int> runs{0};
  for (int i = 0; i < 100; ++i) parallel_for(20, 1, [&](std::int64_t, std::int64_t) { ++runs; });
  CHECK(runs == 2000);
  over = true;
  other.join();
  set_num_threads(before);
}

TEST_CASE("threads: pieces run under their caller's modes and frames, and leave no trace on their threads") {
  const int before = num_threads();
  set_num_threads(4);
  const Tensor w = full({3}, 2).requires_grad_();
  for (const bool recorded : {false, true, false}) {
    const GradMode mode(recorded);
    const Frame frame("outer", Here::current());
    std::atomic<int> present{0}, wrong{0};
    parallel_for(4, 1, [&](std::int64_t, std::int64_t) {
      ++present;
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (present < 4 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
      wrong += (w * 2).requires_grad() != recorded ? 1 : 0;
      wrong += grad_enabled() != recorded ? 10 : 0;
      wrong += Frame::top() != &frame ? 100 : 0;
    });
    CHECK(present == 4);
    CHECK(wrong.load() == 0);
  }
  set_num_threads(before);
}

TEST_CASE("threads: more pieces than 32 bits count are cut right") {
  const int before = num_threads();
  const std::int64_t n = std::numeric_limits<std::int64_t>::max() - 5;
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    std::atomic<std::int64_t> sum{0}, pieces{0};
    parallel_for(n, n / 3, [&](std::int64_t begin, std::int64_t end) {
      sum += end - begin;
      ++pieces;
    });
    CHECK(sum == n);
    CHECK(pieces == n / (n / 3) + (n % (n / 3) != 0));
  }
  set_num_threads(before);
}

TEST_CASE("threads: after an exception the next loop runs as ever") {
  const int before = num_threads();
  set_num_threads(2);
  for (int round = 0; round < 10; ++round) {
    CHECK(refusal<ValueError>([] {
            parallel_for(8, 1, [](std::int64_t begin, std::int64_t) { throw ValueError(std::to_string(begin)); });
          }) == "0");
    std::atomic<int> done{0};
    parallel_for(8, 1, [&](std::int64_t, std::int64_t) { ++done; });
    CHECK(done == 8);
  }
  set_num_threads(before);
}

TEST_CASE("threads: pieces depend on the sizes alone, and the lowest failure wins") {
  const int before = num_threads();
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    std::atomic<std::int64_t> sum{0}, pieces{0};
    parallel_for(1000, 64, [&](std::int64_t begin, std::int64_t end) {
      CHECK(begin % 64 == 0);
      for (std::int64_t i = begin; i < end; ++i) sum += i;
      ++pieces;
      parallel_for(10, 1, [&](std::int64_t, std::int64_t) {});  // inside another one: on this thread
    });
    CHECK(sum == 499'500);
    CHECK(pieces == 16);
    CHECK(refusal<ValueError>([] {
            parallel_for(100, 1, [](std::int64_t begin, std::int64_t) {
              if (begin >= 30) throw ValueError("piece " + std::to_string(begin));
            });
          }) == "piece 30");
  }
  set_num_threads(before);
  CHECK(refusal<ValueError>([] { set_num_threads(0); }) == "set_num_threads: 0 threads; it takes 1 to 4096");
}

}  // namespace attune::tests
