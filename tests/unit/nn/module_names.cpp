// Modules: one tensor under several names, and the names that tensors know.

#include "autograd/tensor/named.h"
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Tied : nn::Module {
  Tensor shared = zeros({5, 3});
  Tied() {
    parameter("words", shared);
    parameter("head", shared);
  }
};

struct Net : nn::Module {
  nn::ModuleList<nn::Linear>& layers = child<nn::ModuleList<nn::Linear>>("layers");
  Net() { layers.add(2, 2), layers.add(2, 2); }
};

}  // namespace

TEST_CASE("module: a state that shares the module's memory under other names") {
  Net net;
  const Tensor first = clone(net.layers[0].weight.detach()), second = clone(net.layers[1].weight.detach());
  nn::StateDict state = net.shared_state_dict();
  std::swap(state.at("layers.0.weight"), state.at("layers.1.weight"));
  net.load_state_dict(state);
  CHECK(values(net.layers[0].weight) == values(second));
  CHECK(values(net.layers[1].weight) == values(first));
}

TEST_CASE("module: two values for one tied parameter are no state of it") {
  Tied m;
  nn::StateDict two{{"words", full({5, 3}, 2)}, {"head", ones({5, 3})}};
  const auto refused = [&] {
    try {
      m.load_state_dict(two);
    } catch (const ValueError& e) {
      return std::string(e.what()).find("of two values, though they are one parameter: ") != std::string::npos;
    }
    return false;
  };
  CHECK(refused());
  CHECK(same(m.shared.detach(), zeros({5, 3})));
  two["words"] = ones({5, 3}, float64);
  CHECK(!refused());
  CHECK(same(m.shared.detach(), ones({5, 3})));
  two = {{"words", full({5, 3}, not_a_number)}, {"head", full({5, 3}, not_a_number)}};
  CHECK(!refused());
  two["head"] = zeros({5, 3});
  CHECK(refused());
  CHECK(m.state_dict().size() == 2);
  m.load_state_dict(m.state_dict());
}

TEST_CASE("module: a parameter's tensor knows its path, also when the module has gone") {
  const Net net;
  for (const auto& [path, value] : net.named_parameters()) CHECK(tensor_name(value) == path);
  const Tensor copy = net.layers[1].weight;
  CHECK(tensor_name(copy) == "layers.1.weight");
  CHECK(tensor_name(copy.detach()).empty());
  CHECK(tensor_name(copy * 2).empty());
  CHECK(tensor_name(Tensor()).empty());
  CHECK(tensor_name(Tied().shared) == "words");
  Tensor left;
  {
    const Net gone;
    left = gone.layers[0].weight;
  }
  CHECK(tensor_name(left) == "weight");
}
