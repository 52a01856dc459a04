// fork(): the child computes, whatever the parent's threads were doing.

#include "autograd/runtime/fork.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/plain.h"
#include "tests/unit/runtime/fork_checks.h"

namespace attune::tests {
namespace {

/// Weights after a few steps of a small Transformer, whose loops are shared between threads.
Values trained() {
  manual_seed(5);
  nn::TransformerEncoder model(2, 32, 4, nn::TransformerOptions{.d_ff = 64, .dropout = 0, .pre_norm = true});
  optim::AdamW opt(model.parameters(), {.lr = 0.01});
  for (int i = 0; i < 3; ++i) {
    const Tensor x = randn({8, 64, 32});
    mean(square(model(x) - x)).backward();
    opt.step();
  }
  Values all;
  for (const Tensor& p : model.parameters())
    for (const double v : values(p)) all.push_back(v);
  return all;
}

Values drawn() {
  manual_seed(1);
  return values(sum(randn({2'000'000})));
}

Values product() {
  manual_seed(2);
  const Tensor a = randn({300, 200}), b = randn({200, 500});
  return values(matmul(a, b));
}

bool all_right(const Values& draws, const Values& products, const Values& weights) {
  return drawn() == draws && product() == products && trained() == weights;
}

}  // namespace

#if ATTUNE_FORKS

TEST_CASE("fork: the child draws, multiplies and trains after the parent did, and so does the child's child") {
  const int before = num_threads();
  for (const int threads : {1, 2, 4}) {
    CAPTURE(threads);
    set_num_threads(threads);
    const Values draws = drawn(), products = product(), weights = trained();
    CHECK(in_child([&] { return all_right(draws, products, weights); }) == 0);
    CHECK(in_child([&] {
            return all_right(draws, products, weights) &&
                   in_child([&] { return all_right(draws, products, weights); }) == 0;
          }) == 0);
    CHECK(in_child([&] {
            set_num_threads(3);
            std::atomic<int> done{0};
            parallel_for(100, 1, [&](std::int64_t, std::int64_t) { ++done; });
            return done == 100 && num_threads() == 3;
          }) == 0);
    CHECK(all_right(draws, products, weights));  // the parent goes on
  }
  set_num_threads(before);
}

TEST_CASE("fork: while other threads of the parent are inside loops, products and the memory pool") {
  const int before = num_threads();
  set_num_threads(3);
  const Values products = product();
  std::atomic<bool> stop{false};
  const auto busy = [&stop](auto work) {
    return std::thread([&stop, work] {
      while (!stop) work();
    });
  };
  std::thread loops = busy([] { parallel_for(64, 1, [](std::int64_t, std::int64_t) { (void)exp(full({50}, 1)); }); });
  std::thread gemms = busy([] { (void)matmul(full({100, 40}, 1), full({40, 90}, 1)); });
  std::thread blocks = busy([] { (void)empty({100'000}); });
  for (int i = 0; i < 40; ++i)
    CHECK(in_child([&] {
            const Tensor x = full({30'000}, 0.5).requires_grad_();
            sum(x * x).backward();
            return product() == products && x.grad().to_vector<double>() == Values(30'000, 1.0);
          }) == 0);
  stop = true;
  loops.join();
  gemms.join();
  blocks.join();
  CHECK(product() == products);
  set_num_threads(before);
}

TEST_CASE("fork: inside a loop, pieces that other threads had begun are lost in the child, which is told") {
  const int before = num_threads();
  set_num_threads(2);
  const auto pause = [](int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  const auto owner = std::this_thread::get_id();
  pid_t child = -1;
  std::atomic<bool> other_began{false};
  bool lost = false;
  try {
    parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
      if (std::this_thread::get_id() != owner) {
        other_began = true;
        return pause(200);
      }
      for (int i = 0; i < 10'000 && !other_began; ++i) pause(1);
      child = fork();
      if (child == 0) alarm(60);
    });
  } catch (const Error& e) {
    lost = std::string(e.what()).find("fork() inside a loop") != std::string::npos;
  }
  if (child == 0) {
    std::atomic<int> done{0};
    parallel_for(100, 1, [&](std::int64_t, std::int64_t) { ++done; });
    _exit(lost && done == 100 ? 0 : 1);
  }
  CHECK(other_began);
  CHECK(status_of_child(child) == 0);
  CHECK(!lost);
  set_num_threads(before);
}

TEST_CASE("fork: waits for a section, and a section for it") {
  std::mutex mutex;
  std::atomic<bool> stop{false};
  std::thread locker([&] {
    while (!stop) {
      const ForkSafeLock lock(mutex);
      const ForkSection nested;
    }
  });
  for (int i = 0; i < 200; ++i)
    CHECK(in_child([&] {
            if (!mutex.try_lock()) return false;  // as a plain mutex would be, sooner or later
            mutex.unlock();
            const ForkSafeLock lock(mutex);
            return true;
          }) == 0);
  stop = true;
  locker.join();
}

#endif

}  // namespace attune::tests
