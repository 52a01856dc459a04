// Sequence to sequence step by step: equal to the whole, rows reordered, generating; and how both models begin.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

template <class M>
struct Exact : M {
  template <class Config>
  explicit Exact(const Config& c) : M(c) {
    randomize(*this);
    this->eval();
  }
};
struct Vanilla : Exact<nn::VanillaSeq2Seq> {
  Vanilla()
      : Exact(nn::VanillaSeq2SeqConfig{
            .source_vocabulary = 13, .vocabulary = 11, .d_embedding = 3, .d_hidden = 4, .layers = 2}) {}
};
struct Additive : Exact<nn::AdditiveSeq2Seq> {
  Additive()
      : Exact(nn::AdditiveSeq2SeqConfig{
            .source_vocabulary = 13, .vocabulary = 11, .d_embedding = 3, .d_hidden = 4, .d_maxout = 3}) {}
};

const char* name_of_model(const Vanilla&) { return "VanillaSeq2Seq"; }
const char* name_of_model(const Additive&) { return "AdditiveSeq2Seq"; }

Tensor columns(const Tensor& x, std::int64_t from, std::int64_t to) { return slice(x, 1, from, to); }
Tensor said(std::int64_t b, std::int64_t n) { return randint(0, 11, {b, n}); }

}  // namespace

TEST_CASE_TEMPLATE("Seq2Seq's steps give the logits of the whole, token by token and several at once", M, Vanilla,
                   Additive) {
  const M m;
  const Tensor source = randint(0, 13, {2, 6}), target = said(2, 9);
  for (const Tensor& padding : {Tensor(), flags({1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1}, {2, 6})}) {
    const Tensor whole = m(source, target, {.key_padding_mask = padding});
    for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>(9, 1), {9}, {4, 1, 1, 3}}) {
      typename M::State state = m.start(source, padding);
      CHECK(state.length() == 0);
      state.reserve(9);
      std::int64_t at = 0;
      for (const std::int64_t n : counts) {
        const Tensor y = m.step(columns(target, at, at + n), state);
        at += n;
        CHECK(state.length() == at);
        CHECK(close(y, Plain(select(whole, 1, at - 1)), 1e-12));
        CHECK(!y.requires_grad());
        if constexpr (std::is_same_v<M, Additive>)
          CHECK(close(state.alignment(),
                      Plain(select(m.aligned(source, target, {.key_padding_mask = padding}).alignments, 1, at - 1)),
                      1e-12));
      }
    }
  }
}

TEST_CASE_TEMPLATE("Seq2Seq's states are reordered: own state, source and its padding", M, Vanilla, Additive) {
  const M m;
  const Tensor source = randint(0, 13, {3, 6});
  const Tensor hidden = flags({0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1}, {3, 6});
  typename M::State state = m.start(source, hidden);
  Tensor rows = arange(3);               // of the source, of each row
  Tensor tokens = zeros({3, 0}, int64);  // said by each row
  std::int64_t step = 0;
  const auto next = [&](const Tensor& order) {
    if (order.defined()) {
      state.reorder(order);
      rows = index_select(rows, 0, order);
      tokens = index_select(tokens, 0, order);
    }
    const Tensor fresh = said(rows.size(0), 1);
    tokens = cat({tokens, fresh}, 1);
    const Tensor expected =
        m(index_select(source, 0, rows), tokens, {.key_padding_mask = index_select(hidden, 0, rows)});
    CHECK(close(m.step(fresh, state), Plain(select(expected, 1, step++)), 1e-12));
  };
  next(index_tensor({0, 0, 1, 1, 2, 2}));  // before the first token: two beams each
  next({});
  next(index_tensor({1, 0, 2, 2, 5, 5}));  // among the beams of each source
  next(index_tensor({5, 0, 3}));           // across sources, fewer rows
  next(index_tensor({2, 1, 0, 0}));
  const std::string name = name_of_model(m);
  CHECK(thrown([&] { state.reorder(index_tensor({0, 4})); }).starts_with("IndexError: " + name + "State::reorder: "));
  CHECK(thrown([&] {
          state.reorder(index_tensor({0, 1}, {1, 2}));
        }) == "ShapeError: " + name + "State::reorder: rows [1, 2] must be [b']");
  next({});  // as it was
}

TEST_CASE_TEMPLATE("Seq2Seq's steps refuse what does not fit, and the state is as it was", M, Vanilla, Additive) {
  const M m;
  const std::string name = name_of_model(m);
  const Tensor source = randint(0, 13, {2, 5}), target = said(2, 3);
  typename M::State state = m.start(source), none;
  m.step(columns(target, 0, 2), state);
  CHECK(thrown([&] { m.step(said(3, 1), state); }) == "ShapeError: " + name + ": tokens [3, 1] must be [2, n >= 1]");
  CHECK(thrown([&] {
          m.step(zeros({2, 0}, int64), state);
        }) == "ShapeError: " + name + ": tokens [2, 0] must be [2, n >= 1]");
  CHECK(thrown([&] { m.step(full({2, 1}, 11, int64), state); }).starts_with("IndexError: "));
  CHECK(thrown([&] { m.step(target, none); }) ==
        "ValueError: " + name + ": the state is not one that start() of this model gave");
  CHECK(state.length() == 2);
  CHECK(close(m.step(columns(target, 2, 3), state), Plain(select(m(source, target), 1, 2)), 1e-12));
}

TEST_CASE_TEMPLATE("Seq2Seq generates: greedy and beams as by hand", M, Vanilla, Additive) {
  M m;
  const Tensor source = randint(0, 13, {2, 6});
  const nn::GenerateResult r = nn::generate(m, source, {.max_new_tokens = 7, .pad = 0});
  Tensor tokens = full({2, 1}, 1, int64);
  for (int i = 0; i < 7; ++i) tokens = cat({tokens, unsqueeze(argmax(select(m(source, tokens), 1, i)), 1)}, 1);
  CHECK(same(r.sequences, tokens));
  const nn::GenerateResult best = nn::generate(m, source, {.max_new_tokens = 7, .pad = 0, .beams = 4});
  const Tensor scores = log_softmax(m(source, columns(best.sequences, 0, 7)));
  const Tensor sums = sum(squeeze(gather(scores, 2, unsqueeze(columns(best.sequences, 1, 8), 2)), 2), {1});
  CHECK(close(best.scores, Plain(sums / 8), 1e-6));
}

TEST_CASE("Seq2Seq begins as published") {
  manual_seed(5);
  const nn::VanillaSeq2Seq v({.source_vocabulary = 50, .vocabulary = 40, .d_embedding = 30, .d_hidden = 20});
  for (const auto& [name, p] : v.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CAPTURE(which);
    CHECK(amax(abs(p)).item() <= 0.08);
    CHECK(amax(abs(p)).item() > 0.07);
  }
  nn::AdditiveSeq2SeqConfig c{.source_vocabulary = 50, .vocabulary = 40, .d_embedding = 30, .d_hidden = 20};
  c.start = nn::Seq2SeqStart::published;
  const nn::AdditiveSeq2Seq a(c);
  for (const auto& [name, p] : a.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CAPTURE(which);
    const double std = std::sqrt(mean(square(p)).item());
    if (p.rank() == 1)  // biases and v_a
      CHECK(std == 0);
    else if (name.find("weight_hh") != std::string::npos || name.ends_with("recurrent_weight"))
      for (const Tensor& gate : chunk(p.detach(), 3, 0))
        CHECK(close(matmul(gate, transpose(gate)), Plain(eye(20)), 1e-5));
    else
      CHECK(std == doctest::Approx(name.find("attention") != std::string::npos ? 0.001 : 0.01).epsilon(0.15));
  }
  c.start = nn::Seq2SeqStart::scaled;
  const nn::AdditiveSeq2Seq scaled(c);
  CHECK(std::sqrt(mean(square(scaled.decoder.attention.score_weight)).item()) == doctest::Approx(0.22).epsilon(0.5));
  CHECK(std::sqrt(mean(square(scaled.encoder.embedding.weight)).item()) == doctest::Approx(0.1).epsilon(0.15));
  CHECK(amax(abs(scaled.decoder.head.weight)).item() > 0.1);
}

}  // namespace attune::tests
