// generate() over decoders of all kinds, apart from the published cases (reference_decoding).

#include "nn/decode/generate.h"

#include <doctest/doctest.h>

#include <cmath>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::Gpt2Config small() {
  return {.vocabulary = 13, .positions = 24, .d_model = 12, .heads = 3, .layers = 3, .std = 0.6};
}

/// What follows token t is (t + 1) mod 5, nearly always.
Tensor counting_logits(const Tensor& last) {
  Tensor logits = zeros({last.size(0), 5}, float64);
  return where(eq(arange(5), unsqueeze(to(fmod(to(last, float64) + 1, 5), int64), 1)), 4, logits);
}

struct CountingDecoder : nn::Decoder {
  Tensor step(const Tensor& tokens) override {
    ++steps;
    return counting_logits(select(tokens, 1, tokens.size(1) - 1));
  }
  void reorder(const Tensor&) override {}
  int steps = 0;
};

Tensor prompts() { return index_tensor({1, 5, 9, 2, 7, 7, 3, 11}, {2, 4}); }

TEST_CASE("generation goes on to max_length, or for max_new_tokens") {
  CountingDecoder a, b;
  const nn::GenerateResult r = nn::generate(a, index_tensor({3, 0, 1, 2}, {2, 2}), {.max_length = 5});
  CHECK(same(r.sequences, index_tensor({3, 0, 1, 2, 3, 1, 2, 3, 4, 0}, {2, 5})));
  CHECK_FALSE(r.scores.defined());
  CHECK(a.steps == 3);
  CHECK(same(nn::generate(b, index_tensor({4}, {1, 1}), {.max_new_tokens = 2}).sequences,
             index_tensor({4, 0, 1}, {1, 3})));
}

TEST_CASE("a sequence ends with eos, and padding follows; the last to end stops it") {
  CountingDecoder d;
  const nn::GenerateResult r =
      nn::generate(d, index_tensor({0, 3}, {2, 1}), {.max_length = 20, .eos = 4, .pad = 1, .keep_scores = true});
  CHECK(same(r.sequences, index_tensor({0, 1, 2, 3, 4, 3, 4, 1, 1, 1}, {2, 5})));
  CHECK(values(r.lengths) == Values{5, 2});
  CHECK(r.step_scores.size() == 4);
  CountingDecoder e;
  CHECK(same(nn::generate(e, index_tensor({3}, {1, 1}), {.max_length = 9, .min_length = 7, .eos = 4}).sequences,
             index_tensor({3, 0, 1, 2, 3, 0, 1, 2, 3}, {1, 9})));
}

TEST_CASE("hypotheses are scored in the decoder's precision") {
  CountingDecoder d;
  const nn::GenerateResult r = nn::generate(d, index_tensor({0}, {1, 1}), {.max_length = 4, .beams = 2});
  CHECK(r.scores.dtype() == float64);
  CHECK(values(r.scores)[0] == doctest::Approx(-3 * std::log1p(4 * std::exp(-4.0)) / 4).epsilon(1e-14));
}

TEST_CASE("tokens stream through a callback, which may stop") {
  CountingDecoder d;
  std::vector<double> seen;
  const nn::GenerateResult r =
      nn::generate(d, index_tensor({0, 2}, {2, 1}), {.max_length = 20, .on_tokens = [&](const Tensor& t) {
                                                       seen.push_back(t.to_vector<double>()[1]);
                                                       return seen.size() < 3;
                                                     }});
  CHECK(seen == Values{3, 4, 0});
  CHECK(same(r.sequences, index_tensor({0, 1, 2, 3, 2, 3, 4, 0}, {2, 4})));
}

TEST_CASE("with a cache and without one the tokens are the same") {
  nn::Gpt2 model(small());
  model.to(float64);
  const Tensor padding = to(index_tensor({1, 1, 0, 0, 0, 0, 0, 0}, {2, 4}), boolean);
  for (const Tensor& mask : {Tensor(), padding})
    for (const std::int64_t beams : {1, 3}) {
      const nn::GenerateOptions o{.max_length = 20, .eos = 5, .pad = 0, .beams = beams, .keep_scores = true};
      const nn::GenerateResult a = nn::generate(model, prompts(), o, mask);
      model.eval();
      nn::PrefixDecoder decoder([&](const nn::Prefix& p) { return model(p.tokens, p.key_padding_mask); }, mask);
      const nn::GenerateResult b = nn::generate(decoder, prompts(), o);
      CHECK(same(a.sequences, b.sequences));
      REQUIRE(a.step_scores.size() == b.step_scores.size());
      CHECK(difference(stack(a.step_scores), stack(b.step_scores)) < 1e-12);
      model.train();
    }
}

TEST_CASE("rows of a padded batch are what they are alone") {
  nn::Gpt2 model(small());
  model.to(float64);
  const Tensor padding = to(index_tensor({1, 1, 0, 0, 0, 0, 0, 0}, {2, 4}), boolean);
  for (const std::int64_t beams : {1, 4}) {
    const Tensor both = nn::generate(model, prompts(), {.max_new_tokens = 9, .beams = beams}, padding).sequences;
    const Tensor alone =
        nn::generate(model, index_tensor({9, 2}, {1, 2}), {.max_new_tokens = 9, .beams = beams}).sequences;
    CHECK(same(slice(slice(both, 0, 0, 1), 1, 4), slice(alone, 1, 2)));
  }
}

TEST_CASE("the model is in evaluation mode meanwhile, and then as before") {
  nn::Gpt2 model(small());
  model.train(false);
  const Tensor still = nn::generate(model, prompts(), {.max_length = 20}).sequences;
  model.train();
  model.ln_f.eval();
  CHECK(same(nn::generate(model, prompts(), {.max_length = 20}).sequences, still));
  CHECK(model.training());
  CHECK_FALSE(model.ln_f.training());
  CHECK(model.drop.training());
}

/// The best sequences by trying them all: log-probability over length (without its end) ^ penalty.
std::vector<std::pair<double, std::vector<std::int64_t>>> all_hypotheses(const nn::Gpt2& model, std::int64_t start,
                                                                         std::int64_t most, std::int64_t eos,
                                                                         double penalty) {
  std::vector<std::pair<double, std::vector<std::int64_t>>> done, open{{0.0, {start}}};
  while (!open.empty()) {
    const auto [p, s] = open.back();
    open.pop_back();
    if (static_cast<std::int64_t>(s.size()) == most || s.back() == eos) {
      const double n = static_cast<double>(s.size()) - (s.back() == eos ? 1 : 0);
      done.push_back({p / std::pow(n, penalty), s});
      continue;
    }
    const Tensor y = log_softmax(model(tensor(s, {1, static_cast<std::int64_t>(s.size())})));
    const Values last = values(select(y, 1, y.size(1) - 1));
    for (std::size_t token = 0; token < last.size(); ++token) {
      auto longer = s;
      longer.push_back(static_cast<std::int64_t>(token));
      open.push_back({p + last[token], longer});
    }
  }
  std::sort(done.begin(), done.end(), std::greater<>());
  return done;
}

TEST_CASE("beams as many as there are sequences find the best of all") {
  nn::Gpt2Config c = small();
  c.vocabulary = 4;
  nn::Gpt2 model(c);
  model.to(float64);
  model.eval();
  for (const double penalty : {0.0, 1.0, 2.0}) {
    const auto best = all_hypotheses(model, 2, 4, 3, penalty);
    const nn::GenerateResult r =
        nn::generate(model, index_tensor({2}, {1, 1}),
                     {.max_length = 4, .eos = 3, .beams = 30, .length_penalty = penalty, .returned = 5});
    for (std::int64_t i = 0; i < 5; ++i) {
      const auto& [score, tokens] = best[static_cast<std::size_t>(i)];
      CHECK(values(r.scores)[static_cast<std::size_t>(i)] == doctest::Approx(score).epsilon(1e-6));
      const auto row = values(select(r.sequences, 0, i));
      CHECK(std::equal(tokens.begin(), tokens.end(), row.begin()));
      CHECK(values(r.lengths)[static_cast<std::size_t>(i)] == static_cast<double>(tokens.size()));
    }
  }
}

TEST_CASE("sampling follows the seed, and several drawings of a prompt differ") {
  nn::Gpt2 model(small());
  Generator a(3), b(3), c(4);
  const nn::GenerateOptions o{
      .max_length = 20, .returned = 3, .sample = true, .temperature = 2, .top_k = 9, .top_p = 0.95, .generator = &a};
  nn::GenerateOptions again = o, other = o;
  again.generator = &b;
  other.generator = &c;
  const Tensor x = nn::generate(model, prompts(), o).sequences;
  CHECK(x.shape() == Shape{6, 20});
  CHECK(same(x, nn::generate(model, prompts(), again).sequences));
  CHECK_FALSE(same(x, nn::generate(model, prompts(), other).sequences));
  CHECK_FALSE(same(x[0], x[1]));
  CHECK(same(slice(x[0], 0, 0, 4), slice(x[1], 0, 0, 4)));
  // Nothing but the best is left.
  CHECK(same(nn::generate(model, prompts(), {.max_length = 20, .sample = true, .top_k = 1}).sequences,
             nn::generate(model, prompts(), {.max_length = 20}).sequences));
}

TEST_CASE("rules of one's own") {
  CountingDecoder d;
  const auto no_three = [](const Tensor& sequences, const Tensor& scores) {
    CHECK(sequences.size(0) == scores.size(0));
    return where(eq(arange(5), 3), -inf, scores);
  };
  CHECK(same(nn::generate(d, index_tensor({1}, {1, 1}), {.max_length = 5, .processors = {no_three}}).sequences,
             index_tensor({1, 2, 0, 1, 2}, {1, 5})));
  const auto none = [](const Tensor&, const Tensor&) { return Tensor(); };
  CHECK(refusal<ShapeError>([&] {
          nn::generate(d, index_tensor({1}, {1, 1}), {.max_length = 5, .processors = {none}});
        }) != "");
}

/// A recurrent language model, as a user writes it.
struct Recurrent : nn::Module {
  using State = nn::RecurrentState;
  nn::Embedding& embed = child<nn::Embedding>("embed", 7, 6);
  nn::LSTM& lstm = child<nn::LSTM>("lstm", 6, 10, {.layers = 2, .batch_first = true});
  nn::Linear& out = child<nn::Linear>("out", 10, 7);
  Tensor operator()(const Tensor& tokens) const { return out(lstm(embed(tokens)).output); }
  State start() const { return {}; }
  Tensor step(const Tensor& tokens, State& state) const {
    const Tensor y = out(lstm.step(embed(tokens), state));
    return select(y, 1, y.size(1) - 1);
  }
};

TEST_CASE("a recurrent network decodes by its states") {
  Recurrent model;
  model.to(float64);
  const Tensor prompt = index_tensor({1, 2, 3, 4, 5, 6}, {2, 3});
  for (const std::int64_t beams : {1, 3}) {
    const nn::GenerateOptions o{.max_length = 12, .eos = 0, .beams = beams, .keep_scores = true};
    const nn::GenerateResult a = nn::generate(model, prompt, o);
    nn::PrefixDecoder decoder([&](const nn::Prefix& p) { return model(p.tokens); });
    const nn::GenerateResult b = nn::generate(decoder, prompt, o);
    CHECK(same(a.sequences, b.sequences));
    CHECK(difference(stack(a.step_scores), stack(b.step_scores)) < 1e-12);
  }
  CHECK(thrown([&] {
          nn::generate(model, prompt, {.max_length = 12}, zeros({2, 3}, boolean));
        }) == "ValueError: generate: the model's start() takes no key_padding_mask");
}

TEST_CASE("functions and prefixes decode, and know where their rows come from") {
  const Tensor source = index_tensor({2, 0, 4}, {3});  // an encoder's output, say
  nn::PrefixDecoder d([&](const nn::Prefix& p) {
    return counting_logits(select(p.tokens, 1, p.tokens.size(1) - 1) + index_select(source, 0, p.rows));
  });
  const Tensor y = nn::generate(d, zeros({3, 1}, int64), {.max_length = 4, .beams = 2}).sequences;
  CHECK(same(y, index_tensor({0, 3, 1, 4, 0, 1, 2, 3, 0, 0, 0, 0}, {3, 4})));
  int reordered = 0;
  nn::FunctionDecoder f([](const Tensor& t) { return counting_logits(select(t, 1, t.size(1) - 1)); },
                        [&](const Tensor&) { ++reordered; });
  CHECK(same(nn::generate(f, index_tensor({1}, {1, 1}), {.max_length = 4, .beams = 2}).sequences,
             index_tensor({1, 2, 3, 4}, {1, 4})));
  CHECK(reordered > 0);
}

}  // namespace
}  // namespace attune::tests
