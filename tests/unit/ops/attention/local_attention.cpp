// Local attention by each of its kernels, against its definition as a matrix, pair by pair.

#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Case {
  std::int64_t n;
  LocalOptions o;
  bool exact;  ///< by a pattern or whole, not by the kernel of chunks
};

std::vector<Case> cases() {
  return {
      {150, {.chunk = 64}, true},
      {150, {.chunk = 40, .chunks_after = 1, .causal = false}, true},
      {90, {.chunk = 16, .chunks_before = 5}, true},
      {70, {.chunk = 64, .chunks_before = 0}, true},
      {130, {.chunk = 1, .chunks_before = 63}, true},
      // A ring of which the future alone is round the ends.
      {150, {.chunk = 40, .ring = true}, true},
      {150, {.chunk = 40, .chunks_before = 3, .ring = true}, true},
      {150, {.chunk = 80, .chunks_before = 0, .causal = false, .ring = true}, true},
      // One chunk.
      {50, {.chunk = 64, .chunks_after = 1, .causal = false}, true},
      {9, {.chunk = 9, .ring = true}, true},
      {7, {.chunk = 9, .chunks_before = 3, .causal = false, .ring = true}, true},
      // A ring that is seen.
      {150, {.chunk = 40, .causal = false, .ring = true}, false},
      {150, {.chunk = 40, .chunks_after = 1, .causal = false, .ring = true}, false},
      {150, {.chunk = 40, .chunks_after = 1, .ring = true}, false},
      {150, {.chunk = 40, .chunks_before = 4, .ring = true}, false},
      {100, {.chunk = 40, .chunks_before = 3, .chunks_after = 2, .causal = false, .ring = true}, false},
      // Short windows.
      {50, {.chunk = 31}, false},
      {30, {.chunk = 4, .chunks_before = 2, .chunks_after = 1, .causal = false}, false},
      {30, {.chunk = 4, .ring = true}, false},
  };
}

std::string text(const Case& c) {
  const LocalOptions& o = c.o;
  return std::to_string(c.n) + " tokens, chunks of " + std::to_string(o.chunk) + ", " +
         std::to_string(o.chunks_before) + " before, " + std::to_string(o.chunks_after) + " after" +
         (o.causal ? ", causal" : "") + (o.ring ? ", ring" : "");
}

/// How often each query meets each key, [n, n].
Tensor meetings(const Case& c) {
  const LocalOptions& o = c.o;
  const std::int64_t n = c.n, chunks = (n + o.chunk - 1) / o.chunk;
  const bool full = n <= o.chunk;
  Plain times({n, n});
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t by = full ? 0 : -o.chunks_before; by <= (full ? 0 : o.chunks_after); ++by) {
      std::int64_t chunk = i / o.chunk + by;
      if (o.ring) chunk = (chunk % chunks + chunks) % chunks;
      for (std::int64_t j = 0; j < n; ++j)
        if (j / o.chunk == chunk && !(o.causal && j > i)) times[{i, j}] += 1;
    }
  return tensor(times.v, times.shape, float64);
}

Tensor in_heads(const Tensor& x) { return permute(x, {0, 2, 1, 3}); }

/// A key that is met N times is N keys.
Tensor by_definition(const Case& c, const Tensors& x, const Tensor& hidden) {
  const Tensor times = meetings(c);
  Tensor unseen = eq(times, 0);
  if (hidden.defined()) unseen = logical_or(unseen, reshape(hidden, {hidden.size(0), 1, 1, c.n}));
  const double scale = 1 / std::sqrt(static_cast<double>(x[0].size(3)));
  const Tensor scores = scale * matmul(in_heads(x[0]), transpose(in_heads(x[1]))) + log(maximum(times, 1));
  return in_heads(matmul(softmax(masked_fill(scores, unseen, -inf), -1), in_heads(x[2])));
}

Tensors drawn(std::int64_t b, std::int64_t n) {
  Tensors x;
  for (std::uint64_t i = 0; i < 3; ++i) x.push_back(normal_leaf({b, n, 2, 3}, 10 + i));
  return x;
}

/// Single keys and a tail, not the same in both examples; all of a first chunk of up to 16 in the second.
Tensor some_hidden(std::int64_t n) {
  Values v;
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t i = 0; i < n; ++i) v.push_back(i % 7 == 3 || i >= n - 5 * b || (b == 1 && i < 16));
  return flags(v, {2, n});
}

/// y, first gradients, and gradients of a function of these.
Tensors all_orders(const std::function<Tensor(const Tensors&)>& f, const Tensors& x) {
  const Tensor y = f(x);
  Tensors all{y.detach()};
  Tensor penalty = zeros({}, float64);
  std::uint64_t seed = 20;
  for (const Tensor& g : grad({y}, x, {.cotangents = {normal(y.shape(), 19)}, .create_graph = true})) {
    penalty = penalty + sum(g * normal(g.shape(), seed++));
    all.push_back(g.detach());
  }
  for (const Tensor& g : grad({penalty}, x)) all.push_back(g);
  return all;
}

void check_close(const Tensors& found, const Tensors& expected, double tolerance = 1e-10) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO("part ", i);
    CHECK(close(found[i], Plain(expected[i]), tolerance));
  }
}

bool recorded(const Tensor& y, const std::string& name) {
  const Tape tape = Tape::of(y);
  for (std::size_t i = 0; i < tape.size(); ++i)
    if (tape[i].name() == name) return true;
  return false;
}

}  // namespace

TEST_CASE("local: values and gradients of both orders are those of the definition") {
  for (const Case& c : cases())
    for (const bool masked : {false, true}) {
      INFO(text(c), masked ? ", masked" : "");
      const Tensors x = drawn(2, c.n);
      const Tensor hidden = masked ? some_hidden(c.n) : Tensor();
      const Tensors expected = all_orders([&](const Tensors& in) { return by_definition(c, in, hidden); }, x);
      check_close(all_orders([&](const Tensors& in) { return local_attention(in[0], in[1], in[2], c.o, hidden); }, x),
                  expected);
      check_close(
          all_orders([&](const Tensors& in) { return local_attention_composed(in[0], in[1], in[2], c.o, hidden); }, x),
          expected);
    }
}

TEST_CASE("local: a ring that is seen and short windows alone take the kernel of chunks") {
  for (const Case& c : cases()) {
    INFO(text(c));
    const Tensors x = drawn(1, c.n);
    const Tensor y = local_attention(x[0], x[1], x[2], c.o);
    CHECK(recorded(y, "scaled_dot_product_attention") == c.exact);
    CHECK(recorded(y, "chunked_attention") != c.exact);
    CHECK((!c.exact || y.is_contiguous()));  // joining the heads copies nothing
  }
}

TEST_CASE("local: a causal ring is what it is without the ring, unless windows reach round to the past") {
  for (const Case& c : cases()) {
    if (!c.o.ring || !c.o.causal) continue;
    INFO(text(c));
    const Tensors x = drawn(1, c.n);
    LocalOptions line = c.o;
    line.ring = false;
    const bool reaches = c.n > c.o.chunk && (c.o.chunks_after > 0 || c.o.chunks_before * c.o.chunk >= c.n);
    CHECK((difference(local_attention(x[0], x[1], x[2], c.o), local_attention(x[0], x[1], x[2], line)) > 1e-3) ==
          reaches);
  }
}

TEST_CASE("local: dropout draws the same by the definition, in values and gradients of both orders") {
  for (const Case& c : cases())
    for (const bool masked : {false, true}) {
      INFO(text(c), masked ? ", masked" : "");
      LocalOptions o = c.o;
      o.dropout = 0.4;
      const Tensors x = drawn(2, c.n);
      const Tensor hidden = masked ? some_hidden(c.n) : Tensor();
      const auto with = [&](RandomKey key) {
        return all_orders([&](const Tensors& in) { return local_attention(in[0], in[1], in[2], o, hidden, key); }, x);
      };
      const Tensors found = with({3, 4});
      check_close(found, all_orders(
                             [&](const Tensors& in) {
                               return local_attention_composed(in[0], in[1], in[2], o, hidden, {3, 4});
                             },
                             x));
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(same(with({3, 4})[i], found[i]));
      CHECK(!same(with({3, 5})[0], found[0]));
    }
}

TEST_CASE("local: it is scaled_dot_product_attention by a pattern, to the bit and to its random numbers") {
  const Tensors x = drawn(2, 150);
  for (const double dropout : {0.0, 0.4}) {
    Generator g(8), again(8);
    const Tensor hidden = some_hidden(150);
    const Tensor y =
        local_attention(x[0], x[1], x[2], {.chunk = 40, .chunks_before = 2, .dropout = dropout}, hidden, again.next());
    const Tensor z = scaled_dot_product_attention(in_heads(x[0]), in_heads(x[1]), in_heads(x[2]),
                                                  {.attention_mask = reshape(hidden, {2, 1, 1, 150}),
                                                   .causal = true,
                                                   .pattern = AttentionPattern::local_blocks(40, 2),
                                                   .dropout = dropout,
                                                   .generator = &g})
                         .output;
    CHECK(same(y, in_heads(z)));
  }
}

TEST_CASE("local: what lies outside the window has no influence, not even NaN") {
  for (const std::int64_t chunk : {16, 32})
    for (const bool causal : {true, false}) {
      INFO(chunk, " ", causal);
      const LocalOptions o{.chunk = chunk, .causal = causal};
      const std::int64_t n = 110, seen_from = 2 * chunk;
      const auto run = [&](double what) {
        Tensors x = drawn(1, n);
        for (Tensor& in : x) {
          const Tensor early = reshape(lt(arange(n), chunk), {1, n, 1, 1});
          in = masked_fill(in.detach(), early, what).requires_grad_();
        }
        const Tensor y = slice(local_attention(x[0], x[1], x[2], o), 1, seen_from, n);
        Tensors all = grad({sum(square(y))}, x);
        all.push_back(y.detach());
        return all;
      };
      const Tensors clean = run(0), found = run(not_a_number);
      for (std::size_t i = 0; i < clean.size(); ++i) CHECK(same(found[i], clean[i]));
      for (std::size_t i = 0; i < 3; ++i) CHECK(amax(abs(slice(found[i], 1, 0, chunk))).item() == 0);
    }
}

TEST_CASE("local: a query that sees nothing gives zeros and has no gradient") {
  for (const Case& c : cases()) {
    INFO(text(c));
    const Tensors x = drawn(2, c.n);
    const Tensor hidden = contiguous(expand(flags({1, 0}, {2, 1}), {2, c.n}));
    for (const bool composed : {false, true}) {
      const Tensor y = composed ? local_attention_composed(x[0], x[1], x[2], c.o, hidden)
                                : local_attention(x[0], x[1], x[2], c.o, hidden);
      CHECK(amax(abs(select(y, 0, 0))).item() == 0);
      CHECK(amax(abs(select(y, 0, 1))).item() > 0);
      for (const Tensor& g : grad({sum(square(y + 1))}, x)) CHECK(amax(abs(select(g, 0, 0))).item() == 0);
    }
  }
}

TEST_CASE("local: no examples, tokens, heads or elements give empty results") {
  for (const Shape& shape : {Shape{0, 100, 2, 3}, {2, 0, 2, 3}, {2, 100, 0, 3}, {2, 100, 2, 0}, {0, 0, 0, 0}})
    for (const std::int64_t chunk : {4, 64, 128})
      for (const bool ring : {false, true})
        for (const bool masked : {false, true}) {
          INFO(shape.str(), " ", chunk, ring, masked);
          Tensors x;
          for (int i = 0; i < 3; ++i) x.push_back(zeros(shape).requires_grad_());
          const Tensor hidden = masked ? zeros({shape[0], shape[1]}, boolean) : Tensor();
          const Tensor y = local_attention(x[0], x[1], x[2], {.chunk = chunk, .causal = !ring, .ring = ring}, hidden);
          CHECK(y.shape() == shape);
          for (const Tensor& g : grad({sum(y)}, x)) CHECK(g.shape() == shape);
        }
}

TEST_CASE("local: wrong calls") {
  const Tensor x = zeros({2, 100, 2, 3});
  const auto said = [&](const LocalOptions& o, const Tensor& hidden = {}) {
    return thrown([&] { local_attention(x, x, x, o, hidden); });
  };
  for (const bool ring : {false, true})
    for (const std::int64_t chunk : {4, 64, 128}) {
      const auto with = [&](std::int64_t before, double dropout) {
        return LocalOptions{.chunk = chunk, .chunks_before = before, .causal = !ring, .ring = ring, .dropout = dropout};
      };
      CHECK(said(with(-1, 0)) == "ValueError: local_attention: chunk = " + std::to_string(chunk) +
                                     ", chunks_before = -1, chunks_after = 0 make no window");
      CHECK(said(with(1, 1)) == "ValueError: local_attention: dropout = 1 is not in [0, 1)");
      CHECK(said(with(1, 0), zeros({2, 99}, boolean)) ==
            "ShapeError: local_attention: key_padding_mask [2, 99] must be [batch, length] of [2, 100, 2, 3]");
      CHECK(said(with(1, 0), zeros({2, 100})).starts_with("DTypeError: local_attention: "));
    }
  CHECK(said({.chunk = 0}).starts_with("ValueError: local_attention: chunk = 0, "));
  CHECK(said({.chunk = 64, .chunks_before = std::int64_t{1} << 20, .ring = true}) ==
        "ValueError: local_attention: chunks_before = 1048576 and chunks_after = 0 make a window of more than 16777216 "
        "keys");
  CHECK(thrown([&] { local_attention(x, x, to(x, float64), {}); }).starts_with("DTypeError: local_attention: "));
  CHECK(thrown([&] {
          local_attention(x, x, zeros({2, 100, 2, 4}), {});
        }) == "ShapeError: local_attention: v [2, 100, 2, 4] differs from [2, 100, 2, 3]");
}

TEST_CASE("local: a mask that changes between the passes is refused") {
  for (const std::int64_t chunk : {4, 64}) {
    Tensor hidden = zeros({2, 100}, boolean);
    const Tensors x = drawn(2, 100);
    const Tensor y = sum(local_attention(x[0], x[1], x[2], {.chunk = chunk}, hidden));
    *hidden.mutable_data<bool>() = true;
    CHECK_THROWS_AS(y.backward(), GradError);
  }
}
