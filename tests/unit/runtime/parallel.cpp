// Threads: what parallel_for promises.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

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
#pragma omp parallel num_threads(2)  // where OpenMP gives each caller one thread of the four
  parallel_for(50, 1, [&](std::int64_t, std::int64_t) { ++runs; });
  CHECK(runs == 100);
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
