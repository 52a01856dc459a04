// ELMo: characters, layers in both directions, padding, states between batches, the language model's loss.

#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

nn::ElmoConfig small() {
  nn::ElmoConfig c;
  c.char_dim = 3;
  c.filters = {{1, 2}, {2, 3}};
  c.highway = 1;
  c.projection = 4;
  c.cells = 5;
  c.cell_clip = 0.6;
  c.projection_clip = 0.5;
  c.vocabulary = 7;
  return c;
}

struct Exact : nn::Elmo {
  Exact() : nn::Elmo(small()) {
    randomize(*this);
    eval();
  }
};

const std::vector<std::vector<std::string>> sentences{{"a", "cat", "sat"}, {"so"}, {}};

}  // namespace

TEST_CASE("ELMo's characters: bytes between marks, cut, filled, nothing behind a sentence") {
  const Tensor c = nn::elmo_characters({{"ab", "\xC3\xA9tude"}, {}}, 6);
  CHECK(same(c, Shape{2, 2, 6}, {259, 98, 99, 260, 261, 261, 259, 196, 170, 117, 118, 260,  //
                                 0,   0,  0,  0,   0,   0,   0,   0,   0,   0,   0,   0}));
  CHECK(thrown([] { nn::elmo_characters({{"a"}}, 2); }) ==
        "ValueError: elmo_characters: word_length = 2 must be at least 3");
  CHECK(thrown([] { nn::elmo_characters({}); }) == "ValueError: elmo_characters: there are no sentences");
}

TEST_CASE("ElmoCharacterEncoder puts marks around a sentence") {
  const Exact m;
  const nn::ElmoWords w = m.token_embedder(nn::elmo_characters(sentences, 8));
  CHECK(w.vectors.shape() == Shape{3, 5, 4});
  CHECK(same(w.key_padding_mask, flags({0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1}, {3, 5})));
  const auto word = [&](std::int64_t b, std::int64_t t) { return Plain(select(select(w.vectors, 0, b), 0, t)); };
  CHECK(close(word(1, 2), word(0, 4)));  // the end, behind one word and three
  CHECK(close(word(2, 1), word(0, 4)));  // and behind none
  CHECK(close(word(2, 0), word(0, 0)));
  CHECK(!close(word(0, 0), word(0, 4), 1e-3));
}

TEST_CASE("ELMo's layers: words twice, then both directions with a residual; padding is 0 and has no influence") {
  const Exact m;
  const Tensor characters = nn::elmo_characters(sentences, 8);
  const nn::ElmoResult r = m(characters);
  CHECK(r.layers.shape() == Shape{3, 3, 3, 8});
  CHECK(same(r.key_padding_mask, flags({0, 0, 0, 0, 1, 1, 1, 1, 1}, {3, 3})));
  CHECK(amax(abs(masked_fill(r.layers, reshape(logical_not(r.key_padding_mask), {1, 3, 3, 1}), 0))).item() == 0);
  // The same sentence alone, and layer by layer.
  const Tensor alone = nn::elmo_characters({sentences[1]}, 8);
  CHECK(close(m(alone).layers, Plain(slice(slice(r.layers, 1, 1, 2), 2, 0, 1))));
  const Tensor x = m.token_embedder(alone).vectors;
  const nn::StateDict w = m.state_dict();
  const auto run = [&](const char* name, const Tensor& in, bool reverse) {
    const auto at = [&](const char* part) { return w.at(std::string("elmo_lstm.") + name + part); };
    return transpose(lstm(linear(transpose(in, 0, 1), at(".input_linearity.weight")), {}, {},
                          at(".state_linearity.weight"), at(".state_linearity.bias"), at(".state_projection.weight"),
                          {.reverse = reverse, .cell_clip = 0.6, .projection_clip = 0.5})
                         .output,
                     0, 1);
  };
  const Tensor f0 = run("forward_layer_0", x, false), b0 = run("backward_layer_0", x, true);
  const Tensor f1 = f0 + run("forward_layer_1", f0, false), b1 = b0 + run("backward_layer_1", b0, true);
  CHECK(close(m(alone).layers, Plain(slice(stack({cat({x, x}, 2), cat({f0, b0}, 2), cat({f1, b1}, 2)}), 2, 1, 2))));
}

TEST_CASE("ELMo refuses rows whose words do not come first") {
  nn::Elmo m({.filters = {{1, 2}}, .projection = 4, .cells = 4});
  const Tensor characters = nn::elmo_characters({{"one", "two"}, {"three"}}, 8);
  CHECK(m(characters).layers.size(1) == 2);
  CHECK(thrown([&] { m(flip(characters, {1})); }) ==
        "ValueError: token_embedder: ElmoCharacterEncoder: a row has a word of zeros before another word; words come "
        "first");
}

TEST_CASE("ElmoLstm: gradients, empty sequences, initial states") {
  nn::ElmoLstm m(3, 2, 3, 2, 0.9, 0.8);
  randomize(m);
  const Tensor lengths = index_tensor({3, 0, 2});
  CHECK(check_gradients(
            m,
            [&](const Tensors& in) {
              const RecurrentResult r = m(in[0], {in[1], in[2]}, lengths);
              return Tensors{r.output, r.h, r.c};
            },
            {normal_leaf({3, 3, 3}), normal_leaf({2, 3, 4}, 3), normal_leaf({2, 3, 6}, 4)}, false) == "");
  const Tensor x = normal({3, 3, 3}), h = normal({2, 3, 4}, 3), c = normal({2, 3, 6}, 4);
  const RecurrentResult r = m(x, {h, c}, lengths);
  CHECK(same(select(r.h, 1, 1), Plain(select(h, 1, 1))));
  CHECK(same(select(r.c, 1, 1), Plain(select(c, 1, 1))));
  CHECK(amax(abs(select(r.output, 1, 1))).item() == 0);
  const Tensor other = where(reshape(flags({0, 0, 0, 1, 1, 1, 0, 0, 1}, {3, 3}), {3, 3, 1}), not_a_number, x);
  CHECK(same(m(other, {h, c}, lengths).output, r.output));
  CHECK(thrown([&] {
          m(x, {zeros({2, 2, 4}, float64), {}});
        }) == "ShapeError: ElmoLstm: h0 [2, 2, 4] must be [2, 3, 4]");
  CHECK(thrown([&] { m(zeros({3, 3, 2}, float64)); }).ends_with("ElmoLstmLayer: x [3, 3, 2] must be [b, t, 3]"));
  CHECK(thrown([] { nn::ElmoLstm bad(3, 2, 0, 1); }).starts_with("ValueError: ElmoLstmLayer: cells = 0"));
}

TEST_CASE("ELMo's state goes from batch to batch, of any size, off the tape") {
  nn::ElmoLstm m(2, 2, 3, 1);
  randomize(m);
  const Tensor x = normal({3, 2, 2});
  nn::ElmoState state;
  CHECK(!state.rows(2).h.defined());
  const RecurrentResult all = m(x);
  state.keep(all);
  CHECK(!state.h.requires_grad());
  CHECK(same(state.h, Plain(all.h)));
  const LstmState two = state.rows(2);
  CHECK(same(two.h, Plain(slice(all.h, 1, 0, 2))));
  const RecurrentResult next = m(slice(x, 0, 0, 2), two);  // a smaller batch: the third row's state waits
  state.keep(next);
  CHECK(same(slice(state.c, 1, 0, 2), Plain(next.c)));
  CHECK(same(slice(state.c, 1, 2), Plain(slice(all.c, 1, 2))));
  const LstmState more = state.rows(5);
  CHECK(same(slice(more.h, 1, 3), Plain(Shape{1, 2, 4})));
  // A sequence in two pieces, forward.
  const Tensor y = normal({1, 6, 2}, 9);
  nn::ElmoState pieces;
  const RecurrentResult first = m(slice(y, 1, 0, 4));
  pieces.keep(first);
  const RecurrentResult second = m(slice(y, 1, 4), pieces.rows(1));
  CHECK(close(slice(cat({first.output, second.output}, 2), 3, 0, 2), Plain(slice(m(y).output, 3, 0, 2))));
}

TEST_CASE("ELMo's loss: each word from the words before it and from those behind it, by one softmax") {
  Exact m;
  const Tensor characters = nn::elmo_characters(sentences, 8);
  const Tensor words = index_tensor({3, 4, 5, 6, -100, -100, -100, -100, -100}, {3, 3});
  const Tensor each = m.loss(characters, words, Reduction::none);
  CHECK(each.shape() == Shape{2, 3, 4});
  const nn::ElmoWords w = m.token_embedder(characters);
  const Tensor top = select(m.lstm(w.vectors, {}, index_tensor({5, 3, 2})).output, 0, 1);
  const Plain p(log_softmax((*m.softmax)(reshape(top, {3, 5, 2, 4}))));  // [b, t + 2, 2, V]
  Plain expected(Shape{2, 3, 4});
  const std::vector<std::vector<std::int64_t>> ids{{0, 3, 4, 5, 1}, {0, 6, 1}, {0, 1}};
  double total = 0, count = 0;
  for (std::int64_t b = 0; b < 3; ++b) {
    const auto& row = ids[static_cast<std::size_t>(b)];
    for (std::int64_t i = 0; i + 1 < std::ssize(row); ++i) {
      expected[{0, b, i}] = -p[{b, i, 0, row[static_cast<std::size_t>(i) + 1]}];
      expected[{1, b, i}] = -p[{b, i + 1, 1, row[static_cast<std::size_t>(i)]}];
      total += expected[{0, b, i}] + expected[{1, b, i}];
      count += 2;
    }
  }
  CHECK(close(each, expected));
  CHECK(m.target_count(characters, words) == count);
  CHECK(m.loss(characters, words).item() == doctest::Approx(total / count).epsilon(1e-12));
  nn::ElmoState state;
  m.loss(characters, words, Reduction::mean, &state);
  CHECK(state.h.shape() == Shape{2, 3, 8});
  CHECK(!same(m(characters, &state).layers, Plain(m(characters).layers)));
}

TEST_CASE("ELMo: gradients reach every parameter; what does not fit is refused") {
  nn::Elmo m(small());
  const Tensor characters = nn::elmo_characters(sentences, 8),
               words = index_tensor({3, 4, 5, 6, 0, 0, 0, 0, 0}, {3, 3});
  m.loss(characters, words).backward();
  for (const auto& [name, p] : m.named_parameters()) {
    const std::string which = name;  // clang 14 captures no binding
    CAPTURE(which);
    CHECK(amax(abs(p.grad())).item() > 0);
  }
  CHECK(thrown([&] { m(zeros({2, 3}, int64)); }).starts_with("ShapeError: "));
  CHECK(thrown([&] { m(full({1, 2, 8}, 262, int64)); }).starts_with("IndexError: "));
  CHECK(thrown([&] {
          m.loss(characters, zeros({3, 2}, int64));
        }) == "ShapeError: Elmo: words [3, 2] do not fit characters [3, 3, 8]");
  CHECK(thrown([&] { m.loss(characters, full({3, 3}, 7, int64)); }).starts_with("IndexError: "));
  const auto made = [](const std::function<void(nn::ElmoConfig&)>& change) {
    nn::ElmoConfig c = small();
    change(c);
    return thrown([&] { nn::Elmo bad(c); });
  };
  CHECK(made([](auto& c) { c.characters = 261; }) == "ValueError: Elmo: characters = 261 must be at least 262");
  CHECK(made([](auto& c) { c.end_token = 7; }) == "ValueError: Elmo: end_token = 7 is outside of the vocabulary of 7");
  CHECK(made([](auto& c) { c.cell_clip = -1; }).starts_with("ValueError: ElmoLstmLayer: cell_clip"));
  nn::ElmoConfig features = small();
  features.vocabulary = 0;
  const nn::Elmo silent(features);
  CHECK(thrown([&] { silent.loss(characters, words); }) ==
        "ValueError: Elmo: a model without a vocabulary predicts no words");
}

}  // namespace attune::tests
