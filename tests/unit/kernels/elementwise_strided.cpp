// Strided and broadcast iteration: every kernel that takes strides against a plain walk over indices.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "autograd/kernels/elementwise.h"
#include "autograd/runtime/parallel.h"
#include "tests/unit/kernel_checks.h"

using namespace attune;
using namespace attune::kernels;

namespace {

/// The element that row-major index i points to.
std::int64_t offset_of(std::int64_t i, const Shape& shape, const Strides& strides) {
  std::int64_t offset = 0;
  for (int k = shape.rank() - 1; k >= 0; --k) {
    offset += i % shape[k] * strides[k];
    i /= shape[k];
  }
  return offset;
}

/// Some layouts of a shape: dense, axes reversed, sliced with gaps, and broadcast along each axis.
std::vector<Strides> layouts(const Shape& shape) {
  std::vector<Strides> all = {contiguous_strides(shape)};
  const int rank = shape.rank();
  Strides reversed = all[0], gaps = all[0], scalar = all[0];
  std::int64_t step = 1, gap_step = 2;
  for (int k = 0; k < rank; ++k) {
    reversed[k] = step;
    step *= shape[k];
  }
  for (int k = rank - 1; k >= 0; --k) {
    gaps[k] = gap_step;
    gap_step *= shape[k] + 1;
    scalar[k] = 0;
  }
  all.insert(all.end(), {reversed, gaps, scalar});
  for (int k = 0; k < rank; ++k) {
    Shape small = shape;
    small[k] = 1;
    all.push_back(broadcast_strides(small, contiguous_strides(small), shape));
  }
  return all;
}

const std::vector<Shape> shapes = {
    {},           {1},           {5},        {3, 4},     {7, 1, 5}, {2, 3, 4, 5}, {300, 70},
    {40, 3, 300}, {2, 1100, 33}, {513, 257}, {20000, 3}, {1, 0, 3}, {3, 20001},   {2, 2, 2, 2, 2, 2, 2, 3}};

std::size_t span_of(const Shape& shape, const Strides& strides) {
  std::int64_t last = 0;
  for (int k = 0; k < shape.rank(); ++k) last += std::max<std::int64_t>(0, shape[k] - 1) * strides[k];
  return static_cast<std::size_t>(last) + 1;
}

template <class T>
std::vector<T> numbers(std::size_t n, int salt) {
  std::vector<T> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<T>((i * 37 + static_cast<std::size_t>(salt)) % 101);
  return v;
}

}  // namespace

TEST_CASE_TEMPLATE("binary, unary and compare read any strides", T, float, double, std::int64_t, std::int32_t) {
  for (const Shape& shape : shapes) {
    const std::int64_t n = numel(shape);
    const auto size = static_cast<std::size_t>(n);
    for (const Strides& sa : layouts(shape))
      for (const Strides& sb : layouts(shape)) {
        const std::vector<T> a = numbers<T>(span_of(shape, sa), 1), b = numbers<T>(span_of(shape, sb), 5);
        std::vector<T> y(size + 1, T{-1}), z(size + 1, T{-1});
        std::vector<char> less(size + 1, 2);
        binary(Binary::sub, shape, Strided<T>{a.data(), sa}, Strided<T>{b.data(), sb}, y.data());
        compare(Compare::lt, shape, Strided<T>{a.data(), sa}, Strided<T>{b.data(), sb},
                reinterpret_cast<bool*>(less.data()));
        if constexpr (std::is_floating_point_v<T>) unary(Unary::square, shape, Strided<T>{a.data(), sa}, z.data());
        int wrong = 0;
        for (std::int64_t i = 0; i < n; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const T u = a[static_cast<std::size_t>(offset_of(i, shape, sa))];
          const T v = b[static_cast<std::size_t>(offset_of(i, shape, sb))];
          wrong += y[at] != u - v || less[at] != (u < v);
          if constexpr (std::is_floating_point_v<T>) wrong += z[at] != u * u;
        }
        INFO(shape.str(), " ", sa.str(), " ", sb.str());
        CHECK((wrong == 0 && y[size] == T{-1} && z[size] == T{-1} && less[size] == 2));
      }
  }
}

TEST_CASE("where reads a mask and two values of any strides") {
  for (const Shape& shape : shapes) {
    const std::int64_t n = numel(shape);
    const std::vector<Strides> all = layouts(shape);
    for (std::size_t k = 0; k < all.size(); ++k) {
      const Strides &sc = all[k], &sa = all[(k + 1) % all.size()], &sb = all[(k + 2) % all.size()];
      std::vector<char> c(span_of(shape, sc));
      for (std::size_t i = 0; i < c.size(); ++i) c[i] = i % 3 == 1;
      const auto check = [&](auto zero) {
        using T = decltype(zero);
        const std::vector<T> a = numbers<T>(span_of(shape, sa), 1), b = numbers<T>(span_of(shape, sb), 5);
        std::vector<T> y(static_cast<std::size_t>(n) + 1, T{-1});
        const bool* mask = reinterpret_cast<const bool*>(c.data());
        where(shape, Strided<bool>{mask, sc}, Strided<T>{a.data(), sa}, Strided<T>{b.data(), sb}, y.data());
        int wrong = y.back() != T{-1};
        for (std::int64_t i = 0; i < n; ++i)
          wrong += y[static_cast<std::size_t>(i)] != (mask[offset_of(i, shape, sc)]
                                                          ? a[static_cast<std::size_t>(offset_of(i, shape, sa))]
                                                          : b[static_cast<std::size_t>(offset_of(i, shape, sb))]);
        CHECK(wrong == 0);
      };
      check(float{});
      check(double{});
      check(std::int64_t{});
      check(std::int32_t{});
    }
  }
}

TEST_CASE("comparisons and logic") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> a = {1, 2, 2, nan, nan, -0.0f}, b = {2, 1, 2, 1, nan, 0.0f};
  const Shape shape{6};
  const auto compared = [&](Compare f) {
    bool y[6];
    compare(f, shape, Strided<float>{a.data(), {1}}, Strided<float>{b.data(), {1}}, y);
    return std::vector<bool>(y, y + 6);
  };
  const bool p[] = {false, false, true, true}, q[] = {false, true, false, true};
  const auto combined = [&](Logical f) {
    bool y[4];
    logical(f, Shape{4}, Strided<bool>{p, {1}}, Strided<bool>{q, {1}}, y);
    return std::vector<bool>(y, y + 4);
  };
  for_each_target([&] {
    CHECK(compared(Compare::eq) == std::vector<bool>{0, 0, 1, 0, 0, 1});
    CHECK(compared(Compare::ne) == std::vector<bool>{1, 1, 0, 1, 1, 0});
    CHECK(compared(Compare::lt) == std::vector<bool>{1, 0, 0, 0, 0, 0});
    CHECK(compared(Compare::le) == std::vector<bool>{1, 0, 1, 0, 0, 1});
    CHECK(compared(Compare::gt) == std::vector<bool>{0, 1, 0, 0, 0, 0});
    CHECK(compared(Compare::ge) == std::vector<bool>{0, 1, 1, 0, 0, 1});
    CHECK(combined(Logical::and_) == std::vector<bool>{0, 0, 0, 1});
    CHECK(combined(Logical::or_) == std::vector<bool>{0, 1, 1, 1});
  });
}

TEST_CASE("cast truncates, saturates and maps NaN to 0") {
  const auto casts = [](auto to, auto from, std::vector<double> in, std::vector<double> want) {
    using To = decltype(to);
    using From = decltype(from);
    for_each_target([&] {
      for (std::size_t repeat : std::initializer_list<std::size_t>{1, 9}) {  // also in full vectors
        std::vector<std::conditional_t<std::is_same_v<From, bool>, char, From>> x;
        for (std::size_t k = 0; k < repeat; ++k)
          for (double v : in) x.push_back(static_cast<typename decltype(x)::value_type>(v));
        std::vector<To> y(x.size());
        cast(Shape{static_cast<std::int64_t>(x.size())}, dtype_of<From>, x.data(), {1}, dtype_of<To>, y.data());
        for (std::size_t i = 0; i < x.size(); ++i) CHECK(static_cast<double>(y[i]) == want[i % want.size()]);
      }
    });
  };
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const double most32 = 2147483647, least32 = -2147483648.0, most64 = 9223372036854775807.0, least64 = -most64;
  const std::vector<double> odd = {1.9, -1.9, 0.5, 3e9, -3e9, 1e30, -1e30, inf, -inf, nan};
  casts(std::int32_t{}, double{}, odd, {1, -1, 0, most32, least32, most32, least32, most32, least32, 0});
  casts(std::int32_t{}, float{}, odd, {1, -1, 0, most32, least32, most32, least32, most32, least32, 0});
  casts(std::int64_t{}, double{}, odd, {1, -1, 0, 3e9, -3e9, most64, least64, most64, least64, 0});
  casts(std::int64_t{}, float{}, odd, {1, -1, 0, 3e9, -3e9, most64, least64, most64, least64, 0});
  casts(float{}, double{}, {1.5, -0.25, 1e300, -inf}, {1.5, -0.25, inf, -inf});
  casts(double{}, float{}, {1.5, -0.25, inf}, {1.5, -0.25, inf});
  casts(float{}, std::int64_t{}, {5, -7}, {5, -7});
  casts(double{}, std::int32_t{}, {5, -7}, {5, -7});
  casts(std::int32_t{}, std::int64_t{}, {5, -7}, {5, -7});
  casts(std::int64_t{}, bool{}, {0, 1}, {0, 1});
  casts(float{}, bool{}, {0, 1}, {0, 1});

  const std::vector<double> x = {0, -0.0, 2, nan, 1e-300};
  bool y[5];
  cast(Shape{5}, float64, x.data(), {1}, boolean, y);
  CHECK(std::vector<bool>(y, y + 5) == std::vector<bool>{0, 0, 1, 1, 1});
  std::int32_t column[3];
  const float matrix[] = {1, 2, 3, 4, 5, 6};
  cast(Shape{3}, float32, matrix, {2}, int32, column);
  CHECK((column[0] == 1 && column[1] == 3 && column[2] == 5));
}

TEST_CASE("copy moves any layout into any other, and nothing else") {
  const auto check = [](auto zero, const Shape& shape, const Strides& src, const Strides& dst) {
    using T = decltype(zero);
    const std::vector<T> x = numbers<T>(span_of(shape, src), 3);
    std::vector<T> y(span_of(shape, dst) + 1, T{101}), want = y;
    for (std::int64_t i = 0; i < numel(shape); ++i)
      want[static_cast<std::size_t>(offset_of(i, shape, dst))] = x[static_cast<std::size_t>(offset_of(i, shape, src))];
    copy(dtype_of<T>, shape, x.data(), src, y.data(), dst);
    INFO(shape.str(), " ", src.str(), " ", dst.str());
    CHECK((y == want));
  };
  for (const Shape& shape : shapes) {
    const std::vector<Strides> all = layouts(shape);
    for (const Strides& src : all)
      for (std::size_t k = 0; k < 3; ++k) {  // dense, reversed, with gaps
        check(float{}, shape, src, all[k]);
        check(double{}, shape, src, all[k]);
        check(std::int64_t{}, shape, src, all[k]);
      }
  }
  // A batch of transposed matrices inside larger ones.
  check(float{}, {3, 130, 70}, {130 * 80, 1, 130}, {130 * 90, 90, 1});
  check(double{}, {2, 5, 130, 7}, {130 * 35, 1, 35, 5}, {4550, 910, 7, 1});

  std::vector<char> mask(60), out(60);
  for (std::size_t i = 0; i < 60; ++i) mask[i] = i % 7 == 0;
  copy(boolean, {6, 10}, mask.data(), {1, 6}, out.data(), {10, 1});
  int wrong = 0;
  for (std::size_t i = 0; i < 60; ++i) wrong += out[i] != mask[i % 10 * 6 + i / 10];
  CHECK(wrong == 0);
}

TEST_CASE("in place, and the same bits with any number of threads") {
  const std::int64_t n = 100003;
  const Shape shape{n};
  const std::vector<float> x = numbers<float>(static_cast<std::size_t>(n), 2);
  std::vector<float> want(x.size());
  const int before = num_threads();
  set_num_threads(1);
  unary(Unary::gelu, shape, Strided<float>{x.data(), {1}}, want.data());
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    std::vector<float> y = x;
    unary(Unary::gelu, shape, Strided<float>{y.data(), {1}}, y.data());
    CHECK((y == want));
    binary(Binary::sub, shape, Strided<float>{y.data(), {1}}, Strided<float>{y.data(), {1}}, y.data());
    CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 0; }));
  }
  set_num_threads(before);
}
