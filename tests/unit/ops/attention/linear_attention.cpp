// Linear attention: chunks against the quadratic form, what hidden keys and the future do, memory, errors.

#include "autograd/runtime/memory.h"
#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// By its definition, with n x n matrices.
Tensor quadratic_product(const Tensor& q, const Tensor& k, const Tensor& v, bool reverse) {
  const Tensor scores = matmul(permute(q, {0, 2, 1, 3}), permute(k, {0, 2, 3, 1}));
  return permute(matmul(reverse ? triu(scores) : tril(scores), permute(v, {0, 2, 1, 3})), {0, 2, 1, 3});
}

Tensor quadratic(const Tensor& q, const Tensor& k, const Tensor& v, const LinearAttentionOptions& o,
                 const Tensor& hidden) {
  Tensor scores = matmul(permute(q, {0, 2, 1, 3}), permute(k, {0, 2, 3, 1}));
  if (hidden.defined()) scores = masked_fill(scores, reshape(hidden, {k.size(0), 1, 1, k.size(1)}), 0);
  if (o.causal) scores = tril(scores);
  const Tensor all =
      sum(scores, {-1}, true) + o.epsilon + o.key_sum_epsilon * permute(sum(q, {-1}, true), {0, 2, 1, 3});
  return permute(matmul(scores / all, permute(v, {0, 2, 1, 3})), {0, 2, 1, 3});
}

/// Values, gradients and the gradients of a function of the gradients.
Tensors all_orders(const std::function<Tensor(const Tensors&)>& f, const Tensors& given) {
  Tensors xs;
  for (const Tensor& x : given) xs.push_back(clone(x).requires_grad_());
  const Tensor y = f(xs);
  Tensors first = grad({y}, xs, {.cotangents = {normal(y.shape(), 90)}, .create_graph = true});
  Tensors cotangents;
  for (const Tensor& d : first) cotangents.push_back(normal(d.shape(), 91 + cotangents.size()));
  Tensors all = grad(first, xs, {.cotangents = cotangents});
  all.push_back(y);
  all.insert(all.end(), first.begin(), first.end());
  return all;
}

void check_same(const Tensors& a, const Tensors& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(i);
    CHECK(close(a[i], Plain(b[i]), 1e-11));
  }
}

Tensor positive(const Shape& shape, std::uint64_t seed) { return abs(normal(shape, seed)) + 0.1; }

}  // namespace

TEST_CASE("causal_product: chunks are the quadratic form, to second order") {
  // Within a chunk, at its edges, across segments of few heads and without them.
  for (const auto& [b, n, h] : {std::tuple{1, 1, 1},
                                {2, 31, 1},
                                {1, 33, 2},
                                {1, 64, 1},
                                {2, 65, 2},
                                {1, 130, 3},
                                {1, 700, 1},
                                {1, 1153, 1},
                                {3, 190, 3}})
    for (const bool reverse : {false, true}) {
      const Shape shape{b, n, h};  // clang 14 captures no binding
      INFO(shape.str(), " ", reverse);
      const Tensors xs{normal({b, n, h, 3}, 1), normal({b, n, h, 3}, 2), normal({b, n, h, 5}, 3)};
      check_same(all_orders([&](const Tensors& x) { return causal_product(x[0], x[1], x[2], reverse); }, xs),
                 all_orders([&](const Tensors& x) { return quadratic_product(x[0], x[1], x[2], reverse); }, xs));
    }
}

TEST_CASE("linear_attention: both forms are the quadratic one, to second order") {
  for (const bool causal : {false, true})
    for (const bool masked : {false, true})
      for (const double key_epsilon : {0.0, 0.01}) {
        INFO(causal, masked, key_epsilon);
        const std::int64_t s = 70, t = causal ? s : 9;
        const Tensors xs{positive({2, t, 2, 3}, 1), positive({2, s, 2, 3}, 2), normal({2, s, 2, 4}, 3)};
        Values v(static_cast<std::size_t>(2 * s));
        for (const std::size_t i : {0, 3, 64, 69, 70, 80}) v[i] = 1;
        const Tensor hidden = masked ? flags(v, {2, s}) : Tensor();
        const LinearAttentionOptions o{.causal = causal, .epsilon = 1e-3, .key_sum_epsilon = key_epsilon};
        check_same(all_orders([&](const Tensors& x) { return linear_attention(x[0], x[1], x[2], o, hidden); }, xs),
                   all_orders([&](const Tensors& x) { return quadratic(x[0], x[1], x[2], o, hidden); }, xs));
      }
}

TEST_CASE("linear_attention: nothing comes from the future, nor from what is hidden") {
  const std::int64_t n = 150, seen = 100;
  const LinearAttentionOptions o{.causal = true};
  const auto run = [&](double later, const Tensor& hidden) {
    Tensors xs;
    for (std::uint64_t i = 1; i < 4; ++i) {
      const Tensor x = positive({1, n, 2, 3}, i);
      const Tensor where_later = ge(reshape(arange(n), {1, n, 1, 1}), hidden.defined() ? n - 1 : seen);
      xs.push_back(masked_fill(x, where_later, later).requires_grad_());
    }
    const Tensor y = slice(linear_attention(xs[0], xs[1], xs[2], o, hidden), 1, 0, seen);
    Tensors all = grad({y}, xs, {.cotangents = {normal(y.shape(), 7)}});
    for (const Tensor& d : all) {
      const Tensor after = slice(d, 1, seen);
      CHECK(same(after, zeros_like(after)));
    }
    all.push_back(y.detach());
    return all;
  };
  const Tensors clean = run(0, {});
  const Tensors later = run(1e3, {});
  for (std::size_t i = 0; i < clean.size(); ++i) CHECK(same(clean[i], later[i]));
  // Queries of the future are left out: their own denominators are NaN.
  for (const double what : {not_a_number, inf}) {
    Tensors xs;
    for (std::uint64_t i = 1; i < 4; ++i)
      xs.push_back(i == 1 ? positive({1, n, 2, 3}, i)
                          : masked_fill(positive({1, n, 2, 3}, i), ge(reshape(arange(n), {1, n, 1, 1}), seen), what));
    CHECK(close(slice(linear_attention(xs[0], xs[1], xs[2], o), 1, 0, seen), Plain(clean.back()), 1e-13));
    Values v(static_cast<std::size_t>(n));
    std::fill(v.begin() + seen, v.end(), 1.0);
    for (const bool causal : {false, true}) {
      const Tensor q = slice(xs[0], 1, 0, n), hidden = flags(v, {1, n});
      const Tensor k0 = masked_fill(xs[1], reshape(hidden, {1, n, 1, 1}), 0),
                   v0 = masked_fill(xs[2], reshape(hidden, {1, n, 1, 1}), 0);
      CHECK(same(linear_attention(q, xs[1], xs[2], {.causal = causal}, hidden),
                 linear_attention(q, k0, v0, {.causal = causal}, hidden)));
    }
  }
}

TEST_CASE("linear_attention: what nothing is asked of has no influence, not even if it is NaN") {
  for (const bool causal : {false, true}) {
    const LinearAttentionOptions o{.causal = causal};
    const auto gradients = [&](double value) {
      const Tensor late = ge(reshape(arange(70), {1, 70, 1, 1}), 40);
      Tensors xs{masked_fill(positive({1, 70, 2, 3}, 1), late, value), positive({1, 70, 2, 3}, 2),
                 positive({1, 70, 2, 4}, 3)};
      for (std::size_t i = 1; causal && i < 3; ++i) xs[i] = masked_fill(xs[i], late, value);
      for (Tensor& x : xs) x.requires_grad_();
      return grad({sum(square(slice(linear_attention(xs[0], xs[1], xs[2], o), 1, 0, 40)))}, xs);
    };
    const Tensors plain = gradients(1), other = gradients(not_a_number);
    // Not to the last bit: products with something that is not finite are summed in another way, past their zeros.
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(close(slice(other[i], 1, 0, 40), Plain(slice(plain[i], 1, 0, 40)), 1e-13));
  }
}

TEST_CASE("causal_product: factors of 0 leave out what is not finite, of queries, keys and values alike") {
  const std::int64_t n = 400;  // segments and several chunks
  const Tensor late = ge(reshape(arange(n), {1, n, 1, 1}), 370);
  for (const bool reverse : {false, true})
    for (std::size_t hidden = 0; hidden < 3; ++hidden)
      for (const double what : {not_a_number, inf}) {
        INFO(reverse, " ", hidden, " ", what);
        Tensors xs{positive({1, n, 1, 3}, 1), positive({1, n, 1, 3}, 2), positive({1, n, 1, 4}, 3)};
        for (std::size_t i = 0; i < 3; ++i) xs[i] = masked_fill(xs[i], late, i == hidden ? 0 : 1);
        const Tensor plain = causal_product(xs[0], xs[1], xs[2], reverse);
        for (std::size_t i = 0; i < 3; ++i)
          if (i != hidden) xs[i] = masked_fill(xs[i], late, what);
        const Tensor y = causal_product(xs[0], xs[1], xs[2], reverse);
        // Early queries that look at late keys and values which are neither of them 0 see what these hold.
        if (hidden > 0 || !reverse) CHECK(close(slice(y, 1, 0, 370), Plain(slice(plain, 1, 0, 370)), 1e-13));
        if (hidden == 0) CHECK(same(slice(y, 1, 370), zeros({1, n - 370, 1, 4}, float64)));
      }
}

TEST_CASE("linear_attention: queries that see nothing give zeros with zero gradients") {
  const Tensor hidden = flags({1, 1, 1, 0, 0, 0}, {2, 3});
  for (const bool causal : {false, true})
    for (const double epsilon : {0.0, 1e-6}) {
      Tensors xs{positive({2, 3, 1, 2}, 1), positive({2, 3, 1, 2}, 2), positive({2, 3, 1, 2}, 3)};
      for (Tensor& x : xs) x.requires_grad_();
      const Tensor y = linear_attention(xs[0], xs[1], xs[2], {.causal = causal, .epsilon = epsilon}, hidden);
      CHECK(same(select(y, 0, 0), zeros({3, 1, 2}, float64)));
      CHECK(!same(select(y, 0, 1), zeros({3, 1, 2}, float64)));
      for (const Tensor& d : grad({sum(y)}, xs)) CHECK(same(select(d, 0, 0), zeros({3, 1, 2}, float64)));
    }
}

TEST_CASE("causal linear attention: memory is linear in the length") {
  const auto peak = [](std::int64_t n) {
    Tensors xs;
    for (std::uint64_t i = 1; i < 4; ++i) xs.push_back(to(positive({1, n, 1, 32}, i), float32).requires_grad_());
    reset_peak_memory();
    const std::int64_t before = memory_stats().live_bytes;
    grad({sum(linear_attention(xs[0], xs[1], xs[2], {.causal = true}))}, xs);
    return static_cast<double>(memory_stats().peak_bytes - before);
  };
  const double small = peak(2048), large = peak(8192);
  CHECK(large < 4.4 * small);
  // A matrix [32, 32] a position would be 32 times a value.
  CHECK(large < 16 * 8192 * 32 * sizeof(float));
}

TEST_CASE("linear_attention: errors") {
  const Tensor q = zeros({1, 3, 2, 4}), k = zeros({1, 5, 2, 4}), v = zeros({1, 5, 2, 1});
  CHECK(thrown([&] { linear_attention(q, k, v, {.causal = true}); }) ==
        "ShapeError: linear_attention: q [1, 3, 2, 4], k [1, 5, 2, 4] and v [1, 5, 2, 1]: causal attention needs as "
        "many queries as keys");
  CHECK(thrown([&] {
          linear_attention(q, k, zeros({1, 4, 2, 1}));
        }) ==
        "ShapeError: linear_attention: q [1, 3, 2, 4], k [1, 5, 2, 4] and v [1, 4, 2, 1] do not fit [b, t, h, f], [b, "
        "s, h, f], [b, s, h, m]");
  CHECK(thrown([&] { linear_attention(q, k, v, {.epsilon = -1}); }) ==
        "ValueError: linear_attention: epsilon = -1 must be finite and not negative");
  CHECK(thrown([&] {
          linear_attention(q, k, v, {}, zeros({1, 3}, boolean));
        }) == "ShapeError: linear_attention: key_padding_mask [1, 3] must be [batch, keys] of [1, 5, 2, 4]");
  CHECK(thrown([&] { linear_attention(q, k, v, {}, zeros({1, 5})); }).starts_with("DTypeError: linear_attention: "));
}
