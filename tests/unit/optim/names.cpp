// What belongs to a parameter belongs to its name: states in any order and of other optimisers, groups by name.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

/// Two layers of one shape, in this order and in the other.
struct QueryKey : nn::Module {
  nn::Linear& q = child<nn::Linear>("q", 3, 3);
  nn::Linear& k = child<nn::Linear>("k", 3, 3);
};
struct KeyQuery : nn::Module {
  nn::Linear& k = child<nn::Linear>("k", 3, 3);
  nn::Linear& q = child<nn::Linear>("q", 3, 3);
};

/// Gradients that tell parameters apart.
template <class Model>
void give_gradients(Model& m) {
  double g = 1;
  for (const char* name : {"q.weight", "q.bias", "k.weight", "k.bias"})
    for (auto [own, p] : m.named_parameters())
      if (own == name) p.set_grad(full_like(p, g++));
}

/// The message of a refusal with all its lines.
template <class F>
std::string complaint(F&& f) {
  try {
    f();
  } catch (const ValueError& e) {
    return e.what();
  }
  return "";
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("optim: a state finds its parameters by name, whatever their order and however they were given") {
  QueryKey from;
  KeyQuery to;
  optim::AdamW a(from.parameters(), {.lr = 0.1});
  give_gradients(from);
  a.step();
  const Folder folder;
  a.save(folder / "state.safetensors");
  const auto expected = a.state_dict();
  const auto check = [&](optim::Parameters parameters) {
    optim::AdamW b(std::move(parameters));
    b.load(folder / "state.safetensors");
    const auto got = b.state_dict();
    CHECK(got.size() == expected.size());
    for (const auto& [name, value] : expected) {
      const std::string which = name;  // clang 14 captures no binding
      CHECK_MESSAGE(same(got.at(name), value), which);
    }
    CHECK(values(got.at("q.weight.exp_avg"))[0] == doctest::Approx(0.1));
    CHECK(values(got.at("k.weight.exp_avg"))[0] == doctest::Approx(0.3));
  };
  check(to.parameters());
  check(to.named_parameters());
  const Tensors copied = to.parameters();
  check(Tensors{copied[3], copied[1], copied[0], copied[2]});
  check(std::vector<optim::Group>{{.parameters = copied}});
  check({to.k.weight, to.k.bias(), to.q.bias(), to.q.weight});
}

TEST_CASE("optim: the state of another optimiser, or of other parameters, is refused and named") {
  QueryKey model;
  optim::AdamW w(model.parameters());
  optim::Adam adam(model.parameters());
  optim::Adam amsgrad(model.parameters(), {.amsgrad = true});
  give_gradients(model);
  w.step({.keep_gradients = true});
  amsgrad.step();
  CHECK(complaint([&] {
          adam.load_state_dict(w.state_dict());
        }).starts_with("Adam: the state does not fit\n  of another optimiser: AdamW\n  at "));
  CHECK(complaint([&] { w.load_state_dict(adam.state_dict()); }).find("of another optimiser: Adam\n") !=
        std::string::npos);
  CHECK(complaint([&] { adam.load_state_dict(amsgrad.state_dict()); }).find("unexpected: k.bias.max_exp_avg_sq") !=
        std::string::npos);
  optim::AdamW other({{"q.weight", model.q.weight}, {"key.weight", model.k.weight}});
  const std::string what = complaint([&] { other.load_state_dict(w.state_dict()); });
  CHECK(what.find("missing: key.weight.step") != std::string::npos);
  CHECK(what.find("unexpected: k.weight.step") != std::string::npos);
  CHECK(other.steps() == 0);
  Tensor nameless = ones({3, 3}).requires_grad_();
  CHECK(complaint([&] { optim::AdamW({nameless}).load_state_dict(w.state_dict()); }).find("missing: 0.step") !=
        std::string::npos);
}

TEST_CASE("optim: rates come back to the groups of the same parameters") {
  QueryKey model;
  const Tensors q{model.q.weight, model.q.bias()}, k{model.k.weight, model.k.bias()};
  using Groups = std::vector<optim::Group>;
  optim::SGD one(Groups{{.parameters = q, .lr = 0.5}, {.parameters = k, .lr = 0.25}});
  optim::SGD two(Groups{{.parameters = k, .lr = 1.0}, {.parameters = q, .lr = 2.0}});
  two.load_state_dict(one.state_dict());
  CHECK(two.lr(0) == 0.25);
  CHECK(two.lr(1) == 0.5);
  optim::SGD mixed(Groups{{.parameters = {model.q.weight, model.k.weight}}, {.parameters = {model.q.bias()}}});
  CHECK(complaint([&] {
          mixed.load_state_dict(one.state_dict());
        }).find("in another group than its neighbours: k.weight") != std::string::npos);
}

TEST_CASE("optim: a state of numbers without a kind is taken by position, if the shapes agree") {
  QueryKey model;
  give_gradients(model);
  optim::Adam opt(model.parameters()), again(model.parameters());
  opt.step();
  std::map<std::string, Tensor> old;
  for (const auto& [name, value] : opt.state_dict()) {
    std::size_t i = 0;
    for (const std::string& parameter : opt.names()) {
      if (name.starts_with(parameter + ".") && !name.ends_with(".group"))
        old[std::to_string(i) + name.substr(parameter.size())] = value;
      ++i;
    }
  }
  old["step"] = opt.state_dict().at("step");
  old["lr"] = tensor({0.5}, float64);
  again.load_state_dict(old);
  CHECK(again.lr() == 0.5);
  CHECK(again.steps() == 1);
  CHECK(same(again.state_dict().at("k.bias.exp_avg"), opt.state_dict().at("k.bias.exp_avg")));
  old["2.exp_avg"] = zeros({2});
  CHECK(complaint([&] { again.load_state_dict(old); }).find("misshaped: 2.exp_avg") != std::string::npos);
}

TEST_CASE("optim: names are paths from the root, given ones, or numbers; equal ones are told apart") {
  struct Outer : nn::Module {
    QueryKey& inner = child<QueryKey>("inner");
  };
  Outer outer;
  CHECK(optim::SGD(outer.inner.k.parameters()).names() == Names{"inner.k.weight", "inner.k.bias"});
  CHECK(optim::SGD(outer.inner.k.named_parameters()).names() == Names{"weight", "bias"});
  nn::Linear a(2, 2), b(2, 2);
  Tensors both = a.parameters();
  for (const Tensor& p : b.parameters()) both.push_back(p);
  both.push_back(ones({1}));
  optim::SGD opt(both, {.momentum = 0.5});
  CHECK(opt.names() == Names{"weight", "bias", "weight#2", "bias#2", "4"});
  opt.load_state_dict(opt.state_dict());
  Tensors kept;
  {
    const nn::Linear gone(2, 2);
    kept = gone.parameters();
  }
  CHECK(optim::SGD(kept).names() == Names{"weight", "bias"});  // of a module that has gone
  CHECK(refusal<ValueError>([&] {
          optim::SGD({a.weight, a.weight});
        }) == "SGD: the parameter weight [2, 2] is given twice");
  CHECK(refusal<ValueError>([&] {
          optim::SGD(std::vector<optim::Group>{{.parameters = {a.weight}, .names = {"x", "y"}}});
        }) == "SGD: a group has 2 names for 1 parameters");
}

TEST_CASE("optim: groups by name: the first rule that picks a parameter has it") {
  nn::TransformerEncoderLayer model(8, 2, {.d_ff = 16});
  const auto groups = optim::groups_by_name(
      model.named_parameters(),
      {{.which = "bias$|norm", .weight_decay = 0.0},
       {.which = [](const std::string& name, const Tensor& p) { return p.rank() == 2 && name.starts_with("linear"); },
        .lr = 0.5}});
  REQUIRE(groups.size() == 3);
  for (const std::string& name : groups[0].names)
    CHECK((name.ends_with("bias") || name.find("norm") != std::string::npos));
  CHECK(groups[1].names == Names{"linear1.weight", "linear2.weight"});
  std::size_t count = 0;
  for (const optim::Group& g : groups) {
    CHECK(g.names.size() == g.parameters.size());
    count += g.names.size();
  }
  CHECK(count == model.parameters().size());
  optim::AdamW opt(groups, {.lr = 0.1, .weight_decay = 0.1});
  CHECK(opt.lr(0) == 0.1);
  CHECK(opt.lr(1) == 0.5);
  CHECK(opt.names()[0] == groups[0].names[0]);
  CHECK(refusal<ValueError>([&] { optim::groups_by_name(model.named_parameters(), {{.which = "bais"}}); }) ==
        "groups_by_name: rule 0 (\"bais\") picks none of the parameters that are left");
  CHECK(refusal<ValueError>([&] {
          optim::groups_by_name(model.named_parameters(), {{.which = "("}});
        }).starts_with("groups_by_name: \"(\" is no regular expression: "));
}

}  // namespace attune::tests
