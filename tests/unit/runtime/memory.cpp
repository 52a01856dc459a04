// The memory pool, threads and random numbers.

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "autograd/kernels/random.h"
#include "autograd/runtime/philox.h"
#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("pool: blocks are aligned, counted and reused") {
  const MemoryStats before = memory_stats();
  {
    const Tensor x = empty({1000, 1000});
    CHECK(reinterpret_cast<std::uintptr_t>(x.raw()) % 64 == 0);
    CHECK(memory_stats().live_bytes >= before.live_bytes + 4'000'000);
    CHECK(memory_stats().peak_bytes >= memory_stats().live_bytes);
  }
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().live_blocks == before.live_blocks);
  reset_peak_memory();
  CHECK(memory_stats().peak_bytes == memory_stats().live_bytes);
  release_cached_memory();
  CHECK(memory_stats().cached_bytes >= 0);
}

TEST_CASE("pool: a block may be freed by another thread than the one that made it") {
  const std::int64_t before = memory_stats().live_blocks;
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> made(64);
    std::thread([&] {
      for (std::size_t i = 0; i < made.size(); ++i) made[i] = zeros({static_cast<std::int64_t>(i * 100)});
    }).join();
    std::thread([&] { made.clear(); }).join();
  }
  CHECK(memory_stats().live_blocks == before);
}

TEST_CASE("pool: what cannot be had is refused before anything is allocated") {
  CHECK(refusal<MemoryError>([] { empty({std::int64_t{1} << 50}); }).find("memory: ") == 0);
  CHECK(refusal<ShapeError>([] {
          empty({std::int64_t{1} << 40, std::int64_t{1} << 40});
        }).find("shape: the number of elements of ") == 0);
  CHECK(refusal<ShapeError>([] { empty({std::int64_t{1} << 61}, float64); }).find("overflow 64 bits") !=
        std::string::npos);
  CHECK(refusal<ShapeError>([] { empty({-1}); }) == "shape: negative size in [-1]");
  CHECK(refusal<ValueError>([] { set_memory_budget(-1); }).find("set_memory_budget: ") == 0);
}

TEST_CASE("pool: every size gets an aligned block of its own") {
  const MemoryStats before = memory_stats();
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t bytes = 0; bytes < 300'000; bytes += bytes / 7 + 1) {
    auto* p = static_cast<unsigned char*>(pool::allocate(bytes));
    CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
    std::memset(p, static_cast<int>(blocks.size() % 251), bytes);
    blocks.emplace_back(p, bytes);
  }
  std::size_t asked = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto [p, bytes] = blocks[i];
    bool kept = true;
    for (std::size_t b = 0; b < bytes; ++b) kept = kept && p[b] == i % 251;
    CHECK(kept);
    asked += bytes;
  }
  const MemoryStats full = memory_stats();
  CHECK(full.live_blocks == before.live_blocks + static_cast<std::int64_t>(blocks.size()));
  const auto rounded = static_cast<double>(full.live_bytes - before.live_bytes);
  CHECK(rounded >= static_cast<double>(asked));
  CHECK(rounded <= 1.25 * static_cast<double>(asked) + 64 * static_cast<double>(blocks.size()));
  for (const auto& [p, bytes] : blocks) pool::deallocate(p, bytes);
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().live_blocks == before.live_blocks);
}

TEST_CASE("pool: the peak is exact, whether of small blocks or of large ones") {
  for (std::size_t bytes : {std::size_t{64}, std::size_t{1024}, std::size_t{4096}, std::size_t{1} << 20}) {
    CAPTURE(bytes);
    reset_peak_memory();
    const std::int64_t before = memory_stats().live_bytes;
    std::vector<void*> blocks(20);
    for (void*& p : blocks) p = pool::allocate(bytes);
    for (void* p : blocks) pool::deallocate(p, bytes);
    CHECK(memory_stats().live_bytes == before);
    CHECK(memory_stats().peak_bytes == before + 20 * static_cast<std::int64_t>(bytes));
  }
}

TEST_CASE("pool: the budget refuses, names what was asked and what is there, and takes nothing") {
  const std::int64_t live = memory_stats().live_bytes;
  const auto text = [](std::int64_t bytes) {
    char t[40];
    std::snprintf(t, sizeof t, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
    return std::string(t);
  };
  const std::int64_t budget = live + (16 << 20);
  set_memory_budget(budget);
  CHECK(memory_budget() == budget);
  void* most = pool::allocate(14 << 20);
  CHECK(refusal<MemoryError>([] { pool::allocate(4 << 20); }) ==
        "memory: 4.0 MiB requested with " + text(live + (14 << 20)) + " live exceeds the budget of " + text(budget));
  CHECK(memory_stats().live_bytes == live + (14 << 20));
  void* rest = pool::allocate(2 << 20);  // up to the last byte
  CHECK(refusal<MemoryError>([] { pool::allocate(1); }) != "");
  pool::deallocate(rest, 2 << 20);
  pool::deallocate(most, 14 << 20);
  pool::deallocate(pool::allocate(16 << 20), 16 << 20);
  set_memory_budget(0);
  pool::deallocate(pool::allocate(32 << 20), 32 << 20);
  CHECK(memory_stats().live_bytes == live);
}

TEST_CASE("shape: a zero-size shape may have strides beyond 64 bits") {
  const Shape vast{0, std::int64_t{1} << 62, std::int64_t{1} << 62};
  const Tensor x = zeros(vast);
  CHECK(numel(vast) == 0);
  CHECK(x.is_contiguous());
  CHECK((x + x).shape() == vast);
  CHECK(contiguous(permute(x, {2, 0, 1})).is_contiguous());
}

TEST_CASE("pool: requests beyond any memory throw") {
  for (int power : {40, 47, 50, 60, 63})
    CHECK(refusal<MemoryError>([=] { pool::allocate(std::size_t{1} << power); }).find("memory: the system has no ") ==
          0);
  CHECK(refusal<MemoryError>([] { pool::allocate(SIZE_MAX); }) != "");
}

TEST_CASE("pool: sizes that nobody asks for any more do not pile up") {
  release_cached_memory();
  reset_peak_memory();
  constexpr std::size_t mebibyte = 1 << 20;
  const std::int64_t before = memory_stats().live_bytes;
  std::int64_t most = 0;
  for (std::size_t bytes = 64 * mebibyte; bytes < 1024 * mebibyte; bytes += bytes / 4) {  // each in a class of its own
    pool::deallocate(pool::allocate(bytes), bytes);
    most = std::max(most, memory_stats().cached_bytes);
  }
  CHECK(most <= std::max<std::int64_t>(256 * mebibyte, 2 * memory_stats().peak_bytes));
  release_cached_memory();
  CHECK(memory_stats().cached_bytes < static_cast<std::int64_t>(64 * mebibyte));
  CHECK(memory_stats().live_bytes == before);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)  // their malloc aborts
TEST_CASE("pool: when the system refuses, free blocks are given back first") {
  constexpr std::size_t mebibyte = 1 << 20;
  pool::deallocate(pool::allocate(512 * mebibyte), 512 * mebibyte);
  CHECK(memory_stats().cached_bytes >= static_cast<std::int64_t>(512 * mebibyte));
  std::ifstream pages("/proc/self/statm");
  rlim_t now = 0;
  pages >> now;
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit tight = before;
  // Too little for the request unless the free block goes back, with room for the arenas (up to 128 MiB of address
  // space) that malloc may try before it gives up.
  tight.rlim_cur = now * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + 384 * mebibyte;
  REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
  void* p = nullptr;
  const std::string fits = refusal<MemoryError>([&] { p = pool::allocate(640 * mebibyte); });
  const std::string beyond = refusal<MemoryError>([] { pool::allocate(4096 * mebibyte); });
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(fits == "");
  CHECK(beyond == "memory: the system has no 4096.0 MiB to give");
  pool::deallocate(p, 640 * mebibyte);
}
#endif

TEST_CASE("pool: a thread leaves its free blocks and its counts to the others") {
  const std::int64_t live = memory_stats().live_bytes;
  std::thread([] {
    std::vector<void*> blocks(1000);
    for (void*& p : blocks) p = pool::allocate(200);
    for (void* p : blocks) pool::deallocate(p, 200);
  }).join();
  CHECK(memory_stats().live_bytes == live);
  void* kept = nullptr;
  std::thread([&] { kept = pool::allocate(100); }).join();
  CHECK(memory_stats().live_bytes == live + 128);
  pool::deallocate(kept, 100);
  CHECK(memory_stats().live_bytes == live);
}

#ifndef __SANITIZE_ADDRESS__  // its malloc takes fresh memory all the time, and there is no pool
TEST_CASE("memory: a sweep's own tables are not given back to the system and fetched again at the next") {
  release_cached_memory();
  const Tensor x = ones({}).requires_grad_(), factor = full({}, 1.0);
  const auto step = [&] {
    Tensor y = x;
    for (int i = 0; i < 1000; ++i) y = y * factor;
    grad({y}, {x});
  };
  const auto faults = [] {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return used.ru_minflt;
  };
  for (int i = 0; i < 10; ++i) step();
  const long before = faults();
  for (int i = 0; i < 200; ++i) step();
  CHECK(faults() - before < 200);
}
#endif

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

TEST_CASE("random: Philox4x32-10 gives the published numbers") {
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0ull, ~0ull}, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x299f31d0a4093822, 0x0370734413198a2e}, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: moments, ranges and replay") {
  Generator g(4);
  const RandomKey state = g.state();
  for (DType dtype : {float32, float64}) {
    const Tensor z = randn({100'000}, dtype, g), u = rand({100'000}, dtype, g);
    CHECK(std::abs(mean(z).item()) < 0.02);
    CHECK(var(z).item() == doctest::Approx(1).epsilon(0.02));
    CHECK(mean(square(square(z))).item() == doctest::Approx(3).epsilon(0.05));
    CHECK(amin(u).item() >= 0);
    CHECK(amax(u).item() < 1);
    CHECK(mean(u).item() == doctest::Approx(0.5).epsilon(0.01));
  }
  g.set_state(state);
  const std::vector<double> once = randn({5}, float32, g).to_vector<double>();
  g.set_state(state);
  CHECK(randn({5}, float32, g).to_vector<double>() == once);
  std::vector<int> counts(7);
  for (std::int64_t v : randint(-3, 4, {70'000}, g).to_vector<std::int64_t>())
    ++counts.at(static_cast<std::size_t>(v + 3));
  for (int c : counts) CHECK(std::abs(c - 10'000) < 500);
  std::vector<std::int64_t> order = randperm(1000, g).to_vector<std::int64_t>();
  CHECK(order[0] + order[1] + order[2] != 3);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == static_cast<std::int64_t>(i));
}

TEST_CASE("random: dropout keeps the share and the mean, and its gradient has the same mask") {
  const Tensor x = ones({100'000}).requires_grad_();
  const Tensor y = dropout_at(x, 0.3, {1, 2});
  CHECK(mean(y).item() == doctest::Approx(1).epsilon(0.02));
  CHECK(mean(to(eq(y, 0), float32)).item() == doctest::Approx(0.3).epsilon(0.02));
  sum(y).backward();
  CHECK(all(eq(x.grad(), y.detach())));
  CHECK(all(eq(dropout_at(x, 1, {1, 2}), 0)));
  CHECK(all(eq(dropout_at(x, 0, {1, 2}), 1)));
}

}  // namespace attune::tests
