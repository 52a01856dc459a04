// What generate() refuses, before the first step.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

struct NoStep : nn::Decoder {
  Tensor step(const Tensor&) override {
    FAIL("a step was taken");
    return {};
  }
  void reorder(const Tensor&) override {}
  std::int64_t most_tokens() const override { return 10; }
};

std::string refused(const nn::GenerateOptions& o, const Tensor& prompt = zeros({1, 4}, int64)) {
  NoStep decoder;
  std::string what = thrown([&] { nn::generate(decoder, prompt, o); });
  return what;
}

TEST_CASE("generate refuses contradictions at once") {
  CHECK(refused({}) == "ValueError: generate: give either max_length or max_new_tokens");
  CHECK(refused({.max_length = 8, .max_new_tokens = 2}) ==
        "ValueError: generate: give either max_length or max_new_tokens");
  CHECK(refused({.max_length = 4}) == "ValueError: generate: max_length = 4 leaves no room behind a prompt of 4");
  CHECK(refused({.max_length = 11}) ==
        "ValueError: generate: max_length = 11 is beyond the 10 positions that the model has");
  CHECK(refused({.max_new_tokens = 7}) ==
        "ValueError: generate: max_length = 11 is beyond the 10 positions that the model has");
  CHECK(refused({.max_length = 8, .min_length = 9, .eos = 1}) ==
        "ValueError: generate: min_length = 9 is above max_length = 8");
  CHECK(refused({.max_length = 8, .beams = 2, .returned = 3}) ==
        "ValueError: generate: returned = 3 is more than beams = 2");
  CHECK(refused({.max_length = 8, .returned = 3}) ==
        "ValueError: generate: returned = 3 sequences need as many beams, or sample = true");
  CHECK(refused({.max_length = 8, .beams = 2, .sample = true}) ==
        "ValueError: generate: beams and sample exclude each other");
  CHECK(refused({.max_length = 8, .top_k = 4}) ==
        "ValueError: generate: temperature, top_k, top_p and typical_p are for sample = true");
  CHECK(refused({.max_length = 8, .length_penalty = 2}) ==
        "ValueError: generate: early_stopping, length_penalty and wu_penalty are for beams above 1");
  CHECK(refused({.max_length = 8, .beams = 2, .on_tokens = [](const Tensor&) { return true; }}) ==
        "ValueError: generate: on_tokens and beams exclude each other: beams decide at the end");
}

TEST_CASE("generate refuses numbers out of range") {
  CHECK(refused({.max_length = 8, .beams = 0}) == "ValueError: generate: beams = 0 must be at least 1");
  CHECK(refused({.max_length = -1}) == "ValueError: generate: max_length = -1 must be at least 0");
  CHECK(refused({.max_length = 8, .sample = true, .temperature = 0}) ==
        "ValueError: generate: temperature = 0.000000 must be finite and above 0");
  CHECK(refused({.max_length = 8, .sample = true, .top_p = 1.5}) ==
        "ValueError: generate: top_p = 1.500000 is not in [0, 1]");
  CHECK(refused({.max_length = 8, .sample = true, .typical_p = 0}) ==
        "ValueError: generate: typical_p = 0.000000 is not in (0, 1]");
  CHECK(refused({.max_length = 8, .repetition_penalty = -1}) ==
        "ValueError: generate: repetition_penalty = -1.000000 must be finite and above 0");
}

TEST_CASE("generate refuses prompts that are none") {
  CHECK(refused({.max_length = 8}, zeros({1, 0}, int64)) == "ValueError: generate: the prompt [1, 0] is empty");
  CHECK(refused({.max_length = 8}, zeros({4}, int64)) == "ShapeError: generate: the prompt [4] must be [b, n]");
  CHECK(refused({.max_length = 8}, zeros({1, 4})) ==
        "DTypeError: generate: the prompt must be of int64, got float32: tensor({{1, 2, 3}}, int64) makes one");
  CHECK(refused({.max_length = 8}, Tensor()) != "");
  nn::Gpt2 model({.vocabulary = 11, .positions = 8, .d_model = 12, .heads = 3, .layers = 2});
  CHECK(refusal<IndexError>([&] { nn::generate(model, index_tensor({1, 11}, {1, 2}), {.max_length = 8}); }) != "");
  CHECK(refusal<ValueError>([&] {
          nn::generate(model, zeros({1, 2}, int64), {.max_length = 9});
        }) == "generate: max_length = 9 is beyond the 8 positions that the model has");
  CHECK(thrown([&] {
          nn::generate(model, zeros({1, 2}, int64), {.max_length = 8, .eos = 11});
        }) == "IndexError: generate: eos = 11 is not in a vocabulary of 11");
  const Tensor right = to(index_tensor({0, 0, 0, 1}, {2, 2}), boolean);
  CHECK(thrown([&] {
          nn::generate(model, zeros({2, 2}, int64), {.max_length = 8}, right);
        }) == "ValueError: generate: row 1 of the prompt ends in padding: pad on the left");
  CHECK(thrown([&] {
          nn::generate(model, zeros({2, 2}, int64), {.max_length = 8}, zeros({2, 3}, boolean));
        }) == "ShapeError: generate: key_padding_mask [2, 3] must be [2, 2]");
  CHECK(model.training());
}

}  // namespace
}  // namespace attune::tests
