// The tape's promises, one by one.

#include <doctest/doctest.h>
#include <pthread.h>

#include <cmath>
#include <thread>

#include "autograd/tape/op.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/sweep.h"
#include "autograd/tape/tape.h"
#include "autograd/tape/replay.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

std::int64_t live_blocks() { return memory_stats().live_blocks; }

/// An operation as a user would write it.
Tensor cube(const Tensor& x, Here here = Here::current()) {
  const Op op{"cube", here};
  op.check_floating(x);
  const auto value = [&] {
    const NoGrad off;
    return x * x * x;
  };
  return op.record(value(), of<cube>(x), "dx = 3 x^2 dy",
                   [x = Saved(x)](const Tensor& dy) { return 3 * square(x) * dy; });
}

}  // namespace

TEST_CASE("tape: records in order of execution and shows name, shape, rule and line") {
  const Tensor x = leaf({1, 2});
  const int line = __LINE__ + 1;
  const Tensor y = sum(x * x);
  const Tape tape = Tape::of(y);
  REQUIRE(tape.size() == 3);
  CHECK(tape[0].is_leaf());
  CHECK(std::string(tape[1].name()) == "mul");
  CHECK(std::string(tape[2].name()) == "sum");
  CHECK(tape[1].site().line == line);
  CHECK(tape[1].edges().size() == 2);  // x * x has two edges to one leaf
  CHECK(tape.index_of(tape[1].edges()[0].node.get()) == 0);
  CHECK(tape.index_of(tape[1].edges()[1].node.get()) == 0);
  CHECK(tape[0].sequence() < tape[1].sequence());
  CHECK(tape[1].sequence() < tape[2].sequence());
  CHECK(tape.str().find("%1 = mul(%0, %0) [2]  da = b dy, db = a dy  at tape.cpp:" + std::to_string(line)) !=
        std::string::npos);
}

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

TEST_CASE("tape: higher derivatives") {
  const Tensor x = leaf({0.7});
  const Tensor y = sum(sin(x) * exp(x));
  const Tensor d1 = grad({y}, {x}, {.create_graph = true})[0];
  const Tensor d2 = grad({sum(d1)}, {x}, {.create_graph = true})[0];
  const Tensor d3 = grad({sum(d2)}, {x}, {.create_graph = true})[0];
  const Tensor d4 = grad({sum(d3)}, {x})[0];
  const double e = std::exp(0.7), s = std::sin(0.7), c = std::cos(0.7);
  CHECK(d1.item() == doctest::Approx(e * (s + c)));
  CHECK(d2.item() == doctest::Approx(2 * e * c));
  CHECK(d3.item() == doctest::Approx(2 * e * (c - s)));
  CHECK(d4.item() == doctest::Approx(-4 * e * s));
}

TEST_CASE("tape: third derivatives through fused operations do not lose their saved statistics") {
  // Layer norm of two elements is a sign; with eps it is smooth: compare with finite differences of the second
  // derivative.
  const auto second = [](double v) {
    const Tensor x = leaf({v, 0.3, -0.8});
    const Tensor y = sum(square(layer_norm(x, {}, {}, 0.5)) * tensor({1, 2, 3}, float64));
    const Tensor d1 = grad({y}, {x}, {.create_graph = true})[0];
    return std::pair{x, grad({select(d1, 0, 0)}, {x}, {.create_graph = true})[0]};
  };
  const auto [x, d2] = second(0.4);
  const double third = select(grad({select(d2, 0, 0)}, {x})[0], 0, 0).item();
  const double h = 1e-5;
  const double numeric =
      (select(second(0.4 + h).second, 0, 0).item() - select(second(0.4 - h).second, 0, 0).item()) / (2 * h);
  CHECK(third == doctest::Approx(numeric).epsilon(1e-6));
}

TEST_CASE("tape: an in-place change of a saved tensor is refused, with both lines") {
  Tensor x = leaf({1, 2});
  const int recorded = __LINE__ + 1;
  const Tensor y = sum(x * x);
  int changed = 0;
  SUBCASE("directly") {
    const NoGrad off;
    changed = __LINE__ + 1;
    fill_(x, 5);
  }
  SUBCASE("through a view") {
    const NoGrad off;
    Tensor view = select(x.detach(), 0, 1);
    changed = __LINE__ + 1;
    mul_(view, 2);
  }
  SUBCASE("through its memory") {
    const NoGrad off;
    changed = __LINE__ + 1;
    x.mutable_data<double>()[0] = 9;
  }
  std::string what;
  try {
    y.backward();
  } catch (const GradError& e) {
    what = e.what();
  }
  CHECK(what == "mul: a tensor [2] that it saved for backward was changed in place\n  recorded at tape.cpp:" +
                    std::to_string(recorded) + "\n  changed at tape.cpp:" + std::to_string(changed));
}

TEST_CASE("tape: in-place changes are refused on recorded tensors, leaves and overlapping memory") {
  Tensor x = leaf({1, 2});
  Tensor y = x * 2;
  CHECK(refusal<GradError>([&] { fill_(y, 0); }).find("fill_: a recorded tensor (from mul at tape.cpp:") == 0);
  CHECK(refusal<GradError>([&] { add_(x, 1); }) ==
        "add_: a leaf that requires a gradient is changed in place only under NoGrad");
  Tensor wide = expand(zeros({1}), {3});
  CHECK(refusal<ShapeError>([&] { fill_(wide, 1); }) ==
        "fill_: the memory of [3] overlaps itself (it was expanded); change a clone");
  CHECK(values(x) == std::vector<double>{1, 2});
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

TEST_CASE("tape: grad mode belongs to the thread") {
  const NoGrad off;
  bool enabled = false;
  std::thread([&] { enabled = grad_enabled(); }).join();
  CHECK(enabled);
  CHECK_FALSE(grad_enabled());
  CHECK_FALSE((leaf({1}) * 2).requires_grad());
  const EnableGrad on;
  CHECK((leaf({1}) * 2).requires_grad());
}

TEST_CASE("tape: detach and requires_grad_") {
  Tensor x = leaf({1});
  CHECK_FALSE(x.detach().requires_grad());
  CHECK(x.detach().same_storage(x));
  Tensor y = x * 2;
  CHECK(refusal<GradError>([&] { y.requires_grad_(false); }).find("requires_grad_: the tensor was recorded by mul") ==
        0);
  Tensor i = zeros({2}, int64);
  CHECK(refusal<DTypeError>([&] { i.requires_grad_(); }) ==
        "requires_grad_: only floating tensors have gradients, not int64");
  CHECK(refusal<GradError>([&] { sum(x.detach()).backward(); }) ==
        "backward: the tensor [] requires no gradient (no input asked for one, or it was made under NoGrad)");
  CHECK(refusal<ShapeError>([&] {
          (leaf({1, 2}) * 2).backward();
        }) == "backward: needs a tensor of one element or a cotangent, got [2]");
}

TEST_CASE("tape: an undefined tensor is refused at the line that asks it") {
  Tensor none;
  const auto line_of = [](const auto& f) {
    try {
      f();
    } catch (const ValueError& e) {
      const std::string what = e.what();
      CHECK(what.find("tensor: undefined (default-constructed, or a gradient that was never computed)\n  at ") == 0);
      return e.where().line;
    }
    return 0;
  };
  const int line = __LINE__;
  CHECK(line_of([&] { none.data<float>(); }) == line + 1);
  CHECK(line_of([&] { none.mutable_data<float>(); }) == line + 2);
  CHECK(line_of([&] { none.item(); }) == line + 3);
  CHECK(line_of([&] { none.size(0); }) == line + 4);
  CHECK(line_of([&] { none.requires_grad_(); }) == line + 5);
  CHECK(line_of([&] { none.set_grad({}); }) == line + 6);
}

TEST_CASE("tape: grad() touches no leaf, prunes, and says what is unused") {
  const Tensor x = leaf({3}), z = leaf({4});
  const Tensor y = x * x, w = sum(y * 2);
  const Tensors g = grad({w}, {y, x});
  CHECK(g[0].item() == 2);
  CHECK(g[1].item() == 12);
  CHECK_FALSE(x.grad().defined());
  CHECK(refusal<GradError>([&] { grad({sum(x * 2)}, {z}); }) ==
        "grad: no output depends on input 0 [1] (allow_unused = true gives an undefined tensor instead)");
  CHECK_FALSE(grad({sum(x * 2)}, {z}, {.allow_unused = true})[0].defined());
}

TEST_CASE("tape: operations of users are like the library's own") {
  const Tensor x = leaf({0.5, -2});
  CHECK(gradcheck([](const Tensors& in) { return Tensors{cube(in[0])}; }, {x}) == "");
  const int line = __LINE__ + 1;
  const std::string what = refusal<DTypeError>([] { cube(zeros({2}, int32)); });
  CHECK(what == "cube: needs float32 or float64, got int32 [2]");
  try {
    cube(zeros({2}, int32));
  } catch (const DTypeError& e) {
    CHECK(e.where().line == line + 3);
  }
}

TEST_CASE("tape: a wrong gradient is found, and said where") {
  const auto wrong = [](const Tensors& in) {
    const Op op{"wrong", Here::current()};
    const auto value = [&] {
      const NoGrad off;
      return 2 * in[0];
    };
    return Tensors{op.record(value(), of<cube>(in[0]), "", [](const Tensor& dy) { return 3 * dy; })};
  };
  const std::string what = gradcheck(wrong, {tensor({1.0}, float64).requires_grad_()});
  CHECK(what.find("gradcheck: input 0 [1], element 0: the gradient is ") == 0);
  CHECK(what.find("(wrong at tape.cpp:") != std::string::npos);
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

TEST_CASE("tape: threads with shared parameters each have their own graph") {
  const Tensor w = leaf({2});
  std::vector<double> results(8);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) results[t] = grad({sum(w * w * static_cast<double>(t))}, {w})[0].item();
    });
  for (std::thread& t : threads) t.join();
  for (std::size_t t = 0; t < results.size(); ++t) CHECK(results[t] == 4 * static_cast<double>(t));
}

namespace {

Tensor negated_gradient(const Tensor& x, Here here = Here::current()) {
  const Op op{"negated_gradient", here};
  return op.record(x, of<negated_gradient>(x), "dx = -dy", [](const Tensor& dy) { return -dy; });
}

}  // namespace

TEST_CASE("an operation may return its input: the input keeps its place on the tape") {
  const Tensor x = tensor({1, 2}).requires_grad_();
  const Tensor y = negated_gradient(x);
  CHECK(x.is_leaf());
  CHECK_FALSE(y.is_leaf());
  const Tensor h = x * 2;
  const Tensor z = negated_gradient(h);
  CHECK(std::string(h.node()->name()) == "mul");
  sum(z + h).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0});
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
