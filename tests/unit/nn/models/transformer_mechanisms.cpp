// The Transformer with other mechanisms in the place of exact attention.
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

constexpr std::int64_t longest = 12;

nn::TransformerConfig with(const nn::AttentionMechanism& encoder, const nn::AttentionMechanism& decoder) {
  return {.vocabulary = 19,
          .d_model = 8,
          .d_ff = 12,
          .heads = 2,
          .layers = 2,
          .positions = longest,
          .dropout = 0,
          .mechanism = encoder,
          .decoder_mechanism = decoder};
}

Tensor tokens(std::int64_t b, std::int64_t n) { return randint(2, 19, {b, n}); }

}  // namespace

TEST_CASE("Transformer: every mechanism encodes, and all of it learns") {
  const std::vector<nn::AttentionMechanism> all{{},
                                                AttentionPattern::sliding_window(4),
                                                LocalOptions{.chunk = 4, .chunks_after = 1},
                                                LshOptions{.chunk = 4, .buckets = {4}},
                                                LinearAttentionOptions{},
                                                nn::PerformerOptions{.features = 8},
                                                nn::LinformerOptions{.length = longest, .projected = 3}};
  for (const nn::AttentionMechanism& m : all) {
    INFO(std::string(m.name()));
    nn::Transformer model(with(m, {}));
    const Tensor source = tokens(2, longest), labels = tokens(2, 5);
    const Tensor padding =
        flags({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}, {2, longest});
    model.loss(model(source, model.shift_right(labels), padding), labels).backward();
    for (const auto& named : model.named_parameters()) {
      const auto& [name, p] = named;
      INFO(named.first);
      REQUIRE(p.grad().defined());
      CHECK(std::isfinite(sum(p.grad()).item()));
      // Keys' biases shift all scores of a query alike.
      if (!name.ends_with("in_proj_bias")) CHECK(sum(abs(p.grad())).item() > 0);
    }
  }
}

TEST_CASE("Transformer: what a mechanism decodes step by step is what it says of the whole") {
  for (const nn::AttentionMechanism& m : std::vector<nn::AttentionMechanism>{
           AttentionPattern::sliding_window(4), LocalOptions{.chunk = 4}, LinearAttentionOptions{},
           nn::PerformerOptions{.features = 8, .softmax_epsilon = 0}}) {
    INFO(std::string(m.name()));
    nn::Transformer model(with({}, m));
    randomize(model);
    model.eval();
    const Tensor source = tokens(2, 7), target = tokens(2, 9);
    const Tensor whole = model(source, target).detach();
    auto state = model.start(source);
    CHECK_THROWS_AS(model.step(full({2, 1}, 99, int64), state), IndexError);
    for (std::int64_t i = 0; i < 9; ++i) {
      const Tensor now = slice(target, 1, i, i + 1);
      CHECK(close(model.step(now, state), Plain(select(whole, 1, i)), 1e-9));
    }
    Tensor said = full({2, 1}, 1, int64);
    for (int i = 0; i < 7; ++i) said = cat({said, unsqueeze(argmax(select(model(source, said), 1, i)), 1)}, 1);
    CHECK(same(nn::generate(model, source, {.max_new_tokens = 7, .pad = 0}).sequences, said));
    // Beams change places: their score is that of what they say, over the length with the start token.
    const nn::GenerateResult best = nn::generate(model, source, {.max_new_tokens = 7, .pad = 0, .beams = 4});
    const Tensor scores = log_softmax(model(source, slice(best.sequences, 1, 0, 7)));
    const Tensor sums = sum(squeeze(gather(scores, 2, unsqueeze(slice(best.sequences, 1, 1, 8), 2)), 2), {1});
    CHECK(close(best.scores, Plain(sums / 8), 1e-6));
  }
}

TEST_CASE("Transformer: matrices begin alike whatever the mechanism, which keeps its own") {
  const nn::Transformer model(with(nn::LinformerOptions{.length = longest, .projected = 400}, {}));
  const auto w = model.state_dict();
  CHECK(amax(abs(w.at("encoder.layers.0.self_attn.mechanism.linformer.proj_k"))).item() <= 1 / std::sqrt(400.0) + 1e-6);
  CHECK(thrown([] {
          nn::Transformer t(with({}, LshOptions{.chunk = 4}));
          auto s = t.start(tokens(1, 3));
          t.step(tokens(1, 1), s);
        }).find("no steps with lsh attention") != std::string::npos);
}
