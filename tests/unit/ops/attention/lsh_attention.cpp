// LSH attention.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

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
  const Tensor padding = tensor({0, 0, 0, 1}, {1, 4}, boolean);
  CHECK(values(lsh_buckets(x, rotations, o, padding)) == std::vector<double>{0, 1, 2, 4, 6, 5, 8, 9});
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
        Tensor padding;
        if (shape[1] == 16) padding = ge(arange(16), tensor({16, 11}, {2, 1}, int64));
        Generator g(4);
        const Tensor buckets =
            lsh_buckets(s.qk, lsh_rotations(o, shape[0], shape[2], shape[3], shape[1], float64, g), o, padding);
        const RandomKey key{3, 9};
        const Tensor fused = lsh_attention(s.qk, s.v, buckets, o, padding, key),
                     composed = lsh_attention_composed(s.qk, s.v, buckets, o, padding, key);
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
  Tensor padding = zeros({1, 8}, boolean);
  const Tensor qk = s.qk.detach().requires_grad_(), buckets = zeros({1, 1, 1, 8}, int32);
  const Tensor y = sum(lsh_attention(qk, s.v, buckets, o, padding));
  *padding.mutable_data<bool>() = true;  // between the forward and the backward pass
  CHECK_THROWS_AS(y.backward(), GradError);
  o.hashes = 0;
  CHECK(refusal<ValueError>([&] {
          lsh_attention(s.qk, s.v, zeros({1, 1, 0, 8}, int32), o);
        }) == "lsh_attention: hashes = 0 must be at least 1");
}

}  // namespace attune::tests
