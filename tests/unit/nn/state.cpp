// States of modules: taken, loaded whole or in part, through files.

#include <cstdio>
#include <filesystem>

#include "tests/unit/nn/module_net.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("module: a state is a copy, or shares storage, and leaves out what is not persistent") {
  Net net(1);
  const nn::StateDict best = net.state_dict(), state = net.shared_state_dict();
  Names names;
  for (const auto& [name, value] : state) {
    names.push_back(name);
    CHECK(!value.requires_grad());
  }
  CHECK(names == Names{"last", "layers.0.down.weight", "layers.0.scale", "layers.0.seen", "layers.0.up.bias",
                       "layers.0.up.weight"});
  CHECK(state.at("last").same_storage(net.last));
  CHECK(best.size() == state.size());
  for (const auto& [name, value] : best) CHECK((!value.same_storage(state.at(name)) && same(value, state.at(name))));
  net.last *= 2;
  CHECK(same(best.at("last"), {3}, {1, 1, 1}));
  CHECK(same(state.at("last"), {3}, {2, 2, 2}));
}

TEST_CASE("module: loading a state") {
  manual_seed(1);
  Net a(2), b(2);
  a.layers[0].seen = index_tensor({7, 8});
  CHECK(contents(a) != contents(b));
  const TensorImpl* handle = b.last.impl();
  b.load_state_dict(a.state_dict());
  CHECK(contents(a) == contents(b));
  CHECK(b.last.impl() == handle);
  CHECK(b.last.requires_grad());
  b.load_state_dict(b.state_dict());
  CHECK(contents(a) == contents(b));
  CHECK(!a.last.same_storage(b.last));

  Net wide(2);
  wide.to(float64);
  wide.load_state_dict(a.state_dict());
  CHECK(wide.last.dtype() == float64);
  CHECK(contents(wide) == contents(a));
}

TEST_CASE("module: one error for everything that does not fit, and nothing changed") {
  Net net(1);
  const Values before = contents(net);
  nn::StateDict state = net.state_dict();
  for (auto& [name, value] : state) value = full_like(value, 5);
  state.erase("last");
  state.erase("layers.0.up.bias");
  state["layers.0.up.weight"] = zeros({4, 2});
  state["layers.0.seen"] = zeros({2});
  state["layers.0.scale"] = Tensor();
  state["more"] = zeros({1});
  state["layers.1.scale"] = zeros({1});
  const std::string misshaped =
      "\n  misshaped: layers.0.scale (expected [4] float32, found nothing), layers.0.seen (expected [2] int64, found "
      "[2] float32), layers.0.up.weight (expected [4, 3] float32, found [4, 2] float32)";
  const std::string text = whole_message([&] { net.load_state_dict(state); });
  CHECK(text ==
        "load_state_dict: the state does not fit the module\n  missing: last, layers.0.up.bias\n  unexpected: "
        "layers.1.scale, more" +
            misshaped);
  CHECK(contents(net) == before);
  CHECK(whole_message([&] { net.load_state_dict(state, {.strict = false}); }) ==
        "load_state_dict: the state does not fit the module" + misshaped);
  CHECK(contents(net) == before);

  const nn::LoadReport skipped = net.load_state_dict(state, {.strict = false, .skip_misshaped = true});
  CHECK(skipped.missing == Names{"last", "layers.0.up.bias"});
  CHECK(skipped.unexpected == Names{"layers.1.scale", "more"});
  REQUIRE(skipped.misshaped.size() == 3);
  CHECK("\n" + skipped.str() == text.substr(text.find("\n  missing")));
  CHECK(same(net.layers[0].down.weight, {3, 4}, Values(12, 5)));
  CHECK(same(net.layers[0].scale, {4}, Values(4, 1)));

  nn::StateDict part{{"last", full({3}, 9)}, {"more", zeros({1})}};
  const nn::LoadReport report = net.load_state_dict(part, {.strict = false});
  CHECK((report.unexpected == Names{"more"} && report.missing.size() == 5 && report.misshaped.empty()));
  CHECK(!report.complete());
  CHECK(net.load_state_dict(net.state_dict()).complete());
  CHECK(same(net.last, {3}, {9, 9, 9}));
  CHECK(thrown([&] { net.load_state_dict(part); }) == "ValueError: load_state_dict: the state does not fit the module");
}

TEST_CASE("module: through a file") {
  const std::string path = (std::filesystem::temp_directory_path() / "attune_module_test.safetensors").string();
  manual_seed(2);
  Net a(2), b(2), shorter(1);
  a.layers[1].seen = index_tensor({1, 2});
  a.save(path);
  b.load(path);
  CHECK(contents(a) == contents(b));
  const Values before = contents(shorter);
  CHECK(thrown([&] { shorter.load(path); }) ==
        "ValueError: " + path + ": load_state_dict: the state does not fit the module");
  CHECK(contents(shorter) == before);
  shorter.load(path, {.strict = false});
  CHECK(same(shorter.layers[0].up.weight, a.layers[0].up.weight));
  std::remove(path.c_str());
  CHECK_THROWS_AS(b.load(path), FileError);
}
