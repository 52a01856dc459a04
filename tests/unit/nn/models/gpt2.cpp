// GPT-2 apart from its published case (reference_models).

#include <doctest/doctest.h>

#include "autograd/io/safetensors.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::Gpt2Config small() {
  return {.vocabulary = 11,
          .positions = 8,
          .d_model = 12,
          .heads = 3,
          .layers = 2,
          .dropout = 0,
          .embedding_dropout = 0,
          .attention_dropout = 0};
}

TEST_CASE("GPT-2 sees no later token and no padding") {
  const nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({1, 2, 3, 4, 5, 6}, {1, 6}), changed = index_tensor({1, 2, 3, 9, 5, 6}, {1, 6});
  const Tensor y = model(tokens), z = model(changed);
  CHECK(y.shape() == Shape{1, 6, 11});
  CHECK(difference(slice(y, 1, 0, 3), slice(z, 1, 0, 3)) == 0);
  CHECK(difference(slice(y, 1, 3, 6), slice(z, 1, 3, 6)) > 0);
  const Tensor padding = to(index_tensor({0, 0, 0, 1, 0, 0}, {1, 6}), boolean);
  CHECK(difference(slice(model(tokens, padding), 1, 4, 6), slice(model(changed, padding), 1, 4, 6)) < 1e-6);
}

TEST_CASE("GPT-2's head is its token embedding, and all of it learns") {
  nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({1, 2, 3, 1, 2, 3, 1, 2}, {1, 8});
  for (const auto& entry : model.named_parameters()) CHECK(entry.first.starts_with("transformer."));
  optim::AdamW opt(model.parameters(), {.lr = 1e-2});
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = model.loss(model(tokens), tokens);
    last = loss.item();
    if (step == 0) first = last;
    loss.backward();
    if (step == 0)
      for (const auto& [name, p] : model.named_parameters()) {
        const std::string which = name;  // clang 14 captures no binding
        CHECK_MESSAGE(amax(abs(p.grad())).item() > 0, which);
      }
    opt.step();
  }
  CHECK(first > 2);
  CHECK(last < 0.1);
}

TEST_CASE("GPT-2 loads published files: names without a prefix, masks and the tied head beside the weights") {
  const Folder folder;
  nn::Gpt2 saved(small()), loaded(small());
  std::map<std::string, Tensor> state;
  for (const auto& [name, value] : saved.state_dict()) state[name.substr(std::string("transformer.").size())] = value;
  const Tensor places = arange(8), causal = reshape(ge(unsqueeze(places, 1), places), {1, 1, 8, 8});
  state["h.0.attn.bias"] = causal;
  state["h.0.attn.masked_bias"] = scalar(-1e4);
  state["lm_head.weight"] = saved.wte.weight;
  const std::string path = folder / "model.safetensors";
  save_safetensors(path, state);
  loaded.load_published(path);
  const Tensor tokens = index_tensor({1, 2, 3}, {1, 3});
  CHECK(difference(saved(tokens), loaded(tokens)) == 0);

  // What the model could not do is refused, and changes nothing.
  const auto refused = [&](const std::string& name, const Tensor& value) {
    std::map<std::string, Tensor> other = state;
    other[name] = value;
    save_safetensors(path, other);
    const std::string what = refusal<FileError>([&] { loaded.load_published(path); });
    CHECK(difference(saved(tokens), loaded(tokens)) == 0);
    return what.substr(path.size() + 2);
  };
  CHECK(refused("lm_head.weight", saved.wte.weight.detach() + 1) ==
        "\"lm_head.weight\" differs from \"transformer.wte.weight\", and the model has one weight for both");
  CHECK(refused("lm_head.weight", zeros({11, 13})).starts_with("\"lm_head.weight\" differs"));
  CHECK(refused("h.0.attn.bias", ones({1, 1, 8, 8})) ==
        "\"h.0.attn.bias\" is not a causal mask, which is all that this model has");
  CHECK(refused("h.0.attn.masked_bias", scalar(-1)).starts_with("\"h.0.attn.masked_bias\" is not a score"));
  CHECK(refused("transformer.wpe.weight", zeros({8, 12})).starts_with("has two values for \"transformer.wpe.weight\""));
  state.erase("wte.weight");  // the first of two names of one weight may be the one that was left out
  save_safetensors(path, state);
  nn::Gpt2 again(small());
  again.load_published(path);
  CHECK(difference(saved(tokens), again(tokens)) == 0);
}

TEST_CASE("GPT-2 with a head of its own") {
  nn::Gpt2Config c = small();
  c.tied = false;
  nn::Gpt2 saved(c), loaded(c), tied(small());
  CHECK(saved.parameter_count() == tied.parameter_count() + 11 * 12);
  const Folder folder;
  saved.save(folder / "model.safetensors");
  loaded.load_published(folder / "model.safetensors");
  const Tensor tokens = index_tensor({1, 2, 3}, {1, 3});
  CHECK(difference(saved(tokens), loaded(tokens)) == 0);
  CHECK(refusal<FileError>([&] {
          tied.load_published(folder / "model.safetensors");
        }).find("\"lm_head.weight\" differs") != std::string::npos);
  tied.save(folder / "model.safetensors");
  CHECK(refusal<FileError>([&] { loaded.load_published(folder / "model.safetensors"); }) ==
        folder / "model.safetensors: does not fit the model");
  saved.loss(saved(tokens), tokens).backward();
  CHECK(saved.lm_head->weight.grad().defined());
  CHECK(amax(abs(saved.wte.weight.grad())).item() > 0);
}

TEST_CASE("GPT-2: positions count what is not hidden, so padding on either side changes nothing") {
  nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({3, 1, 4, 5}, {1, 4}), other = index_tensor({9, 2, 6, 5, 8, 7}, {1, 6});
  const Tensor alone = model(tokens), rest = model(other);
  const Tensor batch = index_tensor({0, 10, 3, 1, 4, 5, 9, 2, 6, 5, 8, 7}, {2, 6});
  const Tensor mask = to(index_tensor({1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 6}), boolean);
  const Tensor y = model(batch, mask);
  CHECK(difference(slice(slice(y, 0, 0, 1), 1, 2, 6), alone) < 1e-6);
  CHECK(difference(slice(y, 0, 1, 2), rest) < 1e-6);
  const Tensor right =
      model(index_tensor({3, 1, 4, 5, 0, 10}, {1, 6}), to(index_tensor({0, 0, 0, 0, 1, 1}, {1, 6}), boolean));
  CHECK(difference(slice(right, 1, 0, 4), alone) < 1e-6);
  // Gradients too, with the padding's targets ignored.
  const auto gradients = [&](const Tensor& x, const Tensor& hidden, const Tensor& labels) {
    model.zero_grad();
    model.loss(model(x, hidden), labels).backward();
    std::vector<Tensor> all;
    for (const Tensor& p : model.parameters()) all.push_back(p.grad());
    return all;
  };
  const auto a = gradients(tokens, {}, tokens);
  const auto b =
      gradients(slice(batch, 0, 0, 1), slice(mask, 0, 0, 1), index_tensor({-100, -100, -100, 1, 4, 5}, {1, 6}));
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(difference(a[i], b[i]) < 1e-5);
  CHECK(thrown([&] { model(batch, to(mask, float32)); }) ==
        "DTypeError: Gpt2: key_padding_mask [2, 6] must be of bool, got float32");
}

TEST_CASE("GPT-2: sums of losses over counts accumulate to the mean over all targets") {
  nn::Gpt2 model(small());
  const Tensor tokens = index_tensor({1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, {2, 6});
  const Tensor labels = index_tensor({1, 2, 3, 4, 5, 6, -100, -100, -100, 1, -100, -100}, {2, 6});
  CHECK(model.target_count(labels) == 6);
  const auto rows = [](const Tensor& x, int i) { return slice(x, 0, i, i + 1); };
  model.loss(model(tokens), labels).backward();
  std::vector<Tensor> whole;
  for (const Tensor& p : model.parameters()) whole.push_back(p.grad());
  model.zero_grad();
  for (int i = 0; i < 2; ++i) (model.loss(model(rows(tokens, i)), rows(labels, i), Reduction::sum) / 6).backward();
  const Tensors parameters = model.parameters();
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(difference(parameters[i].grad(), whole[i]) < 1e-6);
  const Tensor each = model.loss(model(tokens), labels, Reduction::none);
  CHECK(each.shape() == Shape{2, 5});
  CHECK(sum(each).item() == doctest::Approx(6 * model.loss(model(tokens), labels).item()));
}

TEST_CASE("GPT-2 refuses what does not fit") {
  nn::Gpt2Config c = small();
  c.heads = 5;
  CHECK(thrown([&] { nn::Gpt2{c}; }) == "ValueError: Gpt2: heads = 5 does not divide d_model = 12");
  c.layers = 0;
  CHECK(thrown([&] { nn::Gpt2{c}; }) == "ValueError: Gpt2: layers = 0 must be at least 1");
  nn::Gpt2 model(small());
  CHECK(thrown([&] { model(zeros({3}, int64)); }) == "ShapeError: Gpt2: tokens must be [batch, length], got [3]");
  CHECK(thrown([&] {
          model(zeros({1, 9}, int64));
        }) == "ShapeError: Gpt2: a sequence of 9 is longer than the 8 positions");
  CHECK(thrown([&] {
          model(zeros({1, 4}, int64), zeros({1, 3}, boolean));
        }) == "ShapeError: Gpt2: key_padding_mask [1, 3] must be [1, 4]");
  CHECK(thrown([&] {
          model.loss(zeros({1, 4, 11}), zeros({1, 3}, int64));
        }) == "ShapeError: Gpt2: labels [1, 3] do not fit logits [1, 4, 11]");
}

}  // namespace
}  // namespace attune::tests
