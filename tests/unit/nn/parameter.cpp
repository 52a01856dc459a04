// Parameter and Buffer: what assigning to a member does, where a parameter goes as a tensor, and conversion in place.

#include <filesystem>
#include <type_traits>

#include "optim/optim.h"
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Model : nn::Module {
  nn::Linear& a = child<nn::Linear>("a", 4, 8);
  nn::Linear& b = child<nn::Linear>("b", 8, 1, nn::LinearOptions{.bias = false});
  nn::Parameter& scale = parameter("scale", ones({8}));
  nn::Buffer& seen = buffer("seen", zeros({2}));
  Tensor operator()(const Tensor& x) const { return b(relu(a(x)) * scale); }
};

std::string error_line(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return Here{e.where()}.str();
  }
  return "nothing thrown";
}

/// One step of gradient descent on the model's output.
void train(Model& m, optim::Optimizer& opt) {
  sum(m(ones({3, 4}, m.a.weight.dtype()))).backward();
  opt.step();
}

}  // namespace

// The kind of mistake that must not compile: a handle for a place, and a place without its module.
static_assert(!std::is_convertible_v<nn::Parameter&, Tensor&> && std::is_convertible_v<nn::Parameter&, const Tensor&>);
static_assert(!std::is_convertible_v<nn::Buffer&, Tensor&> && !std::is_convertible_v<nn::Buffer&, nn::Parameter&>);
static_assert(!std::is_copy_constructible_v<nn::Parameter> && !std::is_move_constructible_v<nn::Parameter>);
static_assert(!std::is_constructible_v<nn::Parameter, Tensor>);

TEST_CASE("parameter: assigning gives values, and the member is trained on") {
  const std::string file = (std::filesystem::temp_directory_path() / "attune_parameter_test.npy").string();
  save_npy(file, full({8, 4}, 0.25));
  using Assign = std::function<void(Model&)>;
  const std::vector<std::pair<const char*, Assign>> cases{
      {"expression",
       [](Model& m) {
         m.a.weight = randn({8, 4}) * 0.02;
       }},
      {"file", [&](Model& m) { m.a.weight = load_npy(file); }},
      {"itself, under NoGrad",
       [](Model& m) {
         const NoGrad off;
         m.a.weight = m.a.weight * 2;
       }},
      {"another's", [](Model& m) { m.a.weight = Model().a.weight; }},
      {"a handle", [](Model& m) { m.a.weight = Model().parameters()[1]; }},
      {"a leaf",
       [](Model& m) {
         m.a.weight = randn({8, 4}).requires_grad_();
       }},
      {"a view",
       [](Model& m) {
         m.a.weight = transpose(randn({4, 8}));
       }},
      {"factor", [](Model& m) { m.a.weight *= 0.5; }},
      {"sum",
       [](Model& m) {
         m.a.weight += randn({8, 4}), m.a.weight -= 1, m.a.weight /= 2;
       }},
      {"in place",
       [](Model& m) {
         const NoGrad off;
         fill_(m.a.weight, 0.5), add_(m.a.weight, 1), mul_(m.a.weight, 0.5), copy_(m.a.weight, m.a.weight);
         uniform_(m.a.weight, 0, 1), normal_(m.a.weight, 0, 1);
       }},
      {"initialiser", [](Model& m) { nn::init::xavier_uniform_(m.a.weight); }}};
  for (const auto& [name, assign] : cases)
    for (const bool before : {true, false}) {
      const std::string which = name;  // clang 14 captures no binding
      CAPTURE(which);
      CAPTURE(before);
      manual_seed(3);
      Model m;
      const TensorImpl* impl = m.a.weight.impl();
      const std::uint32_t version = m.a.weight.version();
      std::unique_ptr<optim::SGD> opt;
      if (before) opt = std::make_unique<optim::SGD>(m.parameters());
      assign(m);
      CHECK(m.a.weight.version() > version);
      if (!before) opt = std::make_unique<optim::SGD>(m.parameters());
      CHECK(m.a.weight.impl() == impl);
      CHECK((m.a.weight.requires_grad() && m.a.weight.is_leaf()));
      nn::init::ones_(m.b.weight);
      m.a.bias() = full({8}, 3);
      const Values start = m.a.weight.to_vector<double>();
      train(m, *opt);
      CHECK(m.a.weight.to_vector<double>() != start);
    }
  std::filesystem::remove(file);
}

TEST_CASE("parameter: what does not fit is refused at its line, by the parameter's path, and changes nothing") {
  struct Outer : nn::Module {
    Model& inner = child<Model>("inner");
  };
  Outer m;
  const Values before = m.inner.a.weight.to_vector<double>();
  const std::string at = "parameter.cpp:";
  CHECK(thrown([&] {
          m.inner.a.weight = randn({8, 3});
        }) == "ShapeError: inner.a.weight: is [8, 4] float32, and [8, 3] float32 was assigned");
  CHECK(thrown([&] { m.inner.a.weight = zeros({1}); }).starts_with("ShapeError"));  // nothing broadcasts
  CHECK(thrown([&] { m.inner.a.weight = zeros({8, 4}, float64); }).starts_with("DTypeError: inner.a.weight: is"));
  CHECK(thrown([&] { m.inner.a.weight = Tensor(); }) == "ValueError: inner.a.weight: an undefined tensor was assigned");
  CHECK(thrown([&] { m.inner.a.weight = m.inner.b.weight; }).starts_with("ShapeError: inner.a.weight: is"));
  CHECK(thrown([&] { m.inner.a.weight = m.inner.a.weight * 2; }).starts_with("GradError: inner.a.weight: the value"));
  CHECK(thrown([&] { m.inner.a.weight *= m.inner.scale * ones({8, 1}); }).starts_with("GradError: inner.a.weight"));
  CHECK(thrown([&] { m.inner.scale += ones({4, 8}); }).starts_with("ShapeError: inner.scale: is [8] float32"));
  CHECK(thrown([&] { m.inner.b.bias() = zeros({1}); }) ==
        "ValueError: inner.b.bias: there is none: the module was made without it");
  CHECK(thrown([&] { m.inner.seen = zeros({3}); }).starts_with("ShapeError: inner.seen: is [2] float32"));
  CHECK(thrown([&] { m.inner.seen = 2 * sum(m.inner.scale) * ones({2}); }).starts_with("GradError: inner.seen"));
  CHECK(thrown([&] { m.inner.b.weight.tie(m.inner.a.weight); }).starts_with("ShapeError: inner.b.weight"));
  CHECK(m.inner.a.weight.to_vector<double>() == before);
  CHECK(!m.inner.b.bias().defined());

  CHECK(error_line([&] { m.inner.a.weight = randn({8, 3}); }) == at + std::to_string(__LINE__));
  CHECK(error_line([&] { m.inner.a.weight = m.inner.b.weight; }) == at + std::to_string(__LINE__));
  CHECK(error_line([&] { m.inner.a.weight = m.inner.a.weight * 2; }) == at + std::to_string(__LINE__));
  CHECK(error_line([&] { m.inner.a.weight *= zeros({3}); }) == at + std::to_string(__LINE__));
  CHECK(error_line([&] { m.inner.seen = Tensor(); }) == at + std::to_string(__LINE__));
}

TEST_CASE("parameter: a backward pass that had saved the old values refuses, at both lines") {
  Model m;
  const Tensor loss = sum(m(ones({3, 4})));
  m.b.weight = ones({1, 8});
  const int line = __LINE__ - 1;
  std::string text;
  try {
    loss.backward();
  } catch (const GradError& e) {
    text = e.what();
  }
  CHECK(text.find("was changed in place") != std::string::npos);
  CHECK(text.find("changed at parameter.cpp:" + std::to_string(line)) != std::string::npos);
}

TEST_CASE("parameter: goes where a tensor goes") {
  Model m;
  const Tensor x = ones({3, 8});
  CHECK(same((m.scale * 2).detach(), {8}, Values(8, 2)));
  CHECK(same((2 - m.scale).detach(), {8}, Values(8, 1)));
  CHECK(same((m.scale + m.scale).detach(), {8}, Values(8, 2)));
  CHECK(same((-m.scale).detach(), {8}, Values(8, -1)));
  CHECK(same((x * m.scale).detach(), {3, 8}, Values(24, 1)));
  CHECK(matmul(x, transpose(m.b.weight)).shape() == Shape{3, 1});
  CHECK(maximum(m.scale, 2).detach().to_vector<double>() == Values(8, 2));
  CHECK(same(eq(m.scale, 1), {8}, Values(8, 1)));
  const Tensors both{m.scale, x};
  CHECK(both[0].impl() == m.scale.impl());
  CHECK(cat({reshape(m.scale, {1, 8}), x}, 0).shape() == Shape{4, 8});
  const Tensor handle = m.scale, direct(m.scale);
  CHECK((handle.impl() == m.scale.impl() && direct.impl() == m.scale.impl()));
  const Tensor chosen = m.b.bias().defined() ? m.b.bias() : Tensor();
  CHECK(!chosen.defined());
  sum(square(m.scale)).backward();
  CHECK(same(m.scale.grad(), {8}, Values(8, 2)));
  m.scale.zero_grad();
  CHECK(!m.scale.grad().defined());
  m.scale.requires_grad_(false);
  CHECK(!(m.scale * 2).requires_grad());
  m.scale.requires_grad_();
  CHECK(m.scale.requires_grad());
  int calls = 0;
  const int id = m.scale.register_hook([&](const Tensor&) { return ++calls, Tensor(); });
  sum(m.scale).backward();
  m.scale.remove_hook(id);
  sum(m.scale).backward();
  CHECK(calls == 1);
  CHECK((m.scale.size(-1) == 8 && m.scale.numel() == 8 && m.scale.rank() == 1 && m.scale.is_contiguous()));
  CHECK(m.a.weight.path() == "a.weight");
}

TEST_CASE("parameter: a buffer is assigned to while a module runs") {
  struct Counter : nn::Module {
    nn::Buffer& count = buffer("count", zeros({}, int64));
    nn::Buffer& mean = buffer("mean", zeros({3}));
    Tensor operator()(const Tensor& x) {
      count = count + 1;
      mean = 0.5 * mean + 0.5 * attune::mean(x.detach(), {0});
      return x - mean;
    }
  };
  Counter m;
  const Tensor x = ones({2, 3}).requires_grad_();
  for (int i = 0; i < 3; ++i) sum(m(x) * x).backward();
  CHECK(m.count.item() == 3);
  CHECK(same(m.state_dict().at("mean"), {3}, Values(3, 0.875)));
}

TEST_CASE("parameter: stand-ins are not assigned to") {
  Model m;
  Tensors values;
  for (const Tensor& p : m.parameters()) values.push_back(2 * p);
  const Values before = m.scale.to_vector<double>();
  CHECK(thrown([&] {
          m.with_parameters(values, [&]() -> Tensors {
            m.scale = zeros({8});
            return {};
          });
        }).starts_with("GradError: copy_: a recorded tensor"));
  CHECK(m.scale.to_vector<double>() == before);
}

TEST_CASE("parameter: conversion in place keeps an optimiser's parameters") {
  manual_seed(4);
  Model m;
  nn::init::ones_(m.b.weight);
  m.a.bias() = ones({8});
  optim::SGD opt(m.parameters(), {.lr = 0.5});
  int calls = 0;
  m.scale.register_hook([&](const Tensor&) { return ++calls, Tensor(); });
  const TensorImpl* impl = m.scale.impl();
  m.to(float64);
  CHECK((m.scale.impl() == impl && m.scale.dtype() == float64 && m.seen.dtype() == float64));
  const Values before = m.scale.to_vector<double>();
  train(m, opt);
  CHECK(m.scale.to_vector<double>() != before);
  CHECK(calls == 1);

  // A gradient is converted with its parameter.
  sum(m(ones({3, 4}, float64))).backward();
  const Values gradient = m.scale.grad().to_vector<double>();
  m.to(float32);
  CHECK((m.scale.grad().dtype() == float32 && m.scale.dtype() == float32));
  const Values rounded = m.scale.grad().to_vector<double>();
  for (std::size_t i = 0; i < gradient.size(); ++i)
    CHECK(rounded[i] == static_cast<double>(static_cast<float>(gradient[i])));
  m.scale.requires_grad_(false);
  m.to(float64);
  CHECK(!m.scale.requires_grad());
  CHECK((m.a.weight.requires_grad() && m.a.weight.is_leaf()));
}

TEST_CASE("parameter: what was recorded before a conversion is refused") {
  const auto refused = [](const std::function<Tensor(Model&)>& record, bool frozen = false) {
    Model m;
    if (frozen) m.requires_grad_(false);
    const Tensor loss = record(m);
    m.to(float64);
    const std::string what = thrown([&] { loss.backward(); });
    CHECK(!m.scale.grad().defined());
    return what;
  };
  const Tensor x = ones({3, 4}).requires_grad_();
  CHECK(refused([&](Model& m) { return sum(m(x)); }).find("was changed in place") != std::string::npos);
  CHECK(refused([&](Model& m) { return sum(m(x)); }, true).find("was changed in place") != std::string::npos);
  CHECK(refused([&](Model& m) { return sum(m.scale + 1); }) ==
        "GradError: backward: a leaf [8] float32 was converted to another dtype since this was recorded");
  CHECK(!x.grad().defined());
}
TEST_CASE("parameter: subscripts, and operations that are found by their argument") {
  struct Net : nn::Module {
    nn::Parameter& w = parameter("w", tensor({{1, 2}, {3, 4}}, float64));
  } net;
  CHECK(net.w[1][0].item() == 3);
  CHECK(pad(net.w, 1, 1, 0).shape() == Shape{2, 3});
  CHECK(chunk(net.w, 2).size() == 2);
  CHECK(all(net.w > 0));
  {
    const NoGrad off;
    net.w[0] = tensor({7, 8}, float64);
  }
  CHECK(net.w[0][1].item() == 8);
  CHECK_THROWS_AS((net.w[0] = zeros({2}, float64)), GradError);
}
