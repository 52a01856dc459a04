// Module: the line of the user's code that a parameter, a refused constructor argument or a refused child is named by.

#include <set>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("module: what a child's constructor refuses is refused at the line that names the child") {
  struct Wrong : nn::Module {
    nn::Linear& up = child<nn::Linear>("up", -1, 4);
  };
  std::string what;
  try {
    Wrong made;
  } catch (const ValueError& e) {
    what = e.what();
  }
  CHECK(what.find("Linear: in = -1 must be at least 1\n  at module_sites.cpp:") == 0);
}

TEST_CASE("module: parameters are leaves at the line that made the outermost module") {
  const auto lines = [](const nn::Module& m) {
    std::set<std::string> all;
    for (const Tensor& p : m.parameters()) all.insert(p.node()->site().str());
    return all;
  };
  const auto at = [](int line) { return std::set<std::string>{"module_sites.cpp:" + std::to_string(line)}; };
  int line = __LINE__ + 1;
  nn::Linear linear(2, 3);
  CHECK(lines(linear) == at(line));
  linear.to(float64);
  CHECK(lines(linear) == at(line));
  line = __LINE__ + 1;
  nn::LSTM lstm(2, 3, {.bidirectional = true});
  CHECK(lines(lstm) == at(line));
  line = __LINE__ + 1;
  nn::TransformerDecoder decoder(2, 4, 2, {.d_ff = 4});
  CHECK(lines(decoder) == at(line));
  nn::ReformerConfig config;
  config.d_model = config.axial_rows = config.axial_columns = 4;
  config.axial_row_dim = 2;
  line = __LINE__ + 1;
  nn::Reformer reformer(config);
  CHECK(lines(reformer) == at(line));

  // In members' initialisers the compilers take the line of the struct or of the object: either is the user's.
  struct Inner : nn::Module {
    nn::Linear& linear = child<nn::Linear>("linear", 2, 2);
    nn::Parameter& scale = parameter("scale", ones({2}));
  };
  struct Outer : nn::Module {
    Inner& inner = child<Inner>("inner");
  };
  const Outer outer;
  CHECK(lines(outer).size() == 1);
  const Inner inner;
  for (const nn::Module* m : {static_cast<const nn::Module*>(&outer), static_cast<const nn::Module*>(&inner)})
    for (const std::string& site : lines(*m)) CHECK(site.starts_with("module_sites.cpp:"));
  nn::Sequential steps;
  line = __LINE__ + 1;
  steps.add<nn::Linear>(2, 2);
  CHECK(lines(steps) == at(line));
  nn::ModuleList<nn::Linear> list;
  line = __LINE__ + 1;
  list.add(2, 2);
  CHECK(lines(list) == at(line));
  nn::ModuleDict<nn::Linear> named;
  line = __LINE__ + 1;
  named.add("one", 2, 2);
  CHECK(lines(named) == at(line));
  line = __LINE__ + 1;
  nn::Gpt2 gpt2({.vocabulary = 3, .positions = 4, .d_model = 2, .heads = 1, .layers = 2});
  CHECK(lines(gpt2) == at(line));
}

TEST_CASE("module: a user's module that takes a call site hands it to all below") {
  struct Inner : nn::Module {
    explicit Inner(std::int64_t d) : linear(child<nn::Linear>("linear", d, d)), scale(parameter("scale", ones({2}))) {}
    nn::Linear& linear;
    nn::Parameter& scale;
  };
  struct Outer : nn::Module {
    explicit Outer(std::int64_t d, Here here = Here::current()) : Module(here), d(d) { list.add(d); }
    const std::int64_t d;
    Inner& inner = child<Inner>("inner", d);
    nn::ModuleList<Inner>& list = child<nn::ModuleList<Inner>>("list");
  };
  const int line = __LINE__ + 1;
  Outer outer(2);
  const std::string at = "module_sites.cpp:" + std::to_string(line);
  for (const Tensor& p : outer.parameters()) CHECK(p.node()->site().str() == at);
  for (const auto& [name, module] : outer.named_modules()) CHECK(module->site().str() == at);
  outer.list.add(3);  // also later
  for (const Tensor& p : outer.parameters()) CHECK(p.node()->site().str() == at);
  CHECK(nn::Linear(2, 2, {}, Here{"user.cpp", 7}).weight.node()->site().str() == "user.cpp:7");
}

TEST_CASE("module: what a container's add refuses is refused at its line") {
  struct Many : nn::Module {
    Many(int a, int b, int c, int d, int e) : sum(a + b + c + d + e) {}
    Tensor operator()(const Tensor& x) const { return sum * x; }
    int sum;
  };
  nn::Sequential steps;
  nn::ModuleList<nn::Linear> list;
  nn::ModuleDict<nn::LSTM> recurrent;
  const auto line_of = [](auto&& f) {
    try {
      f();
    } catch (const Error& e) {
      const std::string what = e.what();
      return what.substr(what.rfind(':') + 1);
    }
    return std::string("nothing thrown");
  };
  CHECK(line_of([&] { steps.add<nn::Dropout>(2.0); }) == std::to_string(__LINE__));
  CHECK(line_of([&] { steps.add<nn::Linear>(0, 2); }) == std::to_string(__LINE__));
  CHECK(line_of([&] { steps.add<nn::Conv1d>(2, 2, 0, {.groups = 2}); }) == std::to_string(__LINE__));
  CHECK(line_of([&] { list.add(0, 2); }) == std::to_string(__LINE__));
  CHECK(line_of([&] { recurrent.add("lstm", 2, 3, {.layers = 0}); }) == std::to_string(__LINE__));
  CHECK(steps.size() == 0);
  CHECK(list.size() == 0);
  CHECK(recurrent.size() == 0);
  CHECK(steps.add<Many>(1, 2, 3, 4, 5).sum == 15);

  // In a module that does not know its line, too.
  struct Net : nn::Module {
    nn::ModuleList<nn::Linear>& list = child<nn::ModuleList<nn::Linear>>("list");
    int line = __LINE__ + 1;
    explicit Net(std::int64_t in) { list.add(in, 2); }
  };
  CHECK(line_of([&] { Net net(0); }) == std::to_string(Net(1).line));
}
