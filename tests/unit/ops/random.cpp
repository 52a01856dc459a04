// Random tensors and dropout: replay, ranges, statistics, independence of threads and layouts, masks in both passes.
#include <array>

#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Drawing {
  const char* name;
  std::function<Tensor(std::int64_t n, Generator& g)> draw;
};
const std::vector<Drawing> drawings = {
    {"randn float32", [](std::int64_t n, Generator& g) { return randn({n}, float32, g); }},
    {"randn float64", [](std::int64_t n, Generator& g) { return randn({n}, float64, g); }},
    {"rand float32", [](std::int64_t n, Generator& g) { return rand({n}, float32, g); }},
    {"rand float64", [](std::int64_t n, Generator& g) { return rand({n}, float64, g); }},
    {"randint", [](std::int64_t n, Generator& g) { return randint(-50, 1000, {n}, g); }},
    {"dropout", [](std::int64_t n, Generator& g) { return dropout(ones({n}), 0.5, g); }},
};

bool same_key(RandomKey a, RandomKey b) { return a.seed == b.seed && a.counter == b.counter; }

/// The correlation of two equally long arrays.
double correlation(const Tensor& a, const Tensor& b) {
  const Tensor x = to(a, float64) - mean(to(a, float64)), y = to(b, float64) - mean(to(b, float64));
  return mean(x * y).item() / std::sqrt(mean(square(x)).item() * mean(square(y)).item());
}

}  // namespace

TEST_CASE("random: a drawing is a function of seed, counter and place alone") {
  for (const Drawing& d : drawings) {
    INFO(d.name);
    Generator g(9);
    const RandomKey start = g.state();
    const Tensor first = d.draw(1003, g);
    CHECK(same_key(g.state(), {9, 1}));  // one counter a drawing, however large
    const Tensor second = d.draw(1003, g);
    CHECK_FALSE(same(first, second));
    g.set_state(start);
    CHECK(same(d.draw(1003, g), first));
    CHECK(same(d.draw(1003, g), second));
    for (std::int64_t n : {0, 1, 2, 3, 5, 7, 1001}) {
      Generator again(9);
      CHECK(same(d.draw(n, again), slice(first, 0, 0, n)));
    }
    Generator other(10);
    CHECK_FALSE(same(d.draw(1003, other), first));
  }
}

TEST_CASE("random: the same bits at any thread count") {
  const int before = num_threads();
  for (const Drawing& d : drawings) {
    INFO(d.name);
    set_num_threads(1);
    Generator one(3);
    const Tensor expected = d.draw(100'003, one);
    for (int threads : {2, 3, 4}) {
      set_num_threads(threads);
      Generator g(3);
      CHECK(same(d.draw(100'003, g), expected));
    }
  }
  set_num_threads(before);
}

TEST_CASE("random: drawings, seeds and neighbours are uncorrelated") {
  constexpr std::int64_t n = 1 << 16;  // a correlation's standard deviation is 1 / 256
  for (const Drawing& d : drawings) {
    INFO(d.name);
    Generator g(1), other(2);
    const Tensor a = d.draw(n, g), b = d.draw(n, g), c = d.draw(n, other);
    CHECK(std::abs(correlation(a, b)) < 0.02);
    CHECK(std::abs(correlation(a, c)) < 0.02);
    for (std::int64_t lag : {1, 2, 3, 4})
      CHECK(std::abs(correlation(slice(a, 0, 0, n - lag), slice(a, 0, lag))) < 0.02);
  }
}

TEST_CASE("rand and randn: distributions, shapes and dtypes") {
  for (DType dtype : {float32, float64}) {
    Generator g(5);
    const Tensor u = rand({1 << 18}, dtype, g), z = randn({512, 512}, dtype, g);
    CHECK(u.dtype() == dtype);
    CHECK(z.shape() == Shape{512, 512});
    CHECK(amin(u).item() >= 0);
    CHECK(amax(u).item() < 1);
    std::array<double, 16> bins{};
    for (double v : u.to_vector<double>()) bins[static_cast<std::size_t>(v * 16)] += 1;
    double chi = 0;
    for (double b : bins) chi += (b - 16384) * (b - 16384) / 16384;
    CHECK(chi < 45);  // 15 degrees of freedom: one in 10^4 is above 44.3; the seed is fixed
    const Tensor w = to(z, float64);
    CHECK(std::abs(mean(w).item()) < 0.01);
    CHECK(var(w).item() == doctest::Approx(1).epsilon(0.01));
    CHECK(std::abs(mean(w * square(w)).item()) < 0.03);
    CHECK(mean(square(square(w))).item() == doctest::Approx(3).epsilon(0.03));
    CHECK(mean(to(lt(abs(w), 1), float64)).item() == doctest::Approx(0.6827).epsilon(0.01));
    CHECK(mean(to(gt(abs(w), 3), float64)).item() == doctest::Approx(0.0027).epsilon(0.15));
    CHECK(all(lt(abs(w), 10)));  // never infinite
    CHECK(rand({}, dtype, g).shape() == Shape{});
    CHECK(randn({2, 0}, dtype, g).numel() == 0);
    CHECK_FALSE(z.requires_grad());
  }
}

TEST_CASE("randint: bounds and every value alike") {
  Generator g(6);
  const std::vector<std::int64_t> v = randint(-3, 4, {7, 10'000}, g).to_vector<std::int64_t>();
  std::array<int, 7> counts{};
  for (std::int64_t e : v) ++counts.at(static_cast<std::size_t>(e + 3));
  for (int c : counts) CHECK(std::abs(c - 10'000) < 400);
  CHECK(all(eq(randint(5, 6, {100}, g), 5)));
  bool high_half = false, low_half = false;
  for (std::int64_t e : randint(lowest, highest, {64}, g).to_vector<std::int64_t>())
    (e < 0 ? low_half : high_half) = true;
  CHECK(high_half);
  CHECK(low_half);
  const std::vector<std::int64_t> far = randint(highest - 2, highest, {64}, g).to_vector<std::int64_t>();
  CHECK(*std::min_element(far.begin(), far.end()) == highest - 2);
  CHECK(*std::max_element(far.begin(), far.end()) == highest - 1);
}

TEST_CASE("randperm: every order alike") {
  Generator g(7);
  for (std::int64_t n : {0, 1, 2, 1000}) {
    std::vector<std::int64_t> order = randperm(n, g).to_vector<std::int64_t>();
    REQUIRE(static_cast<std::int64_t>(order.size()) == n);
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < order.size(); ++i) REQUIRE(order[i] == static_cast<std::int64_t>(i));
  }
  std::array<int, 64> seen{};  // by 16 a + 4 b + c: 24 orders of four elements, the last one following
  for (int i = 0; i < 12'000; ++i) {
    const std::vector<std::int64_t> p = randperm(4, g).to_vector<std::int64_t>();
    ++seen.at(static_cast<std::size_t>(16 * p[0] + 4 * p[1] + p[2]));
  }
  int kinds = 0;
  for (int c : seen) {
    kinds += c != 0;
    CHECK((c == 0 || std::abs(c - 500) < 110));  // five standard deviations
  }
  CHECK(kinds == 24);
}

TEST_CASE("dropout: elements are 0 or scaled, at the share asked for") {
  for (DType dtype : {float32, float64})
    for (double p : {0.0, 0.1, 0.5, 0.9, 1.0}) {
      INFO(name_of(dtype), ", p = ", p);
      constexpr std::int64_t n = 100'001;
      const Tensor x = full({n}, 3, dtype);
      std::int64_t zeros_seen = 0;
      const double kept =
          dtype == float32 ? static_cast<double>(3 * static_cast<float>(1 / (1 - p))) : 3 * (1 / (1 - p));
      for (double v : dropout_at(x, p, {4, 2}).to_vector<double>()) {
        REQUIRE((v == 0 || v == kept));
        zeros_seen += v == 0;
      }
      const double deviation = std::sqrt(p * (1 - p) * n);
      CHECK(std::abs(static_cast<double>(zeros_seen) - p * n) <= 4 * deviation);
    }
}

TEST_CASE("dropout: p = 0 is x itself and draws nothing; p = 1 gives zeros") {
  Generator g(1);
  const Tensor x = randn({5}, float64, g).requires_grad_();
  const RandomKey before = g.state();
  const Tensor y = dropout(x, 0, g);
  CHECK(y.impl() == x.impl());
  CHECK(same_key(g.state(), before));
  const Tensor poison = tensor({inf, -inf, not_a_number, 1}, float64).requires_grad_();
  const Tensor zeros_only = dropout(poison, 1, g);
  CHECK(same(zeros_only, Plain(Shape{4})));
  CHECK(same(gradient([&](const Tensor& t) { return dropout(t, 1, g); }, poison), Plain(Shape{4})));
}

TEST_CASE("dropout: what is dropped is 0, even infinity and NaN") {
  for (double bad : {inf, -inf, not_a_number}) {
    const Plain mask(dropout_at(ones({1000}), 0.5, {1, 1})), y(dropout_at(full({1000}, bad), 0.5, {1, 1}));
    for (std::size_t i = 0; i < mask.v.size(); ++i) REQUIRE((mask.v[i] == 0 ? y.v[i] == 0 : !std::isfinite(y.v[i])));
  }
}

TEST_CASE("dropout: the mask belongs to the place in the tensor, in every layout, shape and dtype") {
  const RandomKey key{8, 4};
  const Plain mask(dropout_at(ones({24}, float64), 0.4, key));
  for (DType dtype : {float64, float32})
    for (const Tensor& x : layouts(ones({2, 3, 4}, dtype))) {
      const Plain y(dropout_at(x, 0.4, key));
      for (std::size_t i = 0; i < 24; ++i) CHECK(y.v[i] == doctest::Approx(mask.v[i]).epsilon(1e-6));
    }
}

TEST_CASE("dropout: every order of backward uses the mask of the forward pass and nothing is saved") {
  Generator g(2);
  Tensor x = randn({64}, float64, g).requires_grad_();
  const Tensor y = dropout(x, 0.5, g);
  const RandomKey after = g.state();
  const Tensor kept = to(ne(y.detach(), 0), float64) * 2;
  CHECK(same(y, Plain(x.detach() * kept)));
  const Tensor dx = grad({sum(y * y)}, {x}, {.retain_graph = true, .create_graph = true})[0];
  CHECK(close(dx, Plain(2 * x.detach() * kept * kept)));
  CHECK(close(grad({sum(dx * dx)}, {x}, {.retain_graph = true})[0], Plain(8 * x.detach() * square(square(kept)))));
  CHECK(same_key(g.state(), after));  // backward draws nothing
  {
    const NoGrad off;
    fill_(x, 0);  // the mask alone is needed
  }
  CHECK(same(grad({sum(y)}, {x})[0], Plain(kept)));
}

TEST_CASE("random: the default generator is the one that manual_seed seeds") {
  manual_seed(77);
  const Tensor a = randn({8}), b = dropout(ones({64}), 0.5);
  manual_seed(77);
  CHECK(same(randn({8}), a));
  CHECK(same(dropout(ones({64}), 0.5), b));
  Generator g(77);
  CHECK(same(randn({8}, float32, g), a));
}

TEST_CASE("random: wrong calls") {
  const Tensor x = zeros({2});
  CHECK(thrown([&] { dropout(x, 1.5); }) == "ValueError: dropout: p = 1.5 is not in [0, 1]");
  CHECK(thrown([&] { dropout(x, -0.1); }) == "ValueError: dropout: p = -0.1 is not in [0, 1]");
  CHECK(thrown([&] { dropout(x, not_a_number); }) == "ValueError: dropout: p = nan is not in [0, 1]");
  CHECK(thrown([&] { dropout_at(x, 2, {}); }) == "ValueError: dropout: p = 2 is not in [0, 1]");
  CHECK(thrown([&] { dropout(zeros({2}, int64), 0.5); }) ==
        "DTypeError: dropout: needs float32 or float64, got int64 [2]");
  CHECK(thrown([&] { dropout({}, 0.5); }) == "ValueError: dropout: an input is undefined");
  CHECK(thrown([&] { randn({2}, int64); }) == "DTypeError: randn: needs float32 or float64, got int64");
  CHECK(thrown([&] { rand({2}, boolean); }) == "DTypeError: rand: needs float32 or float64, got bool");
  CHECK(thrown([&] { randint(4, 4, {2}); }) == "ValueError: randint: low = 4 must be below high = 4");
  CHECK(thrown([&] { randperm(-1); }) == "ValueError: randperm: n = -1 is negative");
  // A call that is refused draws nothing.
  Generator g(1);
  CHECK(thrown([&] { randn({-2}, float32, g); }) != "");
  CHECK(thrown([&] { dropout(x, 7, g); }) != "");
  CHECK(thrown([&] { randint(4, 4, {2}, g); }) != "");
  CHECK(same_key(g.state(), {1, 0}));
}
