// What optimisers keep: counts of each parameter, states in memory and in files, all or nothing, frozen parameters.

#include <doctest/doctest.h>

#include <limits>
#include <type_traits>

#include "autograd/runtime/memory.h"
#include "autograd/runtime/parallel.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

/// Everything that a step or a load may change.
std::map<std::string, std::vector<double>> snapshot(const optim::Optimizer& opt, const Tensors& parameters) {
  std::map<std::string, std::vector<double>> all;
  for (const auto& [name, x] : opt.state_dict()) all[name] = values(x);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    all["value " + std::to_string(i)] = values(parameters[i]);
    if (parameters[i].grad().defined()) all["gradient " + std::to_string(i)] = values(parameters[i].grad());
  }
  return all;
}

/// No tensor of more than `bytes` can be made while this lives.
struct Budget {
  explicit Budget(std::int64_t bytes) { set_memory_budget(memory_stats().live_bytes + bytes); }
  ~Budget() { set_memory_budget(0); }
};

constexpr std::int64_t large = 1 << 18;

/// Optimisers of the same parameters, one after the other: f(name, make), make(groups) -> unique_ptr.
template <class F>
void each_optimizer(F&& f) {
  const auto of = [&]<class O, class Options>(const char* name, std::type_identity<O>, const Options& options) {
    f(name, [=](std::vector<optim::Group> groups) -> std::unique_ptr<optim::Optimizer> {
      return std::make_unique<O>(std::move(groups), options);
    });
  };
  of("SGD", std::type_identity<optim::SGD>{}, optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.3});
  of("Adam", std::type_identity<optim::Adam>{}, optim::AdamOptions{.lr = 0.1});
  of("AdamW", std::type_identity<optim::AdamW>{}, optim::AdamWOptions{.lr = 0.1});
  of("Adadelta", std::type_identity<optim::Adadelta>{}, optim::AdadeltaOptions{});
  of("AMSGrad", std::type_identity<optim::AdamW>{}, optim::AdamWOptions{.lr = 0.1, .amsgrad = true});
  of("RMSprop", std::type_identity<optim::RMSprop>{}, optim::RMSpropOptions{.momentum = 0.9, .centered = true});
  of("Adagrad", std::type_identity<optim::Adagrad>{}, optim::AdagradOptions{.lr = 0.1, .initial_accumulator = 0.1});
  of("Adafactor", std::type_identity<optim::Adafactor>{}, optim::AdafactorOptions{.lr = 0.1, .beta1 = 0.5});
}

}  // namespace

TEST_CASE("optim: a step that runs out of memory changes nothing") {
  each_optimizer([](const char* name, auto make) {
    CAPTURE(name);
    Tensor a = ones({4}).requires_grad_(), b = ones({512, 512}).requires_grad_();
    const auto opt = make({{.parameters = {a}}, {.parameters = {b}}});
    a.set_grad(ones({4}));
    b.set_grad(transpose(ones({512, 512}), 0, 1));  // which a step has to make dense
    const auto before = snapshot(*opt, {a, b});
    {
      const Budget budget(large);
      CHECK_THROWS_AS(opt->step(), MemoryError);
    }
    CHECK(opt->steps() == 0);
    CHECK(snapshot(*opt, {a, b}) == before);
    opt->step();
    CHECK(opt->steps() == 1);
    CHECK(values(a)[0] != 1);
    CHECK(values(b)[7] != 1);
  });
}

TEST_CASE("optim: a state that runs out of memory on its way in changes nothing") {
  const auto made = [](DType dtype) {
    Tensors p{ones({4}, dtype).requires_grad_(), ones({512, 512}, dtype).requires_grad_()};
    return p;
  };
  Tensors doubles = made(float64), floats = made(float32);
  optim::AdamW from(doubles), to(floats);
  for (Tensor& p : doubles) p.set_grad(ones_like(p));
  for (Tensor& p : floats) p.set_grad(full_like(p, 3));
  from.step();
  to.step();
  const auto state = from.state_dict();
  const auto before = snapshot(to, floats);
  {
    const Budget budget(large);
    CHECK_THROWS_AS(to.load_state_dict(state), MemoryError);
  }
  CHECK(snapshot(to, floats) == before);
  to.load_state_dict(state);
  CHECK(to.state_dict().at("1.exp_avg").dtype() == float32);
  CHECK(values(to.state_dict().at("0.exp_avg"))[0] == doctest::Approx(0.1));
  for (Tensor& p : doubles) p.set_grad(ones_like(p));
  from.step();
  CHECK(values(to.state_dict().at("0.exp_avg"))[0] == doctest::Approx(0.1));  // a copy
}

TEST_CASE("optim: a parameter whose gradients begin late is at its own first step") {
  each_optimizer([](const char* name, auto make) {
    CAPTURE(name);
    const auto gradient = [](int t) { return tensor({0.5 * t, -1.0 * t}, float64); };
    Tensor a = ones({2}, float64).requires_grad_(), late = ones({2}, float64).requires_grad_(),
           fresh = ones({2}, float64).requires_grad_();
    const auto both = make({{.parameters = {a, late}}}), alone = make({{.parameters = {fresh}}});
    for (int t = 1; t <= 7; ++t) {
      a.set_grad(gradient(t));
      if (t >= 5) {
        late.set_grad(gradient(t));
        fresh.set_grad(gradient(t));
        alone->step();
      }
      both->step();
      CHECK(values(late) == values(fresh));
    }
    CHECK(both->steps() == 7);
    CHECK(both->state_dict().at("0.step").item() == 7);
    CHECK(both->state_dict().at("1.step").item() == 3);
  });
}

TEST_CASE("optim: frozen parameters are taken, stay as they are, and train once they are thawed") {
  nn::Linear model(3, 2);
  Tensor frozen = model.bias();
  frozen.requires_grad_(false);
  optim::AdamW opt(model.parameters(), {.lr = 0.1});
  const std::vector<double> bias = values(frozen), weight = values(model.weight);
  const auto train = [&] {
    sum(square(model(ones({4, 3})))).backward();
    opt.step();
  };
  train();
  CHECK(values(frozen) == bias);
  CHECK(values(model.weight) != weight);
  CHECK_FALSE(opt.state_dict().contains("bias.exp_avg"));
  CHECK(opt.state_dict().at("bias.step").item() == 0);
  frozen.requires_grad_();
  train();
  CHECK(values(frozen) != bias);
  CHECK(opt.state_dict().at("bias.step").item() == 1);
}

TEST_CASE("optim: what was saved while frozen loads when thawed, and the other way round") {
  Tensor a = ones({2}).requires_grad_(), b = ones({2});
  optim::Adam before({a, b});
  a.set_grad(ones({2}));
  before.step();
  b.requires_grad_();
  optim::Adam after({a, b});
  b.set_grad(ones({2}));
  after.step();
  after.load_state_dict(before.state_dict());
  CHECK(after.state_dict().at("0.step").item() == 1);
  CHECK(after.state_dict().at("1.step").item() == 0);
  CHECK_FALSE(after.state_dict().contains("1.exp_avg"));
  b.set_grad(ones({2}));
  after.step();
  before.load_state_dict(after.state_dict());
  CHECK(values(before.state_dict().at("1.exp_avg"))[0] == doctest::Approx(0.1));
}

TEST_CASE("optim: a saved state continues with the same bits") {
  each_optimizer([](const char* name, auto make) {
    CAPTURE(name);
    const auto fresh = [] {
      manual_seed(3);
      return std::make_unique<nn::Linear>(3, 2);
    };
    const auto optimizer = [&](nn::Linear& m) {
      return make({{.parameters = {m.weight}, .lr = 0.2}, {.parameters = {m.bias()}, .weight_decay = 0.0}});
    };
    const auto train = [](nn::Linear& model, optim::Optimizer& opt, int from, int to) {
      for (int i = from; i < to; ++i) {
        Generator g(static_cast<std::uint64_t>(i));
        sum(square(model(randn({4, 3}, float32, g)))).backward();
        if (i == 2) opt.set_lr(0.01, 1);
        opt.step();
      }
    };
    const Folder folder;
    const std::string path = folder / "state.safetensors";
    const auto whole = fresh(), first = fresh(), second = fresh();
    train(*whole, *optimizer(*whole), 0, 8);
    const auto half = optimizer(*first);
    train(*first, *half, 0, 4);
    half->save(path);
    second->load_state_dict(first->state_dict());
    const auto rest = optimizer(*second);
    rest->load(path);
    CHECK(rest->lr(1) == 0.01);
    train(*second, *rest, 4, 8);
    CHECK(values(whole->weight) == values(second->weight));
    CHECK(values(whole->bias()) == values(second->bias()));
  });
}

TEST_CASE("optim: the same bits at any number of threads") {
  each_optimizer([](const char* name, auto make) {
    CAPTURE(name);
    std::vector<std::vector<double>> seen;
    for (int threads : {1, 3}) {
      const int before = num_threads();
      set_num_threads(threads);
      Generator g(1);
      Tensors parameters;
      for (const Shape& shape : {Shape{700, 130}, Shape{90'001}, Shape{2, 3, 50}, Shape{7}, Shape{}, Shape{3, 0}})
        parameters.push_back(randn(shape, float32, g).requires_grad_());
      const auto opt = make({{.parameters = parameters}});
      for (int i = 0; i < 3; ++i) {
        for (Tensor& p : parameters) p.set_grad(randn(p.shape(), float32, g));
        optim::clip_grad_norm(parameters, 1);
        opt->step();
      }
      std::vector<double> all;
      for (const Tensor& p : parameters)
        for (double v : values(p)) all.push_back(v);
      seen.push_back(all);
      set_num_threads(before);
    }
    CHECK(seen[0] == seen[1]);
  });
}

TEST_CASE("optim: a batch of matrices is updated as its matrices, a long vector as its pieces") {
  Generator g(2);
  const Tensor start = randn({3, 40, 1000}, float64, g), slope = randn({3, 40, 1000}, float64, g);
  const optim::AdafactorOptions options{.relative_step = false, .scale_parameter = false, .clip = 1e9};
  Tensor whole = clone(start).requires_grad_();
  whole.set_grad(slope);
  optim::Adafactor({whole}, options).step();
  for (int k = 0; k < 3; ++k) {
    Tensor one = clone(select(start, 0, k)).requires_grad_();
    one.set_grad(clone(select(slope, 0, k)));
    optim::Adafactor({one}, options).step();
    CHECK(values(select(whole.detach(), 0, k)) == values(one));
  }
  // The root mean squares run over all of a vector: u = g / |g| in its first step.
  Tensor vector = full({100'000}, 2).requires_grad_();
  vector.set_grad(full({100'000}, 3));
  optim::Adafactor({vector}, {.lr = 0.01, .relative_step = false}).step();
  for (double v : values(vector)) REQUIRE(v == doctest::Approx(2 - 0.01 * 2));
}

TEST_CASE("optim: rates are set by group; what is out of range is refused and changes nothing") {
  Tensor a = ones({1}, float64).requires_grad_(), b = ones({1}, float64).requires_grad_();
  double factor = 1;
  optim::SGD opt(std::vector<optim::Group>{{.parameters = {a}}, {.parameters = {b}, .lr = 1.0}},
                 {.lr = 0.5, .schedule = [&](std::int64_t) { return factor; }});
  CHECK(opt.group_count() == 2);
  opt.set_lr(0.25);
  CHECK(opt.lr() == 0.25);
  CHECK(opt.lr(1) == 1);
  CHECK(refusal<IndexError>([&] { opt.lr(2); }) == "SGD: there is no group 2 among 2");
  CHECK(refusal<IndexError>([&] { opt.set_lr(1, 2); }) == "SGD: there is no group 2 among 2");
  CHECK(refusal<ValueError>([&] { opt.set_lr(-1); }) == "SGD: lr = -1.000000 is out of range");
  a.set_grad(ones({1}, float64));
  factor = std::numeric_limits<double>::quiet_NaN();
  CHECK(refusal<ValueError>([&] { opt.step(); }) == "SGD: the schedule's factor = nan is out of range");
  CHECK(opt.steps() == 0);
  CHECK(a.item() == 1);
  factor = 2;
  opt.step();
  CHECK(a.item() == 0.5);
}

TEST_CASE("optim: a state that does not fit is refused with everything that is wrong") {
  Tensor p = zeros({2}).requires_grad_(), q = zeros({2}).requires_grad_();
  optim::Adam opt({p, q});
  p.set_grad(ones({2}));
  opt.step();
  const auto before = snapshot(opt, {p, q});
  auto state = opt.state_dict();
  state.erase("0.exp_avg");
  state["0.exp_avg_sq"] = zeros({3});
  state["1.exp_avg"] = Tensor();
  state["2.exp_avg"] = zeros({3});
  state["step"] = scalar(-1, int64);
  state["lr"] = tensor({-1}, float64);
  std::string message;
  try {
    opt.load_state_dict(state);
  } catch (const ValueError& e) {
    message = e.what();
  }
  CHECK(message.substr(0, message.find("\n  at ")) ==
        "Adam: the state does not fit\n  negative: step\n  missing: 0.exp_avg\n  misshaped: 0.exp_avg_sq (expected [2] "
        "float32, found [3] float32)\n  misshaped: 1.exp_avg (expected [2] float32, found nothing)\n  missing: "
        "1.exp_avg_sq\n  unexpected: 2.exp_avg\n  out of range: lr");
  CHECK(snapshot(opt, {p, q}) == before);
}

}  // namespace attune::tests
