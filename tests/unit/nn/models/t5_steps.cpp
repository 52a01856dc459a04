// T5 step by step: equal to the whole, rows reordered, no memory that grows.

#include <doctest/doctest.h>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::T5Config small() {
  return {.vocabulary = 19,
          .d_model = 12,
          .d_kv = 5,
          .d_ff = 16,
          .heads = 3,
          .layers = 1,
          .decoder_layers = 2,
          .buckets = 8,
          .max_distance = 9,
          .activation = Activation::gelu_tanh,
          .gated = true,
          .tied = false};
}

Tensor tokens(std::int64_t b, std::int64_t n) { return randint(0, 19, {b, n}); }
Tensor columns(const Tensor& x, std::int64_t from, std::int64_t to) { return slice(x, 1, from, to); }

struct Exact : nn::T5 {
  Exact() : nn::T5(small()) {
    to(float64);
    eval();
  }
};

TEST_CASE("T5's steps give the logits of the whole, token by token and several at once") {
  const Exact model;
  const Tensor source = tokens(2, 14), target = tokens(2, 17);
  const Tensor hidden = to(index_tensor({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1,  //
                                         1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                                        {2, 14}),
                           boolean);
  for (const Tensor& padding : {Tensor(), hidden}) {
    const Tensor whole = model(source, target, {.key_padding_mask = padding});
    for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>(17, 1), {17}, {4, 1, 1, 5, 1, 2, 3}})
      for (const std::int64_t room : {0, 5, 40}) {
        nn::T5::State state = model.start(source, padding);
        CHECK(state.length() == 0);
        if (room > 0) state.reserve(room);
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
}

TEST_CASE("T5's states are reordered: own tokens, source and its padding") {
  const Exact model;
  const Tensor source = tokens(3, 6), target = tokens(3, 4);
  const Tensor hidden = to(index_tensor({0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1}, {3, 6}), boolean);
  nn::T5::State state = model.start(source, hidden);
  Tensor rows = arange(3);             // of the source, of each row
  Tensor said = zeros({3, 0}, int64);  // by each row
  std::int64_t step = 0;
  const auto next = [&](const Tensor& order) {
    if (order.defined()) {
      state.reorder(order);
      rows = index_select(rows, 0, order);
      said = index_select(said, 0, order);
    }
    const Tensor fresh = randint(0, 19, {rows.size(0), 1});
    said = cat({said, fresh}, 1);
    const Tensor expected =
        model(index_select(source, 0, rows), said, {.key_padding_mask = index_select(hidden, 0, rows)});
    CHECK(close(model.step(fresh, state), Plain(select(expected, 1, step++)), 1e-12));
  };
  next(index_tensor({0, 0, 1, 1, 2, 2}));  // before the first token: two beams each
  next({});
  next(index_tensor({1, 0, 2, 2, 5, 5}));  // among the beams of each source
  next(index_tensor({1, 0, 3, 2, 4, 4}));
  next(index_tensor({5, 0, 3}));  // across sources, fewer rows
  next(index_tensor({2, 1, 0, 0}));
  CHECK(thrown([&] { state.reorder(index_tensor({0, 4})); }).starts_with("IndexError: T5State::reorder: "));
  CHECK(thrown([&] {
          state.reorder(index_tensor({0, 1}, {1, 2}));
        }) == "ShapeError: T5State::reorder: rows [1, 2] must be [b']");
  next({});  // as it was
}

TEST_CASE("T5: beams that change places among themselves leave the source alone") {
  const Exact model;
  nn::T5::State state = model.start(tokens(2, 500));
  state.reorder(index_tensor({0, 0, 0, 1, 1, 1}));
  state.reserve(8);
  model.step(tokens(6, 1), state);
  state.reorder(index_tensor({1, 0, 2, 4, 4, 3}));
  reset_peak_memory();
  state.reorder(index_tensor({2, 2, 1, 3, 5, 4}));
  CHECK(memory_stats().peak_bytes - memory_stats().live_bytes < 500 * 15 * 8);  // less than one source's keys
}

TEST_CASE("T5's encoder runs once, and a step takes no memory that grows with the steps done") {
  Exact model;
  int encoded = 0;
  const nn::HookHandle hook =
      model.encoder.register_forward_hook([&](const nn::Module&, const Tensors&, const Tensors&) { ++encoded; });
  nn::T5::State state = model.start(tokens(1, 30));
  state.reserve(400);
  std::vector<std::int64_t> peaks;
  const Tensor token = tokens(1, 1);
  for (int i = 0; i < 400; ++i) {
    const std::int64_t live = memory_stats().live_bytes;
    reset_peak_memory();
    model.step(token, state);
    peaks.push_back(memory_stats().peak_bytes - live);
  }
  CHECK(encoded == 1);
  CHECK(peaks[399] == peaks[9]);
}

TEST_CASE("T5's steps refuse what does not fit, and the state is as it was") {
  const Exact model;
  const Tensor source = tokens(2, 5), target = tokens(2, 3);
  nn::T5::State state = model.start(source), none;
  model.step(columns(target, 0, 2), state);
  CHECK(thrown([&] { model.step(tokens(3, 1), state); }) == "ShapeError: T5: tokens [3, 1] must be [2, n >= 1]");
  CHECK(thrown([&] {
          model.step(zeros({2, 0}, int64), state);
        }) == "ShapeError: T5: tokens [2, 0] must be [2, n >= 1]");
  CHECK(thrown([&] { model.step(zeros({2}, int64), state); }) == "ShapeError: T5: tokens [2] must be [2, n >= 1]");
  CHECK(thrown([&] { model.step(full({2, 1}, 19, int64), state); }).starts_with("IndexError: "));
  CHECK(thrown([&] { model.step(target, none); }) ==
        "ValueError: T5: the state is not one that start() of this model gave");
  CHECK(thrown([&] { model.start(zeros({2, 0}, int64)); }) == "ShapeError: T5: the source has no tokens");
  CHECK(thrown([&] {
          model.start(source, zeros({2, 4}, boolean));
        }) == "ShapeError: T5: key_padding_mask [2, 4] must be [2, 5]");
  // A step that runs out of memory half-way.
  const Tensor long_tokens = tokens(2, 3000);
  set_memory_budget(memory_stats().live_bytes + (1 << 20));
  CHECK_THROWS_AS(model.step(long_tokens, state), MemoryError);
  set_memory_budget(0);
  CHECK(state.length() == 2);
  CHECK(close(model.step(columns(target, 2, 3), state), Plain(select(model(source, target), 1, 2)), 1e-12));
}

TEST_CASE("T5 generates: greedy and beams as by hand") {
  Exact model;
  const Tensor source = tokens(2, 6);
  const nn::GenerateResult r = nn::generate(model, source, {.max_new_tokens = 7, .pad = 0});
  Tensor said = full({2, 1}, 0, int64);
  for (int i = 0; i < 7; ++i) said = cat({said, unsqueeze(argmax(select(model(source, said), 1, i)), 1)}, 1);
  CHECK(same(r.sequences, said));
  const nn::GenerateResult best = nn::generate(model, source, {.max_new_tokens = 7, .pad = 0, .beams = 4});
  const Tensor scores = log_softmax(model(source, columns(best.sequences, 0, 7)));
  const Tensor sums = sum(squeeze(gather(scores, 2, unsqueeze(columns(best.sequences, 1, 8), 2)), 2), {1});
  CHECK(close(best.scores, Plain(sums / 8), 1e-6));
}

}  // namespace
}  // namespace attune::tests
