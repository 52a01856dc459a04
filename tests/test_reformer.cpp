// LSH and local attention, reversible blocks, and the Reformer made of them.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/plain.h"

namespace attune::tests {
namespace {

double difference(const Tensor& a, const Tensor& b) { return amax(abs(a.detach() - b.detach())).item(); }

struct Sample {
  Tensor qk, v;
  explicit Sample(const Shape& shape, std::uint64_t seed = 1) {
    Generator g(seed);
    qk = randn(shape, float64, g).requires_grad_();
    v = randn(shape, float64, g).requires_grad_();
  }
};

std::vector<std::pair<const char*, LshOptions>> variants() {
  LshOptions across = LshOptions::paper();
  across.mask_other_buckets = false;
  LshOptions around = LshOptions::paper();
  around.causal = false;
  around.chunks_after = 1;
  LshOptions factors = LshOptions::hugging_face();
  factors.buckets = {2, 4};
  return {{"paper", LshOptions::paper()},
          {"hugging_face", LshOptions::hugging_face()},
          {"lucidrains", LshOptions::lucidrains()},
          {"paper across buckets", across},
          {"paper, both ways", around},
          {"factorised", factors}};
}

}  // namespace

TEST_CASE("lsh: buckets are the largest of [xR, -xR], offset by round") {
  LshOptions o;
  o.hashes = 2;
  o.buckets = {4};
  o.chunk = 2;
  const Tensor x = tensor({1, 0, 0, 1, -1, 0, 0, -2}, {1, 4, 1, 2}, float64);
  const Tensor rotations =
      tensor({1, 0, 0, 1, 0, 1, 1, 0}, {2, 2, 2}, float64);  // [d, R, w]: round 0 keeps (x, y), round 1 gives (y, x)
  CHECK(values(lsh_buckets(x, rotations, o)) == std::vector<double>{0, 1, 2, 3, 5, 4, 7, 6});
  // Padding has a bucket of its own in each round.
  const Tensor valid = ge(tensor({1, 1, 1, 0}, {1, 4}), 1);
  CHECK(values(lsh_buckets(x, rotations, o, valid)) == std::vector<double>{0, 1, 2, 4, 6, 5, 8, 9});
}

TEST_CASE("lsh: bucket counts by each rule") {
  LshOptions o = LshOptions::paper();
  o.chunk = 64;
  CHECK(lsh_bucket_factors(o, 1024) == Dims{32});
  o.bucket_count = BucketCount::one_chunk;
  CHECK(lsh_bucket_factors(o, 1024) == Dims{16});
  o.bucket_count = BucketCount::power_of_two;
  CHECK(lsh_bucket_factors(o, 1024) == Dims{32});
  CHECK(lsh_bucket_factors(o, 65536) == Dims{32, 64});  // 2048 > 2 max(sqrt(1024), 64)
  o.buckets = {4, 6};
  CHECK(lsh_bucket_factors(o, 1024) == Dims{4, 6});
  o.buckets = {4, 3};
  CHECK(refusal<ValueError>([&] { lsh_bucket_factors(o, 1024); }) ==
        "lsh_bucket_factors: bucket counts must be even and positive, got [4, 3]");
}

TEST_CASE("lsh: every variant equals its definition with dense matrices, in value and gradient") {
  for (const auto& [name, variant] : variants())
    for (const std::int64_t hashes : {1, 3})
      for (const Shape& shape : {Shape{2, 16, 2, 4}, Shape{1, 13, 1, 3}, Shape{1, 4, 2, 4}}) {
        const std::string which = name;  // clang 14 captures no binding
        CAPTURE(which);
        CAPTURE(hashes);
        CAPTURE(shape.str());
        LshOptions o = variant;
        o.hashes = hashes;
        o.chunk = 4;
        o.dropout = hashes == 3 ? 0.25 : 0;
        const Sample s(shape);
        Tensor valid;
        if (shape[1] == 16) valid = lt(arange(16), tensor({16, 11}, {2, 1}, int64));
        Generator g(4);
        const Tensor buckets =
            lsh_buckets(s.qk, lsh_rotations(o, shape[0], shape[2], shape[3], shape[1], float64, g), o, valid);
        const RandomKey key{3, 9};
        const Tensor fused = lsh_attention(s.qk, s.v, buckets, o, valid, key),
                     composed = lsh_attention_composed(s.qk, s.v, buckets, o, valid, key);
        // Scores near -1e5 have eleven digits left behind the point.
        CHECK(difference(fused, composed) < 1e-9);
        const Tensor c = randn(shape, float64, g);
        const Tensors a = grad({fused}, {s.qk, s.v}, {.cotangents = {c}}),
                      b = grad({composed}, {s.qk, s.v}, {.cotangents = {c}});
        CHECK(difference(a[0], b[0]) < 1e-9);
        CHECK(difference(a[1], b[1]) < 1e-9);
      }
}

TEST_CASE("lsh: a window longer than the ring of chunks meets no key twice") {
  for (const bool causal : {true, false})
    for (const bool same_bucket : {true, false})
      for (const std::int64_t after : {0, 1, 5}) {
        LshOptions o;
        o.chunk = 4;
        o.chunks_before = std::max<std::int64_t>(3 - after, 0);
        o.chunks_after = after;
        o.causal = causal;
        o.mask_other_buckets = same_bucket;
        const Sample s({1, 8, 2, 4});
        Generator g(6);
        const Tensor buckets = lsh_buckets(s.qk, lsh_rotations(o, 1, 2, 4, 8, float64, g), o);
        CHECK(difference(lsh_attention(s.qk, s.v, buckets, o), lsh_attention_composed(s.qk, s.v, buckets, o)) < 1e-9);
        o.self_mask = SelfMask::replace;  // its own key, too, counts once however often a query meets it
        o.self_penalty = 0.5;
        CHECK(difference(lsh_attention(s.qk, s.v, buckets, o), lsh_attention_composed(s.qk, s.v, buckets, o)) < 1e-9);
      }
  CHECK(lsh_bucket_factors(LshOptions::hugging_face(), 100) == Dims{4});
}

TEST_CASE("lsh: with one bucket and a chunk for all, hashing is full shared-QK attention") {
  const Sample s({1, 12, 2, 4});
  LshOptions o;
  o.hashes = 2;
  o.chunk = 6;  // a query sees its own and the previous chunk: all there is
  const Tensor buckets = reshape(cat({zeros({1, 2, 1, 12}, int32), ones({1, 2, 1, 12}, int32)}, 2), {1, 2, 2, 12});
  const Tensor hashed = lsh_attention(s.qk, s.v, buckets, o), full = lsh_attention_composed(s.qk, s.v, {}, o);
  CHECK(difference(hashed, full) < 1e-9);
}

TEST_CASE("lsh: causal attention sees no future, and a token itself only where there is nothing else") {
  const Sample s({1, 8, 1, 4});
  LshOptions o;
  o.hashes = 2;
  o.chunk = 4;
  const Tensor buckets = reshape(cat({zeros({1, 1, 1, 8}, int32), ones({1, 1, 1, 8}, int32)}, 2), {1, 1, 2, 8});
  const std::vector<double> w = values(lsh_attention_weights(s.qk, buckets, o));
  CHECK(w[0] == doctest::Approx(1));  // the first token has only itself
  for (std::size_t i = 0; i < 8; ++i) {
    double total = 0;
    for (std::size_t j = 0; j < 8; ++j) {
      if (j > i) CHECK(w[8 * i + j] == 0);
      total += w[8 * i + j];
    }
    CHECK(total == doctest::Approx(1));
    if (i > 0) CHECK(w[8 * i + i] == 0);
  }
}

TEST_CASE("lsh: float32 keeps its digits where a token sees only itself") {
  // A score of -1e5 leaves a float two digits behind the point; the weights must still add up to 1.
  const Sample s({1, 8, 1, 4});
  LshOptions o;
  o.hashes = 3;
  o.chunk = 2;
  Tensor own_bucket = arange(8, int32);
  const Tensor buckets = reshape(cat({own_bucket, own_bucket + 8, own_bucket + 16}), {1, 1, 3, 8});
  const Tensor v = ones({1, 8, 1, 4});
  for (double y : values(lsh_attention(to(s.qk.detach(), float32), v, buckets, o)))
    CHECK(y == doctest::Approx(1).epsilon(1e-6));
}

TEST_CASE("local: equals its definition, and dense attention under the matching mask") {
  Generator g(2);
  const auto draw = [&] { return randn({2, 10, 2, 4}, float64, g).requires_grad_(); };
  const Tensor q = draw(), k = draw(), v = draw();
  for (const bool causal : {true, false})
    for (const bool ring : {true, false}) {
      const LocalOptions o{
          .chunk = 3, .chunks_before = 1, .chunks_after = causal ? 0 : 1, .causal = causal, .ring = ring};
      CHECK(difference(local_attention(q, k, v, o), local_attention_composed(q, k, v, o)) < 1e-12);
    }
  const LocalOptions o{.chunk = 5};
  const Tensor position = arange(10), chunk = to(tensor({0, 0, 0, 0, 0, 1, 1, 1, 1, 1}), int64);
  const Tensor far = gt(abs(to(unsqueeze(chunk, 1) - chunk, float64)), 1.5),
               future = gt(position, unsqueeze(position, 1));
  const auto heads = [](const Tensor& x) { return permute(x, {0, 2, 1, 3}); };
  const Tensor dense =
      scaled_dot_product_attention(heads(q), heads(k), heads(v), {.mask = logical_or(far, future)}).output;
  CHECK(difference(heads(local_attention(q, k, v, o)), dense) < 1e-12);
}

TEST_CASE("lsh: wrong calls") {
  const Sample s({1, 8, 1, 2});
  LshOptions o;
  o.chunk = 4;
  CHECK(refusal<ShapeError>([&] {
          lsh_attention(s.qk, s.v, zeros({1, 1, 2, 8}, int32), o);
        }) == "lsh_attention: buckets [1, 1, 2, 8] must be [batch, heads, hashes = 1, length] of [1, 8, 1, 2]");
  CHECK(refusal<DTypeError>([&] {
          lsh_attention(s.qk, s.v, zeros({1, 1, 1, 8}, int64), o);
        }) == "lsh_attention: needs int32, got int64 [1, 1, 1, 8]");
  CHECK(refusal<IndexError>([&] {
          lsh_attention(s.qk, s.v, full({1, 1, 1, 8}, -1, int32), o);
        }) == "lsh_attention: bucket -1 is negative");
  CHECK(refusal<IndexError>([&] {
          lsh_attention(s.qk, s.v, full({1, 1, 1, 8}, 2147483647, int32), o);
        }) == "lsh_attention: bucket 2147483647 is not below 67108864");
  Tensor valid = ones({1, 8}, boolean);
  const Tensor qk = s.qk.detach().requires_grad_(), buckets = zeros({1, 1, 1, 8}, int32);
  const Tensor y = sum(lsh_attention(qk, s.v, buckets, o, valid));
  *valid.mutable_data<bool>() = false;  // between the forward and the backward pass
  CHECK_THROWS_AS(y.backward(), GradError);
  o.hashes = 0;
  CHECK(refusal<ValueError>([&] {
          lsh_attention(s.qk, s.v, zeros({1, 1, 0, 8}, int32), o);
        }) == "lsh_attention: hashes = 0 must be at least 1");
}

// ---- reversible blocks
// ---------------------------------------------------------------------------------------------------------------

namespace {

nn::ReformerConfig small_config(std::size_t layers) {
  nn::ReformerConfig c;
  c.vocabulary = 13;
  c.d_model = 16;
  c.d_ff = 32;
  c.heads = 2;
  c.layers.assign(layers, nn::ReformerAttention::lsh);
  c.lsh.hashes = 2;
  c.lsh.chunk = 4;
  c.axial_rows = c.axial_columns = 4;
  c.axial_row_dim = 8;
  return c;
}

struct Gradients {
  double loss;
  std::vector<Tensor> gradients;
};

Gradients gradients_of(nn::ReformerConfig c, bool reversible, std::uint64_t seed = 7) {
  c.reversible = reversible;
  manual_seed(seed);
  nn::Reformer model(c);
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 13, {2, 16}, g);
  const Tensor loss = model.loss(model(tokens), tokens);
  loss.backward();
  Gradients out{loss.item(), {}};
  for (const Tensor& p : model.parameters()) out.gradients.push_back(p.grad());
  return out;
}

}  // namespace

TEST_CASE("reversible: the same loss and gradients as ordinary execution, dropout and hashes replayed") {
  nn::ReformerConfig c = small_config(3);
  c.layers[1] = nn::ReformerAttention::local;
  c.local.chunk = 4;
  c.dropout = 0.2;
  c.lsh.dropout = 0.1;
  c.ff_chunks = 3;
  const Gradients a = gradients_of(c, true), b = gradients_of(c, false);
  CHECK(a.loss == b.loss);
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    REQUIRE(a.gradients[i].defined());
    CHECK(difference(a.gradients[i], b.gradients[i]) < 1e-10);
  }
}

TEST_CASE("reversible: activation memory does not grow with depth") {
  const auto held = [](std::size_t layers, bool reversible) {
    nn::ReformerConfig c = small_config(layers);
    c.d_model = 64;
    c.d_ff = 128;
    c.axial_rows = c.axial_columns = 16;
    c.lsh.chunk = 16;
    c.axial_row_dim = 32;
    c.reversible = reversible;
    nn::Reformer model(c);
    const Tensor tokens = zeros({2, 256}, int64);
    const std::int64_t before = memory_stats().live_bytes;
    const Tensor loss = model.loss(model(tokens), tokens);
    return memory_stats().live_bytes - before;
  };
  // What is kept a layer are int32 buckets, 2 x 2 heads x 2 hashes x 256 = 8 KiB, and the nodes' own bookkeeping,
  // against an activation of 128 KiB.
  const auto growth = [&](bool reversible) {
    return static_cast<double>(held(8, reversible) - held(2, reversible)) / 6;
  };
  CHECK(growth(true) < 24 << 10);
  CHECK(growth(false) > 500 << 10);
}

TEST_CASE("reversible: second derivatives") {
  manual_seed(1);
  nn::Linear f(3, 3), g(3, 3);
  f.to(float64);
  g.to(float64);
  const auto run = [&](bool reversible) {
    return [&f, &g, reversible](const Tensors& in) {
      const nn::ReversibleBlock block{[&](const Tensor& x) { return tanh(f(x)); },
                                      [&](const Tensor& x) { return tanh(g(x)); }, f.parameters(), g.parameters()};
      const nn::TwoStreams y = nn::reversible_blocks({block, block}, {in[0], in[1]}, reversible);
      return Tensors{y.first, y.second};
    };
  };
  const Tensors xs{randn({2, 3}, float64).requires_grad_(), randn({2, 3}, float64).requires_grad_()};
  CHECK(gradcheck(run(true), xs) == "");
  CHECK(gradcheck(run(false), xs) == "");
}

TEST_CASE("reversible: a parameter that is not listed is an error, not a missing gradient") {
  nn::Linear f(3, 3), g(3, 3);
  const nn::ReversibleBlock block{
      [&](const Tensor& x) { return f(x); }, [&](const Tensor& x) { return g(x); }, f.parameters(), {g.weight}};
  const nn::TwoStreams y = nn::reversible_blocks({block}, {randn({2, 3}), randn({2, 3})});
  for (const bool create_graph : {true, false})
    CHECK(refusal<GradError>([&] { sum(y.second).backward({.create_graph = create_graph}); }) ==
          "reversible_blocks: a block uses a tensor [3] that requires a gradient and is not among its parameters");
}

TEST_CASE("reversible: recorded parameters in the place of a model's own, also after they have gone back") {
  manual_seed(3);
  nn::Reformer model(small_config(1));
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 13, {1, 16}, g);
  // Parameters of an inner step of training: each a function of t.
  const auto gradient = [&](bool reversible, bool create_graph) {
    manual_seed(5);
    nn::ReformerConfig c = small_config(1);
    c.reversible = reversible;
    nn::Reformer other(c);
    other.to(float64);
    const Tensor t = scalar(1, float64).requires_grad_();
    Tensors moved;
    for (const Tensor& p : model.parameters()) moved.push_back(p.detach() * t);
    const Tensor loss = other.with_parameters(moved, [&] { return Tensors{other.loss(other(tokens), tokens)}; })[0];
    return grad({loss}, {t}, {.create_graph = create_graph})[0].item();
  };
  const double expected = gradient(false, false);
  CHECK(gradient(true, false) == doctest::Approx(expected).epsilon(1e-10));
  CHECK(gradient(true, true) == doctest::Approx(expected).epsilon(1e-10));
}

TEST_CASE("reversible: a whole model passes gradcheck to second order") {
  manual_seed(3);
  nn::ReformerConfig c = small_config(1);
  c.d_model = 4;
  c.d_ff = 4;
  c.heads = 1;
  c.vocabulary = 3;
  c.axial_row_dim = 2;
  c.dropout = 0.1;
  nn::Reformer model(c);
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 3, {1, 16}, g);
  CHECK(nn::gradcheck(model, [&](const Tensors&) { return Tensors{model.loss(model(tokens), tokens)}; }, {}) == "");
}

TEST_CASE("reversible: gradients of a recorded sweep, kept in the parameters, do not keep the graph") {
  const std::int64_t before = memory_stats().live_blocks;
  {
    nn::Linear f(3, 3), g(3, 3);
    const auto run_f = [&](const Tensor& x) { return tanh(f(x)); };
    const auto run_g = [&](const Tensor& x) { return tanh(g(x)); };
    const nn::TwoStreams y =
        nn::reversible_blocks({{run_f, run_g, f.parameters(), g.parameters()}}, {randn({2, 3}), randn({2, 3})});
    sum(y.second * y.first).backward({.create_graph = true});
    CHECK(f.weight.grad().requires_grad());
  }
  CHECK(memory_stats().live_blocks == before);
}

TEST_CASE("reformer: trains on a tiny duplication task, and any number of threads gives the same weights") {
  const int before = num_threads();
  std::vector<double> first;
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    nn::ReformerConfig c = small_config(2);
    c.dropout = 0.1;
    manual_seed(11);
    nn::Reformer model(c);
    optim::AdamW opt(model.parameters(), {.lr = 1e-3});
    Generator data(5);
    double start = 0, end = 0;
    for (int step = 0; step < 40; ++step) {
      const Tensor w = randint(1, 3, {8, 7}, data), zero = zeros({8, 1}, int64), tokens = cat({zero, w, zero, w}, 1);
      const Tensor loss = model.loss(model(tokens), tokens);
      if (step == 0) start = loss.item();
      end = loss.item();
      loss.backward();
      optim::clip_grad_norm(model.parameters(), 1);
      opt.step();
    }
    CHECK(end < 0.6 * start);
    std::vector<double> weights;
    for (const Tensor& p : model.parameters())
      for (double v : values(p)) weights.push_back(v);
    if (first.empty()) first = weights;
    CHECK(weights == first);
  }
  set_num_threads(before);
}

TEST_CASE("reformer: masks of layers are padded, and what is shown is what is computed") {
  nn::ReformerConfig c = small_config(1);
  c.layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::local};
  c.lsh.chunk = 4;
  c.local.chunk = 6;
  nn::Reformer model(c);
  model.eval();
  const Tensor tokens = index_tensor({1, 5, 2, 8, 0, 3, 11, 4, 9, 7, 6, 10, 2, 12, 1, 0, 5, 8, 3, 4}, {2, 10});
  Tensor mask = zeros({2, 10}, boolean);
  Tensor end = slice(mask, 1, 8, 10);
  fill_(end, true);
  const auto run = [&](const nn::ReformerCall& call) {
    manual_seed(3);
    return model(tokens, call);
  };
  CHECK(same(run({.attention = {{.key_padding_mask = mask}, {.key_padding_mask = mask}}}),
             run({.key_padding_mask = mask})));
  manual_seed(3);
  const Tensor used = model.buckets(tokens)[0];
  model.train();
  manual_seed(3);
  const auto pattern = model.attention_pattern(tokens, 0);
  CHECK(model.training());
  CHECK(used.shape()[3] == 12);
  CHECK(same(pattern.buckets, slice(used, 3, 0, 10)));
  CHECK(pattern.weights.shape() == Shape{2, c.heads, 10, 10});
  CHECK(amax(abs(sum(pattern.weights, {3}) - 1)).item() < 1e-5);
}

TEST_CASE("reformer: wrong configurations and inputs") {
  nn::ReformerConfig c = small_config(1);
  c.heads = 3;
  CHECK(refusal<ValueError>([&] { nn::Reformer model(c); }) == "Reformer: heads = 3 does not divide d_model = 16");
  nn::Reformer model(small_config(1));
  CHECK(refusal<ShapeError>([&] { model(zeros({16}, int64)); }) ==
        "Reformer: tokens must be [batch, length], got [16]");
  CHECK(refusal<IndexError>([&] {
          model(full({1, 16}, 13, int64));
        }) == "embedding: index 13 is out of range for axis 0 of [13, 16]");
  CHECK(refusal<ShapeError>([&] {
          model(zeros({1, 17}, int64));
        }) == "AxialPositionEmbedding: 17 positions do not fit 4 x 4");
  for (const std::int64_t chunk : {std::int64_t{0}, std::int64_t{-4}, (std::int64_t{1} << 62) + 1}) {
    nn::ReformerConfig wrong = small_config(1);
    wrong.lsh.chunk = chunk;
    CHECK(refusal<ValueError>([&] { nn::Reformer refused(wrong); }) ==
          "Reformer: chunk = " + std::to_string(chunk) + " is not in 1..2147483647");
  }
  nn::ReformerConfig mixed = small_config(1);
  mixed.layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::local};
  mixed.lsh.causal = !mixed.local.causal;
  CHECK(refusal<ValueError>([&] { nn::Reformer refused(mixed); }) ==
        "Reformer: some layers are causal and some are not");
  const Tensor tokens = zeros({2, 10}, int64);
  CHECK(refusal<ShapeError>([&] { model.buckets(select(tokens, 0, 0)); }) ==
        "Reformer: tokens must be [batch, length], got [10]");
  CHECK(refusal<ShapeError>([&] { model.attention_pattern(select(tokens, 0, 0), 0); }) ==
        "Reformer: tokens must be [batch, length], got [10]");
  CHECK(refusal<IndexError>([&] { model.attention_pattern(full({1, 10}, 13, int64), 0); }).starts_with("embedding"));
  CHECK(model.training());
  for (const Tensor& mask : {zeros({7, 3}, boolean), ones({2, 3}, boolean), ones({10}, boolean)})
    CHECK(refusal<ShapeError>([&] { model(tokens, {.key_padding_mask = mask}); }) ==
          "Reformer: key_padding_mask " + mask.shape().str() + " of bool must be [2, 10] of bool");
  CHECK(refusal<ShapeError>([&] {
          model(tokens, {.attention = {{.key_padding_mask = ones({2, 10})}}});
        }) == "Reformer: key_padding_mask [2, 10] of float32 must be [2, 10] of bool");
  CHECK(refusal<FileError>([&] { nn::reformer_config_from_file("/nowhere/config.json"); }) ==
        "/nowhere/config.json: cannot be opened");
}

}  // namespace attune::tests
