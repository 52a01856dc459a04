#include <doctest/doctest.h>

#include "autograd/autograd.h"
#include "nn/decode/generate.h"
#include "nn/models/reformer.h"

using namespace attune;

namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  return amax(abs(a.detach() - b.detach())).item();
}

nn::ReformerConfig small(std::vector<nn::ReformerAttention> layers) {
  nn::ReformerConfig c;
  c.vocabulary = 17;
  c.d_model = 16;
  c.d_ff = 24;
  c.heads = 2;
  c.layers = std::move(layers);
  c.lsh.chunk = 4;
  c.lsh.hashes = 2;
  c.local.chunk = 6;
  c.axial_rows = 6;
  c.axial_columns = 8;
  c.axial_row_dim = 5;
  c.ff_chunks = 2;
  return c;
}

/// The largest difference of steps from full passes over all prefixes from `prompt` on.
double steps_apart(nn::Reformer& model, const Tensor& tokens, const nn::ReformerCall& call, std::int64_t prompt) {
  const NoGrad off;
  nn::ReformerState state = model.start(call);
  Tensor logits = model.step(slice(tokens, 1, 0, prompt), state);
  double apart = 0;
  for (std::int64_t n = prompt;; ++n) {
    const Tensor full = model(slice(tokens, 1, 0, n), call);
    apart = std::max(apart, largest_difference(logits, select(full, 1, n - 1)));
    if (n == tokens.size(1)) return apart;
    logits = model.step(slice(tokens, 1, n, n + 1), state);
  }
}

constexpr auto lsh = nn::ReformerAttention::lsh, local = nn::ReformerAttention::local;

/// One set of rotations for each LSH layer, so that all passes have the same.
nn::ReformerCall rotated(const nn::Reformer& model, std::int64_t b) {
  nn::ReformerCall call;
  for (std::size_t i = 0; i < model.config.layers.size(); ++i) {
    call.attention.emplace_back();
    if (model.config.layers[i] == lsh)
      call.attention[i].rotations =
          lsh_rotations(model.config.lsh, b, model.config.heads, model.config.head_dim, 48, float64);
  }
  return call;
}

}  // namespace

TEST_CASE("a Reformer's steps are its full passes where the full pass cannot change earlier tokens") {
  manual_seed(6);
  const Tensor tokens = randint(0, 17, {2, 48});
  const auto check = [&](nn::ReformerConfig c, const std::vector<std::int64_t>& prompts = {1, 5, 20}) {
    nn::Reformer model(c);
    model.to(float64);
    model.eval();
    const nn::ReformerCall call = rotated(model, 2);
    for (const std::int64_t prompt : prompts) {
      CAPTURE(prompt);
      CHECK(steps_apart(model, tokens, call, prompt) < 1e-10);
    }
  };
  SUBCASE("one LSH layer, the last") {
    for (LshOptions o : {LshOptions::paper(), LshOptions::hugging_face(), LshOptions::lucidrains()}) {
      nn::ReformerConfig c = small({local, local, lsh});
      o.chunk = 4;
      o.hashes = 2;
      o.buckets = {6};
      c.lsh = o;
      check(c);
    }
  }
  SUBCASE("local layers alone, a table of positions") {
    nn::ReformerConfig c = small({local, local, local});
    c.axial = false;
    c.positions = 48;
    check(c);
  }
  SUBCASE("many LSH and local layers whose buckets fit the chunks before") {
    nn::ReformerConfig c = small({lsh, local, lsh, lsh});
    c.lsh.buckets = {4};
    c.lsh.chunk = 6;
    c.lsh.chunks_before = 8;  // 48 tokens, whatever bucket they are in
    check(c, {7, 20});        // the first chunk's tokens, alone, attend to all of it
  }
}

TEST_CASE("elsewhere a Reformer's steps keep earlier tokens as they were") {
  manual_seed(7);
  nn::ReformerConfig c = small({lsh, lsh, lsh});
  c.lsh.buckets = {4};
  nn::Reformer model(c);
  model.to(float64);
  model.eval();
  const nn::ReformerCall call = rotated(model, 1);
  const Tensor tokens = randint(0, 17, {1, 48});
  CHECK(steps_apart(model, tokens, call, 1) > 1e-6);  // why the documentation says where they agree
}

TEST_CASE("a Reformer generates, greedily and by beams, with a prompt at once or token by token") {
  manual_seed(8);
  nn::ReformerConfig c = small({local, lsh});
  c.lsh.buckets = {6};
  nn::Reformer model(c);
  model.to(float64);
  const Tensor prompt = randint(0, 17, {2, 7});
  const nn::ReformerCall call = rotated(model, 2);
  model.eval();
  for (const std::int64_t beams : {1, 3}) {
    nn::CachedDecoder again(model, model.start(call));
    nn::PrefixDecoder same([&](const nn::Prefix& p) {
      nn::ReformerCall own = call;
      own.attention[1].rotations = index_select(call.attention[1].rotations, 0, p.rows);
      return model(p.tokens, own);
    });
    const nn::GenerateOptions o{.max_new_tokens = 20, .beams = beams};
    const nn::GenerateResult a = nn::generate(again, prompt, o), b = nn::generate(same, prompt, o);
    CHECK(all(eq(a.sequences, b.sequences)));
  }
  CHECK(nn::generate(model, prompt, {.max_new_tokens = 5}).sequences.shape() == Shape{2, 12});
  CHECK_THROWS(nn::generate(model, prompt, {.max_new_tokens = 48}));
  // A step that throws leaves the state.
  nn::ReformerState state = model.start(call);
  model.step(prompt, state);
  CHECK_THROWS_AS(model.step(full({2, 1}, 17, int64), state), IndexError);
  CHECK(state.length() == 7);
  CHECK_THROWS_AS(model.step(randint(0, 17, {2, 42}), state), ShapeError);
  CHECK(model.step(randint(0, 17, {2, 3}), state).shape() == Shape{2, 17});
  CHECK_THROWS_AS(model.start({.key_padding_mask = zeros({2, 7}, boolean)}), ValueError);
  nn::ReformerConfig both = small({local});
  both.local.causal = false;
  CHECK_THROWS_AS(nn::Reformer(both).start(), ValueError);
}
