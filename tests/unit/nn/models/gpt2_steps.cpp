// GPT-2's steps: what the forward pass gives, a few tokens at a time.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::Gpt2Config small(std::int64_t band = 0) {
  return {.vocabulary = 11,
          .positions = 24,
          .d_model = 12,
          .heads = 3,
          .layers = 4,
          .dropout = 0,
          .embedding_dropout = 0,
          .attention_dropout = 0,
          .std = 0.5,
          .band = band};
}

TEST_CASE("GPT-2's steps give the logits of its forward pass") {
  for (const std::int64_t band : {0, 1, 5, 30}) {
    nn::Gpt2 model(small(band));
    model.to(float64);
    const Tensor tokens = randint(0, 11, {3, 20});
    const Tensor padding = to(index_tensor({1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0}, {3, 4}), boolean);
    for (const Tensor& mask : {Tensor(), padding}) {
      const Tensor all = mask.defined() ? cat({mask, zeros({3, 16}, boolean)}, 1) : Tensor();
      const Tensor whole = model(tokens, all);
      nn::Gpt2State state = model.start(mask);
      std::int64_t at = 0;
      for (const std::int64_t n : {3, 1, 1, 4, 1, 1, 1, 7, 1}) {
        const Tensor y = model.step(slice(tokens, 1, at, at + n), state);
        at += n;
        CHECK(state.length() == at);
        CHECK_FALSE(y.requires_grad());
        CHECK(difference(y, select(whole, 1, at - 1)) < 1e-12);
      }
    }
  }
}

TEST_CASE("rows of GPT-2's state are reordered, padding with them") {
  nn::Gpt2 model(small(4));
  model.to(float64);
  const Tensor tokens = randint(0, 11, {2, 8}), next = randint(0, 11, {3, 1});
  const Tensor padding = to(index_tensor({1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 8}), boolean);
  const Tensor rows = index_tensor({1, 0, 0}, {3});
  nn::Gpt2State state = model.start(padding);
  state.reserve(9);
  model.step(tokens, state);
  state.reorder(rows);
  const Tensor whole = model(cat({index_select(tokens, 0, rows), next}, 1),
                             cat({index_select(padding, 0, rows), zeros({3, 1}, boolean)}, 1));
  CHECK(difference(model.step(next, state), select(whole, 1, 8)) < 1e-12);
}

TEST_CASE("a banded layer sees so many tokens, a dense one all") {
  nn::Gpt2Config c = small(3);
  c.layers = 2;
  nn::Gpt2 model(c);
  model.to(float64);
  CHECK(model.blocks[0].attn.window == 0);
  CHECK(model.blocks[1].attn.window == 3);
  // The banded layer alone: what the dense one adds is made nothing.
  model.blocks[0].attn.c_proj.weight = zeros({12, 12}, float64);
  const Tensor tokens = randint(1, 11, {1, 12});
  const Tensor other = cat({slice(tokens, 1, 0, 4), zeros({1, 1}, int64), slice(tokens, 1, 5)}, 1);
  const Tensor y = model(tokens), z = model(other);
  for (std::int64_t i = 0; i < 12; ++i) {
    const double d = difference(select(y, 1, i), select(z, 1, i));
    if (i >= 4 && i < 7)
      CHECK(d > 0);
    else
      CHECK(d == 0);
  }
}

TEST_CASE("a banded GPT-2 learns what it sees") {
  nn::Gpt2Config c = small(4);
  nn::Gpt2 model(c);
  const Tensor tokens = randint(0, 11, {2, 16});
  model.loss(model(tokens), tokens).backward();
  for (const auto& [name, p] : model.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CHECK_MESSAGE(amax(abs(p.grad())).item() > 0, which);
  }
  const Folder folder;
  nn::save_config(folder / "config.json", c);
  CHECK(nn::gpt2_config_from_file(folder / "config.json").band == 4);
  c.band = -1;
  CHECK(thrown([&] { nn::Gpt2{c}; }) == "ValueError: Gpt2: band = -1 must be at least 0");
}

TEST_CASE("GPT-2's steps refuse what does not fit, and the state stays") {
  nn::Gpt2 model(small());
  nn::Gpt2State state = model.start();
  const Tensor tokens = randint(0, 11, {2, 20});
  model.step(tokens, state);
  CHECK(thrown([&] { model.step(slice(tokens, 1, 0, 5), state); }) ==
        "ShapeError: Gpt2: a sequence of 25 is longer than the 24 positions");
  CHECK(refusal<IndexError>([&] { model.step(full({2, 1}, 11, int64), state); }) != "");
  CHECK(refusal<ShapeError>([&] { model.step(zeros({3, 1}, int64), state); }) != "");
  CHECK(refusal<ShapeError>([&] { model.step(zeros({2, 0}, int64), state); }) != "");
  CHECK(refusal<DTypeError>([&] {
          model.step(tensor({1, 2}, {2, 1}), state);
        }).find("indices must be integers, got float32 [2, 1]: tensor({{1, 2, 3}}, int64) makes some") !=
        std::string::npos);
  CHECK(state.length() == 20);
  nn::Gpt2State none;
  CHECK(thrown([&] { model.step(tokens, none); }) ==
        "ValueError: Gpt2: the state is none of this model's: start() makes them");
  CHECK(refusal<DTypeError>([&] { model.start(zeros({2, 3})); }) != "");
}

TEST_CASE("a step of GPT-2 takes no memory that grows with the steps before") {
  nn::Gpt2Config c = small();
  c.positions = 1200;
  nn::Gpt2 model(c);
  model.eval();
  nn::Gpt2State state = model.start();
  state.reserve(1200);
  const Tensor token = index_tensor({3}, {1, 1});
  const auto peak = [&] {
    reset_peak_memory();
    const auto before = memory_stats().live_bytes;
    model.step(token, state);
    return memory_stats().peak_bytes - before;
  };
  const auto go_on = [&](int steps) {
    for (int i = 0; i < steps; ++i) model.step(token, state);
  };
  go_on(1);
  const auto first = peak();
  go_on(1000);
  CHECK(peak() == first);
  CHECK(first < 65536);
}

}  // namespace
}  // namespace attune::tests
