// Module: names, parameters, modes, states, and what the tape sees of a call.

#include <type_traits>

#include "tests/unit/nn/module_net.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// Opens what modules keep to themselves.
struct Open : nn::Module {
  using Module::buffer;
  using Module::child;
  using Module::parameter;
};

}  // namespace

static_assert(!std::is_copy_constructible_v<Net> && !std::is_move_constructible_v<Net> &&
              !std::is_copy_assignable_v<Net> && !std::is_move_assignable_v<Net>);

TEST_CASE("module: own parameters and buffers first, then the children's, by path") {
  Net net(2);
  CHECK(names_of(net.named_parameters()) == Names{"last", "layers.0.scale", "layers.0.up.weight", "layers.0.up.bias",
                                                  "layers.0.down.weight", "layers.1.scale", "layers.1.up.weight",
                                                  "layers.1.up.bias", "layers.1.down.weight"});
  CHECK(names_of(net.named_buffers()) ==
        Names{"layers.0.seen", "layers.0.scratch", "layers.1.seen", "layers.1.scratch"});
  const auto parameters = net.parameters();
  REQUIRE(parameters.size() == 9);
  CHECK(parameters[0].impl() == net.last.impl());
  CHECK(parameters[2].impl() == net.layers[0].up.weight.impl());
  for (const Tensor& p : parameters) CHECK((p.requires_grad() && p.is_leaf()));
  for (const auto& [name, b] : net.named_buffers()) CHECK(!b.requires_grad());
  CHECK(net.parameter_count() == 3 + 2 * (4 + 12 + 4 + 12));
}

TEST_CASE("module: the tree and its paths") {
  Net net(2);
  Names names;
  for (const auto& [name, m] : net.named_modules()) {
    names.push_back(name);
    CHECK(m->path() == name);
  }
  CHECK(names ==
        Names{"", "layers", "layers.0", "layers.0.up", "layers.0.down", "layers.1", "layers.1.up", "layers.1.down"});
  REQUIRE(net.children().size() == 1);
  CHECK(net.children()[0].first == "layers");
  CHECK(net.children()[0].second == &net.layers);
  CHECK(net.layers[1].down.path() == "layers.1.down");
  CHECK(net.layers.size() == 2);
  CHECK(thrown([&] { net.layers[2]; }) == "IndexError: ModuleList: 2 is out of range for 2 modules");
}

TEST_CASE("module: a child's name may be a path without a module at each of its parts") {
  struct Deep : nn::Module {
    nn::Linear& query = child<nn::Linear>("self.query", 2, 2);
    nn::Linear& dense = child<nn::Linear>("output.dense", 2, 3, nn::LinearOptions{.bias = false});
    nn::LayerNorm& norm = child<nn::LayerNorm>("output.norm", 3);
  };
  struct Outer : nn::Module {
    nn::ModuleList<Deep>& layers = child<nn::ModuleList<Deep>>("encoder.layer");
    Outer() { layers.add(); }
  };
  Outer m;
  const std::string at = "encoder.layer.0.";
  CHECK(names_of(m.named_parameters()) == Names{at + "self.query.weight", at + "self.query.bias",
                                                at + "output.dense.weight", at + "output.norm.weight",
                                                at + "output.norm.bias"});
  Names names;
  for (const auto& [name, each] : m.named_modules()) {
    names.push_back(name);
    CHECK(each->path() == name);
  }
  CHECK(names ==
        Names{"", "encoder.layer", "encoder.layer.0", at + "self.query", at + "output.dense", at + "output.norm"});
  Outer other;
  other.load_state_dict(m.state_dict());
  CHECK(same(other.layers[0].dense.weight, m.layers[0].dense.weight));
}

TEST_CASE("module: bad registrations") {
  Open m;
  m.parameter("a", ones({1}));
  m.buffer("b", ones({1}));
  m.child<nn::ReLU>("c");
  for (const char* name : {"a", "b", "c"}) {
    const std::string text = std::string("ValueError: module: the name \"") + name + "\" is taken";
    CHECK(thrown([&] { m.parameter(name, ones({1})); }) == text);
    CHECK(thrown([&] { m.buffer(name, ones({1})); }) == text);
    CHECK(thrown([&] { m.child<nn::ReLU>(name); }) == text);
  }
  CHECK(thrown([&] { m.parameter("", ones({1})); }) == "ValueError: module: the name \"\" is empty");
  for (const char* name : {".", ".x", "x.", "x..y"})
    CHECK(thrown([&] { m.child<nn::ReLU>(name); }) ==
          std::string("ValueError: module: the name \"") + name + "\" has an empty part");
  m.child<nn::ReLU>("x.y");
  CHECK(thrown([&] { m.child<nn::ReLU>("x.y"); }) == "ValueError: module: the name \"x.y\" is taken");
  CHECK(thrown([&] { m.child<nn::ReLU>("x"); }) == "ValueError: module: the name \"x.y\" lies below \"x\"");
  CHECK(thrown([&] { m.parameter("x.y.z", ones({1})); }) ==
        "ValueError: module: the name \"x.y.z\" lies below \"x.y\"");
  CHECK(thrown([&] { m.child<nn::ReLU>("a.z"); }) == "ValueError: module: the name \"a.z\" lies below \"a\"");
  CHECK(thrown([&] { m.parameter("p", Tensor()); }) == "ValueError: module: the parameter \"p\" is undefined");
  CHECK(thrown([&] { m.buffer("p", Tensor()); }) == "ValueError: module: the buffer \"p\" is undefined");
  CHECK(thrown([&] { m.parameter("p", ones({1}, int64)); }) ==
        "DTypeError: requires_grad_: only floating tensors have gradients, not int64");
  const Tensor recorded = 2 * ones({1}).requires_grad_();
  CHECK(
      thrown([&] { m.parameter("p", recorded); }).starts_with("GradError: requires_grad_: the tensor was recorded by"));
  CHECK(names_of(m.named_parameters()) == Names{"a"});
  CHECK(names_of(m.named_buffers()) == Names{"b"});
}

TEST_CASE("module: references stay valid while more is registered") {
  Open m;
  nn::Parameter& first = m.parameter("first", ones({2}));
  const nn::Parameter* address = &first;
  for (int i = 0; i < 100; ++i) m.parameter("p" + std::to_string(i), ones({1}));
  CHECK(&first == address);
  CHECK(m.parameters()[0].impl() == first.impl());
}

TEST_CASE("module: training mode and gradients reach everything below") {
  Net net(2);
  const auto all_training = [&](bool on) {
    for (const auto& [name, m] : net.named_modules())
      if (m->training() != on) return false;
    return true;
  };
  CHECK(all_training(true));
  net.eval();
  CHECK(all_training(false));
  net.train();
  CHECK(all_training(true));
  net.layers[0].train(false);
  CHECK(!net.layers[0].up.training());
  CHECK(net.layers[1].up.training());

  sum(net(ones({5, 3}))).backward();
  for (const Tensor& p : net.parameters()) CHECK(p.grad().defined());
  net.zero_grad();
  for (const Tensor& p : net.parameters()) CHECK(!p.grad().defined());
}

TEST_CASE("module: conversion to another dtype") {
  Net net(2);
  net.layers[1].up.weight.tie(net.layers[0].up.weight);
  const Values before = contents(net);
  net.to(float64);
  CHECK(contents(net) == before);
  for (const Tensor& p : net.parameters()) CHECK((p.dtype() == float64 && p.requires_grad() && p.is_leaf()));
  CHECK(net.layers[0].seen.dtype() == int64);
  CHECK(net.layers[0].scratch.dtype() == float64);
  CHECK(net.layers[1].up.weight.impl() == net.layers[0].up.weight.impl());
  const TensorImpl* kept = net.last.impl();
  net.to(float32);
  CHECK(net.last.impl() == kept);
  CHECK(thrown([&] { net.to(int64); }) == "DTypeError: module: cannot be converted to int64");
}

TEST_CASE("module: freezing reaches everything below and survives a conversion") {
  Net net(1);
  net.layers[0].requires_grad_(false);
  net.to(float64);
  for (const auto& [name, p] : net.named_parameters()) CHECK(p.requires_grad() == (name.rfind("layers.0.", 0) != 0));
  net.requires_grad_();
  for (const Tensor& p : net.parameters()) CHECK(p.requires_grad());
}

TEST_CASE("module: tied parameters are one") {
  struct Tied : nn::Module {
    nn::Embedding& words = child<nn::Embedding>("words", 5, 3);
    nn::Linear& head = child<nn::Linear>("head", 3, 5, nn::LinearOptions{.bias = false});
    Tied() { head.weight.tie(words.weight); }
  };
  Tied m;
  CHECK(names_of(m.named_parameters()) == Names{"words.weight"});
  CHECK(m.parameter_count() == 15);
  const Tensor loss = sum(m.head(m.words(index_tensor({1, 4}))));
  loss.backward();
  CHECK(m.words.weight.grad().impl() == m.head.weight.grad().impl());

  nn::StateDict state = m.state_dict();
  CHECK(state.size() == 2);
  for (const char* alias : {"words.weight", "head.weight"}) {
    Tied other;
    nn::StateDict one{{alias, state.at(alias)}};
    other.load_state_dict(one);
    CHECK(same(other.words.weight, m.words.weight));
    CHECK(other.head.weight.impl() == other.words.weight.impl());
  }
  CHECK(whole_message([&] { m.load_state_dict({}); }) ==
        "load_state_dict: the state does not fit the module\n  missing: words.weight, head.weight");

  // Two values for the one: neither wins.
  state["head.weight"] = state.at("head.weight") * 2;
  const Values before = contents(m);
  for (const bool strict : {true, false})
    CHECK(whole_message([&] { m.load_state_dict(state, {.strict = strict}); }) ==
          "load_state_dict: the state does not fit the module\n  of two values, though they are one parameter: "
          "words.weight and head.weight");
  CHECK(contents(m) == before);

  Open twice;
  const Tensor w = ones({2});
  twice.parameter("a", w);
  twice.parameter("b", w);
  CHECK(twice.parameters().size() == 1);
}

TEST_CASE("module: as a function of its parameters") {
  Net net(1);
  const Tensors own = net.parameters();
  Tensors values;
  for (const Tensor& p : own) values.push_back(clone(p.detach()).requires_grad_());
  const Tensor x = ones({2, 3});
  const Tensors ys = net.with_parameters(values, [&] { return Tensors{net(x)}; });
  CHECK(same(ys[0], net(x).detach()));
  sum(ys[0]).backward();
  for (std::size_t i = 0; i < own.size(); ++i) {
    CHECK(values[i].grad().defined());
    CHECK(!own[i].grad().defined());
    CHECK(net.parameters()[i].impl() == own[i].impl());
  }
  CHECK_THROWS(net.with_parameters(values, [&]() -> Tensors { throw std::runtime_error("stop"); }));
  CHECK(net.parameters()[0].impl() == own[0].impl());
  CHECK(thrown([&] { net.with_parameters({}, [&] { return Tensors{}; }); }) ==
        "ValueError: with_parameters: 0 tensors for 5 parameters");
  values[0] = ones({4});
  CHECK(thrown([&] { net.with_parameters(values, [&] { return Tensors{}; }); }) ==
        "ShapeError: with_parameters: tensor 0 must have the shape [3]");
}

TEST_CASE("module: errors and the tape show the user's line") {
  Net net(2);
  const Tensor wrong = ones({2, 5});
  int line = 0;
  std::string text;
  try {
    line = __LINE__ + 1;
    net.layers[1](wrong);
  } catch (const ShapeError& e) {
    text = e.what();
    CHECK(e.where().line == line);
  }
  CHECK(text.ends_with("at module.cpp:" + std::to_string(line)));

  const Tracing on;
  line = __LINE__ + 1;
  const Tensor y = net.layers[1](ones({2, 3}));
  const Tape tape = Tape::of(y);
  bool found = false;
  for (std::size_t i = 0; i < tape.size(); ++i) {
    if (tape[i].is_leaf()) continue;
    CHECK(tape[i].site().line == line);
    REQUIRE(tape[i].trace());
    const auto& stack = tape[i].trace()->stack;
    CHECK(stack[0].module == "layers.1");
    CHECK(stack[0].name == "Block");
    CHECK(stack[0].here.line == line);
    if (stack[1].module == "layers.1.down") {
      found = true;
      CHECK(stack[1].name == "Linear");
      CHECK(stack[2].name == "linear");
    }
  }
  CHECK(found);
}
