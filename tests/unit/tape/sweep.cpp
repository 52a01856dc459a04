// The reverse sweep: its steps, what it frees and keeps, hooks, and gradients that accumulate.

#include <doctest/doctest.h>
#include <pthread.h>

#include <cmath>

#include "autograd/tape/grad.h"
#include "autograd/tape/sweep.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

std::int64_t live_blocks() { return memory_stats().live_blocks; }

}  // namespace

TEST_CASE("tape: a step of the sweep at a time, with every gradient in sight") {
  const Tensor x = leaf({3});
  const Tensor y = x * x, z = sum(y * y);
  Sweep sweep(z, {.keep_history = true});
  std::vector<std::string> order;
  Tensors seen;
  while (const Node* n = sweep.next()) {
    order.push_back(n->name());
    seen.push_back(sweep.pending(n));
    sweep.step();
  }
  CHECK(order == std::vector<std::string>{"sum", "mul", "mul", "leaf"});
  CHECK(values(seen[0]) == std::vector<double>{1});
  CHECK(values(seen[2]) == std::vector<double>{18});  // dz/dy = 2 y
  CHECK(values(seen[3]) == std::vector<double>{108});
  CHECK(values(x.grad()) == std::vector<double>{108});
  CHECK_FALSE(sweep.step());
}

TEST_CASE("tape: what a step received and sent is there until the next one, and handles keep their values") {
  for (const bool keep_history : {false, true}) {
    const Tensor x = leaf({3}), w = leaf({1, 2});
    const Tensor y = x * w, z = sum(y * y * y + y);
    Sweep sweep(z, {.keep_history = keep_history});
    std::vector<std::vector<double>> received, sent;
    Tensors kept;
    std::vector<std::vector<double>> kept_values;
    while (const Node* n = sweep.next()) {
      sweep.step();
      REQUIRE(sweep.received().size() == 1);
      CHECK(sweep.sent().size() == n->edges().size());
      for (const Tensors* list : {&sweep.received(), &sweep.sent()})
        for (const Tensor& g : *list) kept.push_back(g), kept_values.push_back(values(g));
    }
    // y's mul receives dz/dy = 3 y^2 + 1 and sends dx, its broadcast undone, and dw; the leaves receive them.
    const std::size_t n = kept.size();
    REQUIRE(n > 5);
    CHECK(kept_values[n - 5] == std::vector<double>{28, 109});
    CHECK(kept_values[n - 4] == std::vector<double>{28 + 2 * 109});
    CHECK(kept_values[n - 3] == std::vector<double>{3 * 28, 3 * 109});
    CHECK(kept_values[n - 2] == kept_values[n - 3]);
    CHECK(kept_values[n - 1] == kept_values[n - 4]);
    sum(x * w).backward();  // accumulates into the leaves, not into what was seen
    for (std::size_t i = 0; i < n; ++i) CHECK(values(kept[i]) == kept_values[i]);
    CHECK(values(x.grad()) == std::vector<double>{28 + 2 * 109 + 3});
  }
}

TEST_CASE("tape: a chain of a million operations under a stack of 256 KiB, backward and destruction") {
  const auto work = [](void* failed) -> void* {
    const Tensor a = scalar(1.0).requires_grad_();
    Tensor y = a * 1;
    for (int i = 0; i < 1'000'000; ++i) y = y + a;
    y.backward();
    *static_cast<bool*>(failed) = a.grad().item() != 1'000'001;
    y = Tensor();
    Tensor dropped = a * 1;
    for (int i = 0; i < 1'000'000; ++i) dropped = dropped + 1;  // destroyed without a backward pass
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  REQUIRE(pthread_attr_setstacksize(&attributes, 256 << 10) == 0);
  pthread_t thread;
  bool failed = true;
  REQUIRE(pthread_create(&thread, &attributes, work, &failed) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  CHECK_FALSE(failed);
}

TEST_CASE("tape: dropped graphs are freed, with and without a backward pass, recorded or not") {
  const std::int64_t before = live_blocks();
  {
    const Tensor x = leaf({1, 2, 3});
    const std::int64_t with_leaf = live_blocks();
    { const Tensor y = sum(exp(x) * x); }
    CHECK(live_blocks() == with_leaf);
    {
      const Tensor y = sum(exp(x) * x);
      y.backward();
    }
    Tensor same = x;
    same.zero_grad();
    CHECK(live_blocks() == with_leaf);
    // Gradients with a history of their own, kept in the leaf, must not own the leaf in turn.
    const Tensor y = sum(x * x * x);
    y.backward({.create_graph = true});
    CHECK(x.grad().requires_grad());
    const Tensor g = grad({sum(x.grad())}, {x})[0];
    CHECK(values(g) == std::vector<double>{6, 12, 18});
  }
  CHECK(live_blocks() == before);
}

TEST_CASE("tape: saved tensors go as the sweep passes") {
  const Tensor x = randn({1 << 16}, float64).requires_grad_();
  const Tensor y = sum(exp(exp(exp(x * 0.1))));
  const std::int64_t before = memory_stats().live_bytes;
  y.backward();
  // Three saved outputs of exp and one factor leave, one gradient stays.
  CHECK(memory_stats().live_bytes < before - 2 * (1 << 16) * 8 + 4096);
}

TEST_CASE("tape: a second backward pass needs retain_graph") {
  const Tensor x = leaf({2});
  const Tensor y = sum(x * x);
  y.backward({.retain_graph = true});
  y.backward();
  CHECK(values(x.grad()) == std::vector<double>{8});
  CHECK(refusal<GradError>([&] { y.backward(); }) ==
        "sum: the graph was freed by an earlier backward pass; give that one retain_graph = true to run it again");
}

TEST_CASE("tape: gradients accumulate, and never share memory with other tensors") {
  const Tensor x = leaf({1, 2}), z = leaf({3, 4});
  const Tensor cotangent = tensor({10, 20}, float64);
  (x + z).backward({.gradient = cotangent});
  CHECK_FALSE(x.grad().same_storage(z.grad()));
  CHECK_FALSE(x.grad().same_storage(cotangent));
  const Tensor kept = x.grad();
  (x + z).backward({.gradient = cotangent});
  CHECK(values(x.grad()) == std::vector<double>{20, 40});
  CHECK(values(kept) == std::vector<double>{10, 20});  // a handle taken earlier keeps its value
  CHECK(values(cotangent) == std::vector<double>{10, 20});
}

TEST_CASE("tape: hooks see the whole gradient and may replace it") {
  Tensor x = leaf({1});
  Tensor y = x * 3;
  y.retain_grad();
  std::vector<double> seen;
  const int id = y.register_hook([&](const Tensor& g) {
    seen.push_back(g.item());
    return g * 10;
  });
  const Tensor z = sum(y * y + y);
  z.backward({.retain_graph = true});
  CHECK(seen == std::vector<double>{7});
  CHECK(y.grad().item() == 70);
  CHECK(x.grad().item() == 210);
  y.remove_hook(id);
  x.zero_grad();
  z.backward({.retain_graph = true});
  CHECK(x.grad().item() == 21);
  y.register_hook([](const Tensor&) { return zeros({2}, float64); });
  CHECK(refusal<GradError>([&] { z.backward(); }) ==
        "mul: a hook returned a gradient [2] float64 for a tensor [1] float64");
}

TEST_CASE("tape: a hook that captures its own tensor is refused, and a graph's hooks go with the graph") {
  const std::int64_t live = memory_stats().live_blocks;
  {
    Tensor x = leaf({1});
    Tensor y = x * 3;
    const std::string refused =
        "register_hook: the hook captures the tensor [1] that it is registered on, so that neither would ever be "
        "freed; "
        "let it use its argument, or capture detach()";
    for (Tensor* t : {&x, &y}) {
      CHECK(refusal<GradError>([&] { t->register_hook([t = *t](const Tensor& g) { return g * t; }); }) == refused);
      CHECK(refusal<GradError>(
                [&] { t->register_hook([list = Tensors{*t}](const Tensor& g) { return g * list[0]; }); }) == refused);
      t->register_hook([value = t->detach()](const Tensor& g) { return g * value; });
    }
    const Tensor z = y * y;
    y.register_hook([z](const Tensor& g) { return g * z; });  // z holds y's node, and y's node this hook
    z.backward();
    CHECK(x.grad().item() == 6 * 3 * 9 * 3);
  }
  CHECK(memory_stats().live_blocks == live);
}

TEST_CASE("tape: backward inside backward") {
  const Tensor x = leaf({2});
  Tensor y = x * x;
  Tensor shared = exp(x);
  y.register_hook([&](const Tensor& g) {
    const EnableGrad on;
    sum(shared * shared).backward({.retain_graph = true});  // reaches the same leaf while the outer sweep is on its way
    return g;
  });
  sum(y + shared).backward({.retain_graph = true});
  CHECK(x.grad().item() == doctest::Approx(4 + std::exp(2.0) + 2 * std::exp(4.0)));
}

TEST_CASE("tape: an exhausted memory budget throws before anything changes") {
  const Tensor x = randn({256, 256}).requires_grad_();
  const std::vector<double> before = values(x);
  set_memory_budget(memory_stats().live_bytes + (64 << 10));
  CHECK(refusal<MemoryError>([&] { sum(matmul(x, x)).backward(); }).find("matmul: memory: ") == 0);
  set_memory_budget(0);
  CHECK(values(x) == before);
  CHECK_FALSE(x.grad().defined());
  sum(matmul(x, x)).backward();
  CHECK(x.grad().defined());
}

TEST_CASE("gradients of a recorded sweep share no memory, and a kept one does not keep its graph") {
  const Tensor a = tensor({1, 2}).requires_grad_(), b = tensor({3, 4}).requires_grad_(), c = tensor({5, 6});
  (a + b).backward({.gradient = c, .create_graph = true});
  CHECK_FALSE(a.grad().same_storage(b.grad()));
  CHECK_FALSE(a.grad().same_storage(c));
  const std::int64_t live = memory_stats().live_blocks;
  for (int i = 0; i < 10; ++i) {
    const Tensor x = tensor({1, 2}).requires_grad_();
    Tensor y = x * x;
    y.retain_grad();
    sum(y * y * y).backward({.create_graph = true});
  }
  CHECK(memory_stats().live_blocks == live);
}

}  // namespace attune::tests
