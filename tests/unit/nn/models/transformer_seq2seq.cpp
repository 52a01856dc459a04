// The Transformer as a whole: its formula, padding, steps, beams, loss, refusals.

#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

nn::TransformerConfig small(bool pre_norm = false) {
  return {.vocabulary = 19, .d_model = 8, .d_ff = 12, .heads = 2, .layers = 2, .positions = 12, .pre_norm = pre_norm};
}

Tensor tokens(std::int64_t b, std::int64_t n, std::int64_t vocabulary = 19) { return randint(0, vocabulary, {b, n}); }
Tensor columns(const Tensor& x, std::int64_t from, std::int64_t to) { return slice(x, 1, from, to); }

struct Exact : nn::Transformer {
  explicit Exact(const nn::TransformerConfig& c = small()) : nn::Transformer(c) {
    randomize(*this);
    eval();
  }
};

}  // namespace

TEST_CASE("Transformer: scaled embeddings, sinusoids, blocks, tied output") {
  for (const bool pre : {false, true})
    for (const std::int64_t target_vocabulary : {0, 23})
      for (const bool tied : {true, false}) {
        CAPTURE(pre);
        CAPTURE(target_vocabulary);
        CAPTURE(tied);
        nn::TransformerConfig c = small(pre);
        c.target_vocabulary = target_vocabulary;
        c.tied = tied;
        c.decoder_layers = 1;
        Exact model(c);
        const Tensor source = tokens(2, 5), target = tokens(2, 4);
        const nn::StateDict w = model.state_dict();
        const Tensor from = w.at("source_embedding.weight");
        const Tensor to = target_vocabulary ? w.at("target_embedding.weight") : from;
        const auto enter = [](const Tensor& table, const Tensor& ids) {
          return embedding(table, ids) * std::sqrt(8.0) + nn::sinusoidal_positions(ids.size(1), 8, float64);
        };
        const Tensor memory = model.encoder(enter(from, source));
        CHECK(close(model.encode(source), Plain(memory)));
        const Tensor y = linear(model.decoder(enter(to, target), memory), tied ? to : w.at("output.weight"));
        CHECK(close(model(source, target), Plain(y)));
        CHECK(w.count("target_embedding.weight") == (target_vocabulary ? 1 : 0));
        CHECK(w.count("output.weight") == (tied ? 0 : 1));
        CHECK(w.count("decoder.norm.weight") == (pre ? 1 : 0));
      }
}

TEST_CASE("Transformer: gradients, all through one table") {
  nn::TransformerConfig c = small(true);
  c.layers = 1;
  c.dropout = 0;
  nn::Transformer model(c);
  const Tensor source = tokens(1, 3), labels = index_tensor({3, 4, -100}, {1, 3});
  const Tensor padding = flags({0, 0, 1}, {1, 3});
  CHECK(check_gradients(
            model,
            [&](const Tensors&) {
              return Tensors{model.loss(model(source, model.shift_right(labels), padding), labels)};
            },
            {}, false) == "");
}

TEST_CASE("Transformer: padding on any side has no influence") {
  const Exact model;
  const Tensor words = tokens(1, 4), target = tokens(1, 3), other = tokens(1, 4);
  const Plain y(model(words, target));
  const auto with = [&](std::int64_t left, std::int64_t right) {
    return cat({columns(other, 0, left), words, columns(other, 0, right)}, 1);
  };
  CHECK(close(model(with(0, 3), target, flags({0, 0, 0, 0, 1, 1, 1}, {1, 7})), y));
  CHECK(close(model(with(2, 0), target, flags({1, 1, 0, 0, 0, 0}, {1, 6})), y));
  CHECK(close(model(with(1, 2), target, flags({1, 0, 0, 0, 0, 1, 1}, {1, 7})), y));
  const Tensor inside = cat({columns(words, 0, 1), columns(other, 0, 2), columns(words, 1, 4)}, 1);
  CHECK(close(model(inside, target, flags({0, 1, 1, 0, 0, 0}, {1, 6})), y));
  // An empty source beside another: finite, and the same whatever is hidden.
  const Tensor mask = flags({0, 0, 0, 0, 1, 1, 1, 1}, {2, 4}), both = cat({target, target});
  const Tensor a = model(cat({words, other}), both, mask), b = model(cat({words, words}), both, mask);
  CHECK(close(slice(a, 0, 0, 1), y));
  CHECK(close(a, Plain(b)));
  for (const double logit : values(a)) CHECK(std::isfinite(logit));
}

TEST_CASE("Transformer: steps give the logits of the whole, token by token and several at once, and reordered") {
  for (const bool pre : {false, true}) {
    const Exact model(small(pre));
    const Tensor source = tokens(3, 6), target = tokens(3, 12);
    const Tensor hidden = flags({0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, {3, 6});
    for (const Tensor& padding : {Tensor(), hidden}) {
      const Tensor whole = model(source, target, padding);
      for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>(12, 1), {12}, {4, 1, 1, 5, 1}}) {
        nn::Transformer::State state = model.start(source, padding);
        state.reserve(7);
        std::int64_t at = 0;
        for (const std::int64_t n : counts) {
          const Tensor y = model.step(columns(target, at, at + n), state);
          at += n;
          CHECK(state.length() == at);
          CHECK(close(y, Plain(select(whole, 1, at - 1)), 1e-12));
          CHECK(!y.requires_grad());
        }
      }
    }
    nn::Transformer::State state = model.start(source, hidden);
    model.step(columns(target, 0, 2), state);
    const Tensor rows = index_tensor({2, 0, 0, 1});
    state.reorder(rows);
    const Tensor said = index_select(target, 0, rows);
    const Tensor expected = model(index_select(source, 0, rows), said, index_select(hidden, 0, rows));
    CHECK(close(model.step(columns(said, 2, 3), state), Plain(select(expected, 1, 2)), 1e-12));
    CHECK(thrown([&] { state.reorder(index_tensor({4})); }).starts_with("IndexError: TransformerState::reorder: "));
  }
}

TEST_CASE("Transformer: alignments are the weights of each layer and head") {
  nn::TransformerConfig c = small(true);
  c.decoder_layers = 1;
  Exact model(c);
  const Tensor source = tokens(2, 5), target = tokens(2, 3), padding = flags({0, 0, 0, 1, 1, 1, 1, 1, 1, 1}, {2, 5});
  const Tensors weights = model.alignments(source, target, padding);
  REQUIRE(weights.size() == 1);
  CHECK(weights[0].shape() == Shape{2, 2, 3, 5});
  CHECK(close(sum(weights[0], {3}), Plain(cat({ones({1, 2, 3}, float64), zeros({1, 2, 3}, float64)}))));
  CHECK(same(slice(weights[0], 3, 3), Plain(Shape{2, 2, 3, 2})));
  // By hand: the decoder's first norms and projections.
  const nn::StateDict w = model.state_dict();
  const auto at = [&](const char* name) { return w.at(std::string("decoder.layers.0.") + name); };
  const auto norm = [&](const Tensor& x, const char* weight, const char* bias) {
    return layer_norm(x, at(weight), at(bias));
  };
  const auto part = [&](const Tensor& x, const char* layer, std::int64_t i) {
    const std::string name = layer;
    return linear(x, slice(at((name + ".in_proj_weight").c_str()), 0, 8 * i, 8 * i + 8),
                  slice(at((name + ".in_proj_bias").c_str()), 0, 8 * i, 8 * i + 8));
  };
  const Tensor x =
      embedding(w.at("source_embedding.weight"), target) * std::sqrt(8.0) + nn::sinusoidal_positions(3, 8, float64);
  const Tensor n = norm(x, "norm1.weight", "norm1.bias");
  const Tensor h = x + linear(nn::multihead_attention(part(n, "self_attn", 0), part(n, "self_attn", 1),
                                                      part(n, "self_attn", 2), 2, {.causal = true})
                                  .output,
                              at("self_attn.out_proj.weight"), at("self_attn.out_proj.bias"));
  const Tensor memory = model.encode(source, padding), q = norm(h, "norm2.weight", "norm2.bias");
  const Tensor expected = nn::multihead_attention(part(q, "multihead_attn", 0), part(memory, "multihead_attn", 1),
                                                  part(memory, "multihead_attn", 2), 2,
                                                  {.attention_mask = reshape(padding, {2, 1, 1, 5})}, true)
                              .weights;
  CHECK(close(weights[0], Plain(expected)));
}

TEST_CASE("Transformer: the loss is smoothed in training, plain in evaluation") {
  Exact model;
  const Tensor logits = normal({2, 3, 19}), labels = index_tensor({3, 0, -100, 18, 7, -100}, {2, 3});
  const Plain p(log_softmax(logits));
  double plain = 0, smoothed = 0;
  const std::int64_t label[2][3] = {{3, 0, -100}, {18, 7, -100}};
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t t = 0; t < 2; ++t)
      for (std::int64_t v = 0; v < 19; ++v) {
        const double target = label[b][t] == v ? 1 : 0;
        plain -= target * p[{b, t, v}] / 4;
        smoothed -= (0.9 * target + 0.1 / 19) * p[{b, t, v}] / 4;
      }
  CHECK(model.loss(logits, labels).item() == doctest::Approx(plain).epsilon(1e-12));
  model.train();
  CHECK(model.loss(logits, labels).item() == doctest::Approx(smoothed).epsilon(1e-12));
  CHECK(model.target_count(labels) == 4);
  CHECK(same(model.shift_right(labels), Shape{2, 3}, {1, 3, 0, 1, 18, 7}));
  CHECK(thrown([&] { model.loss(logits, slice(labels, 1, 1)); }) ==
        "ShapeError: Transformer: labels [2, 2] do not fit logits [2, 3, 19]");
}

TEST_CASE("Transformer: it begins with inputs of variance 1 and Glorot's matrices") {
  manual_seed(3);
  nn::Transformer model({.vocabulary = 400, .d_model = 64, .d_ff = 128, .heads = 4, .layers = 1});
  for (const auto& [name, p] : model.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CAPTURE(which);
    if (p.rank() == 1) {
      CHECK(amax(p).item() == (name.ends_with("bias") ? 0 : 1));
      continue;
    }
    const double std = std::sqrt(mean(square(p)).item());
    const double out = static_cast<double>(name.ends_with("in_proj_weight") ? 64 : p.size(0));
    const double expected = name == "source_embedding.weight" ? 1.0 / 8 : std::sqrt(2 / (64 + out + p.size(1) - 64.0));
    CHECK(std == doctest::Approx(expected).epsilon(0.03));
  }
}

TEST_CASE("Transformer: greedy, and beams with the length penalty of Wu et al.") {
  Exact model;
  const Tensor source = tokens(2, 6);
  Tensor said = full({2, 1}, 1, int64);
  for (int i = 0; i < 7; ++i) said = cat({said, unsqueeze(argmax(select(model(source, said), 1, i)), 1)}, 1);
  CHECK(same(nn::generate(model, source, {.max_new_tokens = 7, .pad = 0}).sequences, said));
  const nn::GenerateResult best = nn::generate(
      model, source, {.max_new_tokens = 7, .pad = 0, .beams = 4, .length_penalty = 0.6, .wu_penalty = true});
  const Tensor scores = log_softmax(model(source, columns(best.sequences, 0, 7)));
  const Tensor sums = sum(squeeze(gather(scores, 2, unsqueeze(columns(best.sequences, 1, 8), 2)), 2), {1});
  CHECK(close(best.scores, Plain(sums / std::pow((5 + 8) / 6.0, 0.6)), 1e-6));
  CHECK(thrown([&] { nn::generate(model, source, {.max_length = 5, .pad = 0, .wu_penalty = true}); }) ==
        "ValueError: generate: early_stopping, length_penalty and wu_penalty are for beams above 1");
  CHECK(thrown([&] { nn::generate(model, source, {.max_length = 13, .pad = 0}); }).starts_with("ValueError: generate"));
}

TEST_CASE("Transformer: what does not fit is refused, and a state is as it was") {
  const auto made = [](nn::TransformerConfig c) { return thrown([&] { nn::Transformer model(c); }); };
  CHECK(made({.vocabulary = 0}) == "ValueError: Transformer: vocabulary = 0 must be at least 1");
  CHECK(made({.d_model = 9, .heads = 3}) == "ValueError: Transformer: d_model = 9 must be even");
  CHECK(made({.d_model = 8, .heads = 3}) == "ValueError: Transformer: heads = 3 does not divide d_model = 8");
  CHECK(made({.vocabulary = 5, .start_token = 5}) ==
        "ValueError: Transformer: start_token = 5 is outside of the target's vocabulary of 5");
  CHECK(made({.label_smoothing = 2}).starts_with("ValueError: Transformer: label_smoothing"));
  const Exact model;
  const Tensor source = tokens(2, 5), target = tokens(2, 3);
  CHECK(thrown([&] { model(tokens(2, 13), target); }) ==
        "ShapeError: Transformer: a source of 13 is longer than the 12 positions");
  CHECK(thrown([&] { model(source, tokens(2, 13)); }) ==
        "ShapeError: Transformer: a target of 13 is longer than the 12 positions");
  CHECK(thrown([&] { model(zeros({2, 0}, int64), target); }) == "ShapeError: Transformer: the source has no tokens");
  CHECK(thrown([&] { model.start(zeros({2, 0}, int64)); }) == "ShapeError: Transformer: the source has no tokens");
  CHECK(thrown([&] { model(source, tokens(3, 2)); }) ==
        "ShapeError: Transformer: target [3, 2] must be [2, length], as many rows as the source [2, 5]");
  CHECK(thrown([&] {
          model(source, target, zeros({2, 4}, boolean));
        }) == "ShapeError: Transformer: key_padding_mask [2, 4] must be [2, 5]");
  CHECK(thrown([&] { model(source, target, zeros({2, 5}, int64)); }).starts_with("DTypeError: Transformer: "));
  CHECK(thrown([&] { model(full({2, 5}, 19, int64), target); }).starts_with("IndexError: "));
  nn::Transformer::State state = model.start(source), none;
  model.step(columns(target, 0, 2), state);
  CHECK(thrown([&] { model.step(tokens(3, 1), state); }) ==
        "ShapeError: Transformer: tokens [3, 1] must be [2, n >= 1]");
  CHECK(thrown([&] { model.step(full({2, 1}, 19, int64), state); }).starts_with("IndexError: "));
  CHECK(thrown([&] { model.step(tokens(2, 11), state); }) ==
        "ShapeError: Transformer: a target of 13 is longer than the 12 positions");
  CHECK(thrown([&] { model.step(target, none); }) ==
        "ValueError: Transformer: the state is not one that start() of this model gave");
  CHECK(state.length() == 2);
  CHECK(close(model.step(columns(target, 2, 3), state), Plain(select(model(source, target), 1, 2)), 1e-12));
}

TEST_CASE("MultiheadAttention: what a cache cannot hold is refused; grouped heads step too") {
  nn::MultiheadAttention grouped(8, 4, {.key_heads = 2});
  randomize(grouped);
  const Tensor x = normal({2, 5, 8});
  nn::KeyValueCache cache;
  grouped.append(x, x, cache);
  CHECK(close(grouped.step(x, cache, {.causal = true}), Plain(grouped(x, {.causal = true}).output)));
  const nn::MultiheadAttention extra(8, 2, {.bias_kv = true});
  CHECK(thrown([&] { extra.append(x, x, cache); }) ==
        "ValueError: MultiheadAttention: no cache with bias_kv or zero_attention");
}

}  // namespace attune::tests
