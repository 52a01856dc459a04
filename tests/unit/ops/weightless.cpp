// What is masked, padded, ignored or of weight 0 has no influence, forward or backward, whatever it holds: NaN and
// infinities there give the same bits as zeros.

#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

bool nearly(const Tensor& a, const Tensor& b) { return close(a, Plain(b), a.dtype() == float32 ? 1e-5 : 1e-12); }

/// Where dy is not 0, f(xs) is the same whatever stands at the hidden places of xs, which have no gradient; and so are
/// all gradients: to the bit, or if not `exact` but for rounding.
void check_unmoved(const std::function<Tensor(const Tensors&)>& f, const Tensors& xs, const Tensors& hidden,
                   const Tensor& dy, bool exact = true) {
  const auto run = [&](double what) {
    Tensors in;
    for (std::size_t i = 0; i < xs.size(); ++i)
      in.push_back(
          (hidden[i].defined() ? masked_fill(xs[i], hidden[i], what) : clone(xs[i])).detach().requires_grad_());
    const Tensor y = f(in);
    Tensors found = grad({y}, in, {.cotangents = {dy}});
    for (std::size_t i = 0; i < xs.size(); ++i) {
      if (!hidden[i].defined()) continue;
      const Tensor there = where(hidden[i], found[i], 0);
      CHECK(same(there, zeros_like(there)));
    }
    found.push_back(where(eq(dy, 0), 0, y.detach()));
    return found;
  };
  const Tensors clean = run(0);
  for (const double what : {not_a_number, inf, -inf}) {
    INFO(what);
    const Tensors found = run(what);
    for (std::size_t i = 0; i < clean.size(); ++i) {
      INFO(i);
      CHECK((exact ? same(found[i], clean[i]) : nearly(found[i], clean[i])));
    }
  }
}

/// True at the positions of an axis of size n, for a tensor of `rank` axes.
Tensor at_positions(const std::vector<std::int64_t>& positions, std::int64_t n, int rank, int axis) {
  Values v(static_cast<std::size_t>(n));
  for (std::int64_t p : positions) v[static_cast<std::size_t>(p)] = 1;
  Shape shape;
  for (int i = 0; i < rank; ++i) shape.push_back(i == axis ? n : 1);
  return flags(v, shape);
}

Tensor without(const Tensor& x, const Tensor& hidden) { return where(hidden, 0, x); }

}  // namespace

TEST_CASE("weightless: hidden keys, fused and composed") {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const std::int64_t n : {3, 70, 200})
      for (const bool composed : {false, true})
        for (const double dropout : {0.0, 0.3}) {
          INFO(name_of(dtype), " ", n, composed, dropout);
          const auto draw = [&](std::int64_t seed) { return to(normal({2, 2, n, 5}, seed), dtype); };
          const Tensor q = draw(1), k = draw(2), v = draw(3), dy = draw(4);
          const Tensor hidden = at_positions({0, n - 2}, n, 4, 2), mask = at_positions({0, n - 2}, n, 4, 3);
          const Tensor minus = masked_fill(zeros({1, 1, 1, n}, dtype), mask, -inf);
          const auto with = [&](AttentionOptions o) {
            return [=](const Tensors& x) {
              Generator g(3);
              AttentionOptions options = o;
              options.dropout = dropout;
              options.generator = &g;
              return scaled_dot_product_attention(x[0], x[1], x[2], options, composed).output;
            };
          };
          check_unmoved(with({.attention_mask = mask}), {q, k, v}, {{}, hidden, hidden}, dy, !composed);
          check_unmoved(with({.bias = minus}), {q, k, v}, {{}, hidden, hidden}, dy, !composed);
          // The future, which holds queries as well that nobody asks for.
          const Tensor last = at_positions({n - 1}, n, 4, 2);
          check_unmoved(with({.causal = true}), {q, k, v}, {last, last, last}, without(dy, last), !composed);
          // Queries that nobody asks for, in the middle, with keys and values that are hidden.
          check_unmoved(with({.attention_mask = mask}), {q, k, v}, {hidden, hidden, hidden}, without(dy, hidden),
                        !composed);
        }
}

TEST_CASE("weightless: what is not finite and seen shows") {
  const Tensor q = ones({1, 2, 2}), v = tensor({1, inf, 2, 3}, {1, 2, 2});
  for (const bool composed : {false, true}) {
    const Tensor y = scaled_dot_product_attention(q, q, v, {.causal = true}, composed).output;
    CHECK(std::isinf(index(y, {0, 0, 1}).item()));
    CHECK(index(y, {0, 1, 0}).item() == 1.5);
    CHECK(std::isinf(index(y, {0, 1, 1}).item()));
    const Tensor lost = masked_fill(v, flags({0, 0, 0, 1}, {1, 2, 2}), not_a_number);
    const Tensor z = scaled_dot_product_attention(q, q, lost, {.causal = true}, composed).output;
    CHECK(std::isinf(index(z, {0, 0, 1}).item()));
    CHECK(std::isnan(index(z, {0, 1, 1}).item()));
  }
}

TEST_CASE("weightless: second derivatives of attention") {
  const std::int64_t n = 5;
  const Tensor hidden = at_positions({4}, n, 3, 1);
  const auto find = [&](double what) {
    Tensors in;
    for (std::int64_t i = 0; i < 3; ++i) in.push_back(masked_fill(normal({2, n, 3}, i), hidden, what).requires_grad_());
    const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.causal = true}).output;
    const Tensor seen = slice(y, 1, 0, 4);
    Tensor penalty = zeros({}, float64);
    for (const Tensor& g : grad({sum(square(seen))}, in, {.create_graph = true})) penalty = penalty + sum(square(g));
    return grad({penalty}, in);
  };
  const Tensors clean = find(0), found = find(not_a_number);
  for (std::size_t i = 0; i < 3; ++i) CHECK(close(found[i], Plain(clean[i])));
}

TEST_CASE("weightless: LSH and local attention") {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const bool composed : {false, true})
      for (const std::int64_t n : {6, 40, 150})
        for (const double dropout : {0.0, 0.3}) {
          INFO(name_of(dtype), composed, " ", n, " ", dropout);
          const auto draw = [&](std::int64_t seed) { return to(normal({2, n, 2, 4}, seed), dtype); };
          const Tensor q = draw(1), k = draw(2), v = draw(3), dy = draw(4);
          const Tensor padded = at_positions({1, n - 2}, n, 4, 1), last = at_positions({n - 1}, n, 4, 1);
          const Tensor padding = contiguous(expand(at_positions({1, n - 2}, n, 2, 1), {2, n}));
          const RandomKey key{1, 2};
          for (const bool causal : {false, true}) {
            for (const std::int64_t chunk : {16, 32}) {  // the kernel of chunks, and a pattern
              const LocalOptions local{
                  .chunk = chunk, .chunks_after = causal ? 0 : 1, .causal = causal, .dropout = dropout};
              const auto near = [&](const Tensor& mask) {
                return [=](const Tensors& x) {
                  return composed ? local_attention_composed(x[0], x[1], x[2], local, mask, key)
                                  : local_attention(x[0], x[1], x[2], local, mask, key);
                };
              };
              check_unmoved(near(padding), {q, k, v}, {padded, padded, padded}, without(dy, padded), !composed);
              if (causal) check_unmoved(near({}), {q, k, v}, {last, last, last}, without(dy, last), !composed);
            }
            for (LshOptions o : {LshOptions::paper(), LshOptions::hugging_face(), LshOptions::lucidrains()}) {
              o.chunk = 16;
              o.hashes = 2;
              o.causal = causal;
              o.dropout = dropout;
              Generator g(7);
              const Tensor buckets =
                  n <= o.chunk ? Tensor()
                               : lsh_buckets(q, lsh_rotations(o, 2, 2, 4, n, dtype, g), o, causal ? Tensor() : padding);
              const auto hashed = [&](const Tensor& mask) {
                return [=](const Tensors& x) {
                  return composed ? lsh_attention_composed(x[0], x[1], buckets, o, mask, key)
                                  : lsh_attention(x[0], x[1], buckets, o, mask, key);
                };
              };
              check_unmoved(hashed(padding), {q, v}, {padded, padded}, without(dy, padded), !composed);
              if (causal) check_unmoved(hashed({}), {q, v}, {last, last}, without(dy, last), !composed);
            }
          }
        }
}

TEST_CASE("weightless: steps beyond a sequence's length") {
  const std::int64_t steps = 5, hidden = 3;
  const Tensor lengths = index_tensor({2, 5, 0});
  const Tensor padding = unsqueeze(ge(unsqueeze(arange(steps), 1), lengths), 2);
  for (const DType dtype : {DType::float32, DType::float64})
    for (const bool reverse : {false, true}) {
      const RecurrentCall call{.reverse = reverse, .lengths = lengths};
      const auto draw = [&](const Shape& shape, std::int64_t seed) { return to(normal(shape, seed), dtype); };
      const Tensor dy = draw({steps, 3, hidden}, 9), h = draw({3, hidden}, 8), b = draw({4 * hidden}, 6);
      check_unmoved([&](const Tensors& x) { return lstm(x[0], x[1], x[2], x[3], x[4], {}, call).output; },
                    {draw({steps, 3, 4 * hidden}, 1), h, h, draw({4 * hidden, hidden}, 2), b},
                    {padding, {}, {}, {}, {}}, dy);
      check_unmoved([&](const Tensors& x) { return lstm(x[0], {}, {}, x[1], {}, x[2], call).output; },
                    {draw({steps, 3, 4 * hidden}, 1), draw({4 * hidden, 2}, 2), draw({2, hidden}, 3)},
                    {padding, {}, {}}, draw({steps, 3, 2}, 9));
      check_unmoved([&](const Tensors& x) { return gru(x[0], x[1], x[2], {}, call).output; },
                    {draw({steps, 3, 3 * hidden}, 1), h, draw({3 * hidden, hidden}, 2)}, {padding, {}, {}}, dy);
      // The state of a sequence that has no step is no step's.
      const Tensor none = flags({0, 0, 1}, {3, 1});
      check_unmoved([&](const Tensors& x) { return rnn(x[0], x[1], x[2], {}, Activation::tanh, call).output; },
                    {draw({steps, 3, hidden}, 1), h, draw({hidden, hidden}, 2)}, {padding, none, {}}, dy);
    }
}

TEST_CASE("weightless: steps beyond a sequence's length, second derivatives") {
  const Tensor lengths = index_tensor({2, 3}), w = normal({12, 3}, 2);
  const Tensor padding = unsqueeze(ge(unsqueeze(arange(3), 1), lengths), 2);
  const auto find = [&](double what) {
    const Tensors in{masked_fill(normal({3, 2, 12}, 1), padding, what).requires_grad_(), clone(w).requires_grad_()};
    const Tensor y = lstm(in[0], {}, {}, in[1], {}, {}, {.lengths = lengths}).output;
    return grad({sum(square(grad({sum(square(y))}, {in[1]}, {.create_graph = true})[0]))}, in);
  };
  const Tensors clean = find(0), found = find(not_a_number);
  for (std::size_t i = 0; i < 2; ++i) CHECK(close(found[i], Plain(clean[i])));
}

TEST_CASE("weightless: losses at probabilities and weights of 0") {
  const auto check = [](const std::function<Tensor(const Tensor&)>& f, const Tensor& x, double value,
                        const Values& dx) {
    const Tensor in = x.detach().requires_grad_(), y = f(in);
    CHECK(y.item() == doctest::Approx(value));
    const Tensor g = grad({y}, {in})[0];
    CHECK(close(g, Plain(tensor(dx, x.shape(), x.dtype())), 1e-6));
  };
  for (const DType t : {DType::float32, DType::float64}) {
    const auto of = [&](const Values& v, const Shape& shape) { return tensor(v, shape, t); };
    const double half = std::log(2.0), nan = not_a_number;
    const Tensor logits = of({0, 0, -inf, nan, nan, nan}, {2, 3});
    const auto target = of({1, 0, 0, 0, 0, 0}, {2, 3});
    check([&](const Tensor& x) { return cross_entropy(x, target, {.reduction = Reduction::sum}); }, logits, half,
          {-0.5, 0.5, 0, 0, 0, 0});
    const Tensor weight = of({1, 1, 0}, {3});
    check(
        [&](const Tensor& x) {
          return cross_entropy(x, of({1, 0, 1}, {1, 3}), {.weight = weight});
        },
        of({0, 0, -inf}, {1, 3}), half, {-0.5, 0.5, 0});
    // Classes: an ignored row, and one whose class weighs nothing.
    const Tensor classes = index_tensor({0, -100, 2});
    const Tensor rows = of({0, 0, -inf, nan, inf, nan, 0, 0, -inf}, {3, 3});
    for (const bool weighted : {false, true}) {
      const Tensor some = slice(rows, 0, 0, weighted ? 3 : 2), at = slice(classes, 0, 0, weighted ? 3 : 2);
      const CrossEntropyOptions o{.weight = weighted ? weight : Tensor()};
      Values dx{-0.5, 0.5, 0, 0, 0, 0};
      if (weighted) dx.resize(9);
      check([&](const Tensor& x) { return cross_entropy(x, at, o); }, some, half, dx);
    }
    check(
        [&](const Tensor& x) {
          return nll_loss(x, index_tensor({0, -100, 2}), {.weight = weight});
        },
        of({-1, 0, 0, nan, nan, nan, 0, 0, -inf}, {3, 3}), 1, {-1, 0, 0, 0, 0, 0, 0, 0, 0});
    // A row that a mask leaves out.
    check(
        [&](const Tensor& x) {
          const Tensor each = cross_entropy(x, index_tensor({0, 1}), {.reduction = Reduction::none});
          return sum(where(flags({1, 0}, {2}), each, 0));
        },
        logits, half, {-0.5, 0.5, 0, 0, 0, 0});
    for (const bool logs : {false, true}) {
      const Tensor p = of({1, 0, 0}, {3}), q = logs ? log(p) : p;
      check([&](const Tensor& x) { return kl_div(x, q, logs, Reduction::sum); }, of({-1, -inf, nan}, {3}), 1,
            {-1, 0, 0});
    }
    const Tensor ends = of({0, 1, 1, 0}, {4});
    check([&](const Tensor& x) { return binary_cross_entropy_with_logits(x, ends, {.reduction = Reduction::sum}); },
          of({-inf, inf, 0, 0}, {4}), 2 * half, {0, 0, -0.5, 0.5});
    const Tensor off = of({0, 1}, {2}), seen = of({nan, 1}, {2});
    check(
        [&](const Tensor& x) {
          return binary_cross_entropy_with_logits(x, seen, {.reduction = Reduction::sum, .weight = off});
        },
        of({nan, 0}, {2}), half, {0, -0.5});
    check([&](const Tensor& x) { return binary_cross_entropy(x, seen, off, Reduction::sum); }, of({nan, 0.5}, {2}),
          half, {0, -2});
    check([&](const Tensor& x) { return poisson_nll_loss(x, zeros({1}, t)); }, of({-inf}, {1}), 0, {0});
    check([&](const Tensor& x) { return poisson_nll_loss(x, zeros({1}, t), {.log_input = false, .eps = 0}); },
          of({0}, {1}), 0, {1});
    // At infinity the slope is that of the straight part.
    for (const double end : {inf, -inf}) {
      const auto slope = [&](auto loss) {
        const Tensor x = of({end, 0.5}, {2}).requires_grad_();
        return grad({sum(loss(x, zeros({2}, t)))}, {x})[0];
      };
      const double s = end > 0 ? 1 : -1;
      CHECK(close(slope([](const Tensor& x, const Tensor& y) { return huber_loss(x, y, 2, Reduction::sum); }),
                  Plain(of({2 * s, 0.5}, {2}))));
      CHECK(close(slope([](const Tensor& x, const Tensor& y) { return smooth_l1_loss(x, y, 1, Reduction::sum); }),
                  Plain(of({s, 0.5}, {2}))));
      CHECK(close(slope([](const Tensor& x, const Tensor& y) { return l1_loss(x, y, Reduction::sum); }),
                  Plain(of({s, 1}, {2}))));
    }
    CHECK(same(lerp(of({1, nan}, {2}), of({nan, 2}, {2}), of({0, 1}, {2})), of({1, 2}, {2})));
  }
}

TEST_CASE("weightless: a row without a cotangent gives a weight no gradient") {
  for (const DType t : {DType::float32, DType::float64}) {
    const Tensor hidden = at_positions({1}, 3, 2, 0), x = to(normal({3, 4}, 1), t), w = to(normal({2, 4}, 2), t);
    const Tensor b = to(normal({4}, 4), t), dy = without(to(normal({3, 2}, 3), t), hidden);
    const Tensor wide = without(to(normal({3, 4}, 5), t), hidden);
    check_unmoved([](const Tensors& in) { return linear(in[0], in[1]); }, {x, w}, {hidden, {}}, dy);
    check_unmoved([](const Tensors& in) { return matmul(in[0], transpose(in[1])); }, {x, w}, {hidden, {}}, dy);
    check_unmoved([](const Tensors& in) { return layer_norm(in[0], in[1], in[1]); }, {x, b}, {hidden, {}}, wide);
    check_unmoved([](const Tensors& in) { return rms_norm(in[0], in[1]); }, {x, b}, {hidden, {}}, wide);
    check_unmoved([](const Tensors& in) { return softmax(in[0]); }, {x}, {hidden}, wide);
    check_unmoved([](const Tensors& in) { return log_softmax(in[0]); }, {x}, {hidden}, wide);
  }
}

TEST_CASE("weightless: the mean over nothing is 0") {
  const Tensor x = zeros({0, 3}, float64).requires_grad_(), y = zeros({0, 3}, float64);
  for (const Reduction r : {Reduction::mean, Reduction::sum, Reduction::batch_mean})
    for (const Tensor& loss :
         {mse_loss(x, y, r), l1_loss(x, y, r), huber_loss(x, y, 1, r), smooth_l1_loss(x, y, 1, r),
          kl_div(x, y, false, r), binary_cross_entropy_with_logits(x, y, {.reduction = r}),
          binary_cross_entropy(x, y, {}, r), soft_margin_loss(x, y, r), margin_ranking_loss(x, y, y, 0, r),
          hinge_embedding_loss(x, y, 1, r), poisson_nll_loss(x, y, {.reduction = r}),
          cross_entropy(x, y, {.reduction = r}), cosine_embedding_loss(x, y, zeros({0}, float64), 0, r),
          triplet_margin_loss(x, y, y, {.reduction = r}), gaussian_nll_loss(x, y, y, {.reduction = r})}) {
      CHECK(loss.item() == 0);
      CHECK(grad({loss}, {x})[0].shape() == Shape{0, 3});
    }
}
