// Exact attention in tiles, forward and backward, against plain loops across the edges of tiles, on every instruction
// set; and the same bits at any thread count.
#include "autograd/kernels/attention/attention.h"
#include "autograd/kernels/random.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

namespace attune::tests {
namespace {

using kernels::AttentionPlan;
using kernels::AttentionSums;
using kernels::Heads;
using Size = std::int64_t;

enum class Mask { none, keys, pairs, all };

struct Case {
  Size batch = 1, heads = 1, t = 0, s = 0, d = 0, e = 0;
  bool causal = false;
  Mask mask = Mask::none;
  bool biased = false;
  double dropout = 0;
  Size unasked = 0;  ///< the first queries of each example have the cotangent 0
};

/// Operands laid out as a projection makes them, [b, n, h, d], and results.
template <class T>
struct Problem {
  Case c;
  kernels::AttentionSettings settings;
  std::vector<T> q, k, v, dout, bias;
  std::vector<std::uint8_t> mask;  // of bools
  std::vector<T> out, largest, inverse, dq, dk, dv, dbias;

  explicit Problem(const Case& of)
      : c(of), settings{.causal = of.causal, .scale = 0.3, .dropout = of.dropout, .dropout_key = {7, 11}} {
    const Size rows = c.batch * c.heads;
    q = random_values<T>(rows * c.t * c.d, 1, 1);
    k = random_values<T>(rows * c.s * c.d, 1, 2);
    v = random_values<T>(rows * c.s * c.e, 1, 3);
    dout = random_values<T>(rows * c.t * c.e, 1, 4);
    for (Size b = 0; b < c.batch; ++b)
      std::fill_n(dout.begin() + b * c.t * c.heads * c.e, c.unasked * c.heads * c.e, T{0});
    bias = random_values<T>(c.biased ? rows * c.t * c.s : 0, 1, 5);
    if (c.biased)
      for (std::size_t i = 0; i < bias.size(); i += 7) bias[i] = -inf_of<T>;
    const auto noise = random_values<double>(c.batch * c.t * c.s, 1, 6);
    for (Size i = 0; i < c.batch * (c.mask == Mask::keys ? 1 : c.t) * c.s; ++i)
      mask.push_back(c.mask == Mask::all || noise[static_cast<std::size_t>(i)] > 0.3);
    out.assign(dout.size(), T{9});
    largest.assign(static_cast<std::size_t>(rows * c.t), T{9});
    inverse = largest;
    dq.assign(q.size(), T{9});
    dk.assign(k.size(), T{9});
    dv.assign(v.size(), T{9});
    dbias.assign(bias.size(), T{9});
  }

  template <class U>
  Heads<U> rows(U* data, Size n, Size d) const {
    return {data, n * c.heads * d, d, c.heads * d};
  }
  AttentionPlan<T> plan() const {
    AttentionPlan<T> p{.settings = settings};
    p.batch = c.batch;
    p.heads = c.heads;
    p.queries = c.t;
    p.keys = c.s;
    p.head_dim = c.d;
    p.value_dim = c.e;
    p.q = rows(q.data(), c.t, c.d);
    p.k = rows(k.data(), c.s, c.d);
    p.v = rows(v.data(), c.s, c.e);
    const auto* bits = reinterpret_cast<const bool*>(mask.data());
    if (c.mask == Mask::keys) p.attention_mask = {bits, c.s, 0, 0, 1};
    if (c.mask == Mask::pairs || c.mask == Mask::all) p.attention_mask = {bits, c.t * c.s, 0, c.s, 1};
    if (c.biased) p.bias = {bias.data(), c.heads * c.t * c.s, c.t * c.s, c.s, 1};
    return p;
  }
  void run() {
    const AttentionPlan<T> p = plan();
    kernels::attention<T>(p, rows(out.data(), c.t, c.e), {largest.data(), inverse.data()});
    kernels::attention_grad<T>(p, rows<const T>(out.data(), c.t, c.e), {largest.data(), inverse.data()},
                               rows<const T>(dout.data(), c.t, c.e),
                               {rows(dq.data(), c.t, c.d), rows(dk.data(), c.s, c.d), rows(dv.data(), c.s, c.e),
                                c.biased ? dbias.data() : nullptr});
  }
};

struct Expected {
  Reals out, dq, dk, dv, dbias;
};

template <class T>
Expected expected(const Problem<T>& x) {
  const Case& c = x.c;
  const AttentionPlan<T> p = x.plan();
  Expected y{Reals(x.out.size()), Reals(x.dq.size()), Reals(x.dk.size()), Reals(x.dv.size()), Reals(x.dbias.size())};
  const Size padded = (c.s + 3) / 4 * 4;
  std::vector<T> kept(static_cast<std::size_t>(c.batch * c.heads * c.t * padded), T{1});
  if (c.dropout > 0)
    kernels::dropout<T>(x.settings.dropout_key, c.dropout, kept.data(), kept.data(), static_cast<Size>(kept.size()));
  for (Size b = 0; b < c.batch; ++b)
    for (Size h = 0; h < c.heads; ++h)
      for (Size i = 0; i < c.t; ++i) {
        Reals w(static_cast<std::size_t>(c.s)), dw = w, factor = w;
        const auto place = [&](Size n, Size row, Size d) {
          return static_cast<std::size_t>(((b * n + row) * c.heads + h) * d);
        };
        const std::size_t at_q = place(c.t, i, c.d), at_y = place(c.t, i, c.e);
        Real total = 0, mean = 0;
        for (Size j = 0; j < c.s; ++j) {
          const auto n = static_cast<std::size_t>(j);
          Real dot = 0;
          for (std::size_t a = 0; a < static_cast<std::size_t>(c.d); ++a)
            dot += static_cast<Real>(x.q[at_q + a]) * x.k[place(c.s, j, c.d) + a];
          dot *= static_cast<Real>(x.settings.scale);
          if (c.biased) dot += *p.bias.at(b, h, i, j);
          const bool hidden =
              (c.causal && j > i + c.s - c.t) || (p.attention_mask.data && *p.attention_mask.at(b, h, i, j));
          factor[n] = kept[static_cast<std::size_t>(((b * c.heads + h) * c.t + i) * padded + j)];
          total += w[n] = hidden ? 0 : std::exp(dot);
        }
        for (std::size_t j = 0; j < w.size(); ++j) {
          if (total > 0) w[j] /= total;
          const std::size_t at_v = place(c.s, static_cast<Size>(j), c.e);
          for (std::size_t a = 0; a < static_cast<std::size_t>(c.e); ++a) {
            y.out[at_y + a] += w[j] * factor[j] * x.v[at_v + a];
            y.dv[at_v + a] += w[j] * factor[j] * x.dout[at_y + a];
            dw[j] += factor[j] * x.dout[at_y + a] * x.v[at_v + a];
          }
          mean += w[j] * dw[j];
        }
        for (std::size_t j = 0; j < w.size(); ++j) {
          const Real ds = w[j] * (dw[j] - mean);
          const std::size_t at_k = place(c.s, static_cast<Size>(j), c.d);
          if (c.biased) y.dbias[static_cast<std::size_t>(((b * c.heads + h) * c.t + i) * c.s) + j] = ds;
          for (std::size_t a = 0; a < static_cast<std::size_t>(c.d); ++a) {
            y.dq[at_q + a] += static_cast<Real>(x.settings.scale) * ds * x.k[at_k + a];
            y.dk[at_k + a] += static_cast<Real>(x.settings.scale) * ds * x.q[at_q + a];
          }
        }
      }
  return y;
}

const std::vector<Case> cases{
    {.batch = 2, .heads = 3, .t = 5, .s = 7, .d = 3, .e = 2},
    {.t = 64, .s = 96, .d = 16, .e = 16},
    {.t = 65, .s = 97, .d = 16, .e = 17, .biased = true},
    {.heads = 2, .t = 130, .s = 200, .d = 64, .e = 64, .causal = true},
    {.t = 200, .s = 130, .d = 33, .e = 64, .causal = true},  // the first 70 queries see nothing
    {.batch = 2, .t = 70, .s = 100, .d = 128, .e = 48, .mask = Mask::keys},
    {.batch = 2, .heads = 2, .t = 70, .s = 100, .d = 8, .e = 8, .causal = true, .mask = Mask::pairs, .biased = true},
    {.t = 70, .s = 100, .d = 8, .e = 8, .mask = Mask::all},
    {.batch = 2, .heads = 2, .t = 70, .s = 101, .d = 4, .e = 5, .causal = true, .dropout = 0.3},
    {.t = 3, .s = 5, .d = 4, .e = 5, .dropout = 1},
    {.t = 1, .s = 300, .d = 1, .e = 1, .causal = true},
    {.t = 300, .s = 1, .d = 1, .e = 1},
    {.t = 300, .s = 300, .d = 64, .e = 64, .causal = true, .dropout = 0.1},  // keys in four groups
    // Packed, in groups:
    {.heads = 2,
     .t = 300,
     .s = 340,
     .d = 40,
     .e = 24,
     .causal = true,
     .mask = Mask::pairs,
     .biased = true,
     .dropout = 0.1},
    {.batch = 2, .t = 200, .s = 100, .d = 8, .e = 8, .biased = true, .unasked = 150},
    {.heads = 2, .t = 300, .s = 340, .d = 40, .e = 24, .causal = true, .unasked = 130},
    {.t = 3, .s = 4, .d = 0, .e = 2},
    {.t = 3, .s = 4, .d = 2, .e = 0},
    {.t = 3, .s = 0, .d = 2, .e = 2},
    {.t = 0, .s = 3, .d = 2, .e = 2},
    {.batch = 0, .t = 3, .s = 3, .d = 2, .e = 2},
};

template <class T>
void check_cases() {
  for (const Case& c : cases) {
    INFO("t ", c.t, ", s ", c.s, ", d ", c.d, ", e ", c.e);
    const Expected y = expected(Problem<T>(c));
    for_each_target([&] {
      Problem<T> x(c);
      x.run();
      CHECK(error(x.out, y.out) < 60);
      CHECK(error(x.dq, y.dq) < 60);
      CHECK(error(x.dk, y.dk) < 60);
      CHECK(error(x.dv, y.dv) < 60);
      CHECK(error(x.dbias, y.dbias) < 60);
    });
  }
}

}  // namespace

TEST_CASE("attention in tiles: values and gradients by plain loops, float") { check_cases<float>(); }
TEST_CASE("attention in tiles: values and gradients by plain loops, double") { check_cases<double>(); }

TEST_CASE("attention in tiles: the same bits at any number of threads") {
  const int before = num_threads();
  for (const Case& c : cases) {
    set_num_threads(1);
    Problem<float> one(c), many(c);
    one.run();
    set_num_threads(3);
    many.run();
    CHECK(one.out == many.out);
    CHECK(one.dq == many.dq);
    CHECK(one.dk == many.dk);
    CHECK(one.dv == many.dv);
    CHECK(one.dbias == many.dbias);
  }
  set_num_threads(before);
}

TEST_CASE("attention in tiles: NaN and infinities reach those who see them") {
  const Case c{.t = 100, .s = 100, .d = 4, .e = 4, .causal = true};
  const Case packed{.heads = 2, .t = 300, .s = 300, .d = 4, .e = 4, .causal = true};
  for (const Case& of : {c, packed})
    for (const float poison : {nan_of<float>, inf_of<float>})
      for_each_target([&] {
        Problem<float> x(of), clean(of);
        clean.run();
        const Size row = of.heads * 4;
        std::fill_n(x.k.begin() + 40 * row, row, poison);  // key 40
        x.run();
        for (std::size_t i = 0; i < x.out.size(); ++i) {
          const std::size_t query = i / static_cast<std::size_t>(row);
          if (query < 40)
            CHECK(x.out[i] == clean.out[i]);
          else if (std::isnan(poison))
            CHECK(std::isnan(x.out[i]));
          else  // a score of inf or -inf, or NaN between them
            CHECK(!std::isinf(x.out[i]));
        }
      });
  // Large scores: the largest wins, without overflow.
  Problem<float> large(c);
  for (float& q : large.q) q *= 1e4F;
  large.run();
  for (const auto* y : {&large.out, &large.dq, &large.dk, &large.dv})
    CHECK(std::all_of(y->begin(), y->end(), [](float f) { return std::isfinite(f); }));
}

#if defined(__SSE__)
TEST_CASE("attention in tiles: subnormal numbers count as 0, there alone") {
  const Case c{.heads = 2, .t = 300, .s = 300, .d = 64, .e = 64};
  for (const float dout : {1.3e-38F, 1e-40F}) {  // the first is normal, but not divided by a sum of powers
    Problem<float> x(c);
    std::ranges::fill(x.dout, dout);
    x.run();
    for (const auto* y : {&x.dq, &x.dk, &x.dv}) CHECK(std::ranges::all_of(*y, [](float f) { return f == 0; }));
  }
  const volatile float small = 1e-40F;
  CHECK(small * 0.5F > 0);
}
#endif

}  // namespace attune::tests
