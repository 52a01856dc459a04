#include "autograd/kernels/zero_product.h"

#include <cmath>
#include <vector>

namespace attune::kernels {

namespace {

/// What column j of a, or row j of b, holds.
struct Line {
  std::vector<Size> others;   // the places of what is not finite
  std::vector<Size> numbers;  // and of what is, without zeros if these leave terms out

  template <class T>
  void find(const T* x, Size count, Size step, bool zeros_count) {
    others.clear();
    numbers.clear();
    for (Size i = 0; i < count; ++i) {
      const T v = x[i * step];
      if (!std::isfinite(v))
        others.push_back(i);
      else if (v != 0 || zeros_count)
        numbers.push_back(i);
    }
  }
};

constexpr std::size_t most_terms = std::size_t{1} << 28;

/// f(i, j, l) for every such term, by j; false if there are too many.
template <class T, class F>
bool for_terms(bool left_zeros, bool right_zeros, Size m, Size n, Size k, const T* a, const T* b, F f) {
  Line column, row;
  std::size_t terms = 0;
  for (Size j = 0; j < k; ++j) {
    row.find(b + j * n, n, 1, !right_zeros);
    column.find(a + j, m, k, !left_zeros);
    const std::size_t whole_row = row.numbers.size() + row.others.size();
    terms += column.others.size() * whole_row + column.numbers.size() * row.others.size();
    if (terms > most_terms) return false;
    for (Size i : column.others)
      for (const auto* places : {&row.numbers, &row.others})
        for (Size l : *places) f(i, j, l);
    for (Size i : column.numbers)
      for (Size l : row.others) f(i, j, l);
  }
  return true;
}

}  // namespace

template <class T>
bool add_non_finite_terms(bool left_zeros, bool right_zeros, Size m, Size n, Size k, const T* a, const T* b, T* c) {
  // Counted first, so that c stays as it was if they are too many.
  if (!for_terms(left_zeros, right_zeros, m, n, k, a, b, [](Size, Size, Size) {})) return false;
  return for_terms(left_zeros, right_zeros, m, n, k, a, b,
                   [=](Size i, Size j, Size l) { c[i * n + l] += a[i * k + j] * b[j * n + l]; });
}

template bool add_non_finite_terms(bool, bool, Size, Size, Size, const float*, const float*, float*);
template bool add_non_finite_terms(bool, bool, Size, Size, Size, const double*, const double*, double*);

}  // namespace attune::kernels
