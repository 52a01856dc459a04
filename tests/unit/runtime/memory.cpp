// The memory pool: sizes, counts, budget, threads.

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

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
  CHECK(refusal<MemoryError>([] { empty({std::int64_t{1} << 50}); }).find("empty: memory: ") == 0);
  CHECK(refusal<ShapeError>([] {
          empty({std::int64_t{1} << 40, std::int64_t{1} << 40});
        }).find("empty: shape: the number of elements of ") == 0);
  CHECK(refusal<ShapeError>([] { empty({std::int64_t{1} << 61}, float64); }).find("overflow 64 bits") !=
        std::string::npos);
  CHECK(refusal<ShapeError>([] { empty({-1}); }) == "empty: shape: negative size in [-1]");
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

}  // namespace attune::tests
