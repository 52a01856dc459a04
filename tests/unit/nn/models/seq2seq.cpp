// Sequence to sequence: both models by their formulas, their gradients, padding anywhere, and what they refuse.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

nn::VanillaSeq2SeqConfig small_vanilla() {
  return {.source_vocabulary = 13, .vocabulary = 11, .d_embedding = 3, .d_hidden = 4, .layers = 2};
}
nn::AdditiveSeq2SeqConfig small_additive() {
  return {.source_vocabulary = 13, .vocabulary = 11, .d_embedding = 3, .d_hidden = 4, .d_attention = 5, .d_maxout = 3};
}

template <class M>
struct Exact : M {
  template <class Config>
  explicit Exact(const Config& c) : M(c) {
    randomize(*this);
    this->eval();
  }
};
using Vanilla = Exact<nn::VanillaSeq2Seq>;
using Additive = Exact<nn::AdditiveSeq2Seq>;

Tensor source(std::int64_t b, std::int64_t n, std::uint64_t seed = 3) {
  Generator g(seed);
  return randint(0, 13, {b, n}, g);
}
Tensor target(std::int64_t b, std::int64_t n, std::uint64_t seed = 4) {
  Generator g(seed);
  return randint(0, 11, {b, n}, g);
}
Tensor row(const Tensor& x, std::int64_t i) { return slice(x, 0, i, i + 1); }

/// Sources of 5, 3, 1 and 0 tokens among 7 places: padding on the right, on the left, in between, everywhere. Hidden
/// tokens are no tokens of the vocabulary.
struct Padded {
  std::vector<std::vector<std::int64_t>> own{{3, 1, 4, 1, 5}, {9, 2, 6}, {8}, {}};
  Tensor tokens = index_tensor({3,  1,  4,  1,  5,  -1, -1,    //
                                -1, -1, -1, -1, 9,  2,  6,     //
                                -1, 99, -1, 8,  -1, -1, 1000,  //
                                -1, -1, -1, -1, -1, -1, -100},
                               {4, 7});
  Tensor mask = flags({0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {4, 7});
};

TEST_CASE("VanillaSeq2Seq is its formula: two LSTMs, the source reversed or not") {
  for (const bool reversed : {true, false}) {
    nn::VanillaSeq2SeqConfig c = small_vanilla();
    c.reverse_source = reversed;
    const Vanilla m(c);
    const Tensor s = source(2, 5), t = target(2, 4);
    const Tensor read = m.source_embedding(reversed ? flip(s, {1}) : s);
    const RecurrentResult encoded = m.encoder(transpose(read, 0, 1));
    const RecurrentResult said = m.decoder(transpose(m.embedding(t), 0, 1), {encoded.h, encoded.c});
    CHECK(close(m(s, t), Plain(m.head(transpose(said.output, 0, 1))), 1e-13));
  }
}

/// The paper's formulas, a sentence and a step at a time.
Tensor by_formula(const nn::AdditiveSeq2Seq& m, const Tensor& s, const Tensor& t) {
  const RecurrentResult read = m.encoder.rnn(select(m.encoder.embedding(s), 0, 0));  // of one sentence
  const Tensor h = read.output;                                                      // [n, 2 d]
  const auto& d = m.decoder;
  Tensor state = tanh(linear(select(read.h, 0, 1), m.encoder.state.weight, m.encoder.state.bias()));
  Tensors logits;
  for (std::int64_t i = 0; i < t.size(1); ++i) {
    const Tensor word = select(d.embedding(select(t, 0, 0)), 0, i);
    const Tensor compared =
        tanh(matmul(d.attention.query_weight, state) + matmul(h, transpose(d.attention.key_weight)));
    const Tensor weights = softmax(matmul(compared, d.attention.score_weight), 0);
    const Tensor context = matmul(weights, h);
    const Tensors pairs = chunk(matmul(d.readout->weight, cat({state, word, context}, 0)) + d.readout->bias(), 2, 0);
    const Tensor &x = pairs[0], &y = pairs[1];
    logits.push_back(matmul(d.head.weight, where(gt(x, y), x, y)) + d.head.bias());
    const Tensors in =
        chunk(matmul(d.word_gates.weight, word) + d.word_gates.bias() + matmul(d.context_gates.weight, context), 3, 0);
    const Tensors own = chunk(matmul(d.recurrent_weight, state) + d.recurrent_bias, 3, 0);
    const Tensor r = sigmoid(in[0] + own[0]), z = sigmoid(in[1] + own[1]), n = tanh(in[2] + r * own[2]);
    state = (1 - z) * n + z * state;
  }
  return unsqueeze(stack(logits), 0);
}

TEST_CASE("AdditiveSeq2Seq is its formula") {
  const Additive m(small_additive());
  const Tensor s = source(2, 6), t = target(2, 5);
  const nn::Seq2SeqResult r = m.aligned(s, t);
  for (std::int64_t i = 0; i < 2; ++i)
    CHECK(close(row(r.logits, i), Plain(by_formula(m, row(s, i), row(t, i))), 1e-12));
  CHECK(same(m(s, t), r.logits.detach()));
  CHECK(r.alignments.shape() == Shape{2, 5, 6});
  CHECK(close(sum(r.alignments, {2}), Plain({2, 5}, 1), 1e-12));
}

TEST_CASE("Seq2Seq: gradients of all parameters, padding included") {
  const Padded p;
  const Tensor t = target(4, 3), labels = index_tensor({2, 3, -100, 1, 7, 7, 0, 10, 3, -100, 4, 4}, {4, 3});
  Vanilla v(small_vanilla());
  CHECK(check_gradients(
            v, [&](const Tensors&) { return Tensors{v.loss(v(p.tokens, t, {.key_padding_mask = p.mask}), labels)}; },
            {}, false) == "");
  for (const bool simple : {false, true}) {
    nn::AdditiveSeq2SeqConfig c = small_additive();
    if (simple) {
      c.d_maxout = 0;
      c.readout_after = c.both_ends = c.attention_bias = true;
      c.d_encoder = 2;
      c.d_source_embedding = 2;
    }
    Additive a(c);
    CHECK(check_gradients(
              a,
              [&](const Tensors&) {
                const nn::Seq2SeqResult r = a.aligned(p.tokens, t, {.key_padding_mask = p.mask});
                return Tensors{a.loss(r.logits, labels), r.alignments};
              },
              {}, false) == "");
  }
}

template <class M>
void check_padding(M& m) {
  const Padded p;
  const Tensor t = target(4, 6);
  const Tensor together = m(p.tokens, t, {.key_padding_mask = p.mask});
  for (std::int64_t i = 0; i < 3; ++i) {
    const auto& own = p.own[static_cast<std::size_t>(i)];
    const Tensor alone = m(index_tensor(own, {1, static_cast<std::int64_t>(own.size())}), row(t, i));
    CHECK(close(row(together, i), Plain(alone), 1e-12));
    typename M::State state = m.start(row(p.tokens, i), row(p.mask, i));
    CHECK(close(m.step(row(t, i), state), Plain(select(alone, 1, 5)), 1e-12));
  }
  // The decoder's tokens, padded in any place.
  const Tensor hidden = flags({0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0}, {4, 6});
  const Tensor odd = masked_fill(t, hidden, 4711);
  const Tensor padded = m(p.tokens, odd, {.key_padding_mask = p.mask, .decoder_key_padding_mask = hidden});
  CHECK(padded.shape() == Shape{4, 6, 11});
  const std::vector<std::int64_t> mask = to(hidden, DType::int64).to_vector<std::int64_t>();
  for (std::int64_t i = 0; i < 4; ++i) {
    std::vector<std::int64_t> kept;
    for (std::int64_t j = 0; j < 6; ++j)
      if (mask[static_cast<std::size_t>(6 * i + j)] == 0) kept.push_back(j);
    const Tensor at = index_tensor(kept);
    const Tensor alone = m(row(p.tokens, i), index_select(row(t, i), 1, at), {.key_padding_mask = row(p.mask, i)});
    CHECK(close(index_select(row(padded, i), 1, at), Plain(alone), 1e-12));
  }
  // A mask that hides nothing is no mask.
  const Tensor s = source(2, 5);
  CHECK(same(m(s, slice(t, 0, 0, 2), {.key_padding_mask = zeros({2, 5}, boolean)}), m(s, slice(t, 0, 0, 2)).detach()));
}

TEST_CASE("Seq2Seq: padding on any side has no influence, and hidden tokens may be anything") {
  Vanilla v(small_vanilla());
  check_padding(v);
  Additive a(small_additive());
  check_padding(a);
  const Padded p;
  const Tensor seen = a.aligned(p.tokens, target(4, 2), {.key_padding_mask = p.mask}).alignments;
  const Tensor mask = to(p.mask, float64);
  CHECK(seen.shape() == Shape{4, 2, 7});
  CHECK(same(seen * unsqueeze(mask, 1), Plain({4, 2, 7})));
  CHECK(close(sum(seen, {2}), Plain(tensor({1, 1, 1, 1, 1, 1, 0, 0}, {4, 2}, float64)), 1e-12));
  const Tensor alone = a.aligned(index_tensor({9, 2, 6}, {1, 3}), row(target(4, 2), 1)).alignments;
  CHECK(close(slice(row(seen, 1), 2, 4), Plain(alone), 1e-12));
}

TEST_CASE("Seq2Seq: a source of padding alone is one of no words") {
  const Tensor tokens = index_tensor({5, 5, 5}, {1, 3}), hidden = flags({1, 1, 1}, {1, 3}), t = target(1, 2);
  const Vanilla v(small_vanilla());
  const RecurrentResult said = v.decoder(transpose(v.embedding(t), 0, 1));  // from zeros
  CHECK(close(v(tokens, t, {.key_padding_mask = hidden}), Plain(v.head(transpose(said.output, 0, 1))), 1e-13));
  const Additive a(small_additive());
  const nn::Seq2SeqResult r = a.aligned(tokens, t, {.key_padding_mask = hidden});
  CHECK(same(r.alignments, Plain({1, 2, 3})));
  CHECK(amax(abs(r.logits)).item() < 1e6);
}

TEST_CASE("Seq2Seq: shift_right, loss and its count leave padding out") {
  Additive a(small_additive());
  const Tensor labels = index_tensor({5, 6, 2, 7, 2, -100}, {2, 3});
  CHECK(same(a.shift_right(labels), index_tensor({1, 5, 6, 1, 7, 2}, {2, 3})));
  const Tensor left = index_tensor({-100, 7, 2}, {1, 3});
  CHECK(same(a.shift_right(left), index_tensor({1, 0, 7}, {1, 3})));
  CHECK(a.target_count(labels) == 5);
  const Tensor logits = a(source(2, 3), a.shift_right(labels));
  const Tensor each = a.loss(logits, labels, Reduction::none);
  CHECK(each.shape() == Shape{2, 3});
  CHECK(close(a.loss(logits, labels), Plain(sum(each) / 5), 1e-13));
}

TEST_CASE("Seq2Seq refuses what does not fit, at the caller's line") {
  const Vanilla v(small_vanilla());
  const Additive a(small_additive());
  const Tensor s = source(2, 3), t = target(2, 4);
  const auto both = [&](const auto& f, const std::string& what) {
    CHECK(thrown([&] { f(v); }) == what.substr(0, what.find('@')) + "VanillaSeq2Seq" + what.substr(what.find('@') + 1));
    CHECK(thrown([&] { f(a); }) ==
          what.substr(0, what.find('@')) + "AdditiveSeq2Seq" + what.substr(what.find('@') + 1));
  };
  both([&](const auto& m) { m(s, target(3, 4)); },
       "ShapeError: @: source [2, 3] and decoder tokens [3, 4] are of different batches");
  both([&](const auto& m) { m(zeros({2, 0}, int64), t); }, "ShapeError: @: source [2, 0] must be [batch, length >= 1]");
  both(
      [&](const auto& m) {
        m(s, zeros({2, 0}, int64));
      },
      "ShapeError: @: decoder tokens [2, 0] must be [batch, length >= 1]");
  both([&](const auto& m) { m.start(zeros({3}, int64)); }, "ShapeError: @: source must be [batch, length], got [3]");
  both(
      [&](const auto& m) {
        m(s, t, {.key_padding_mask = flags({0, 1}, {1, 2})});
      },
      "ShapeError: @: the key_padding_mask [1, 2] must be [2, 3] as source");
  both(
      [&](const auto& m) {
        m(s, t, {.key_padding_mask = zeros({2, 3})});
      },
      "DTypeError: @: the key_padding_mask must be of bool, got float32");
  both([&](const auto& m) { m(zeros({2, 3}), t); }, "DTypeError: @: source must be integers, got float32");
  both(
      [&](const auto& m) {
        m.loss(zeros({2, 4, 11}), target(2, 3));
      },
      "ShapeError: @: labels [2, 3] do not fit logits [2, 4, 11]");
  CHECK(thrown([&] { v(full({2, 3}, 13, int64), t); }).starts_with("IndexError: "));
  CHECK(thrown([&] { a(s, full({2, 3}, -1, int64)); }).starts_with("IndexError: "));
  try {
    a(full({2, 3}, 13, int64), t);
    CHECK(false);
  } catch (const IndexError& e) {
    CHECK(std::string(e.what()).find("seq2seq.cpp") != std::string::npos);
  }
  CHECK(thrown([] { nn::VanillaSeq2Seq({.source_vocabulary = 0}); }) ==
        "ValueError: VanillaSeq2Seq: source_vocabulary = 0 must be at least 1");
  CHECK(thrown([] { nn::AdditiveSeq2Seq({.vocabulary = 5, .start_token = 5}); }) ==
        "ValueError: AdditiveSeq2Seq: start_token = 5 is outside of the vocabulary of 5");
  CHECK(thrown([] { nn::AdditiveSeq2Seq({.vocabulary = 5, .d_maxout = -1}); }) ==
        "ValueError: AdditiveSeq2Seq: d_maxout = -1 must be at least 0");
}

}  // namespace
}  // namespace attune::tests
