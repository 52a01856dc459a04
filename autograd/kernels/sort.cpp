#include "autograd/kernels/sort.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "autograd/runtime/parallel.h"

namespace attune::kernels {

template <class T>
void sort(const T* x, Size outer, Size n, Size inner, bool descending, T* values, std::int64_t* indices) {
  const auto less = [](T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(b)) return !std::isnan(a);
    }
    return a < b;
  };
  const Size rows_a_task = std::max<Size>(1, 16384 / std::max<Size>(n, 1));
  parallel_for(outer * inner, rows_a_task, [&](Size begin, Size end) {
    std::vector<Size> order(static_cast<std::size_t>(n));
    for (Size row = begin; row < end; ++row) {
      const Size base = row / inner * n * inner + row % inner;
      std::iota(order.begin(), order.end(), Size{0});
      const auto at = [&](Size i) { return x[base + i * inner]; };
      if (descending)
        std::stable_sort(order.begin(), order.end(), [&](Size a, Size b) { return less(at(b), at(a)); });
      else
        std::stable_sort(order.begin(), order.end(), [&](Size a, Size b) { return less(at(a), at(b)); });
      for (Size i = 0; i < n; ++i) {
        if (values) values[base + i * inner] = at(order[static_cast<std::size_t>(i)]);
        if (indices) indices[base + i * inner] = order[static_cast<std::size_t>(i)];
      }
    }
  });
}

template void sort<float>(const float*, Size, Size, Size, bool, float*, std::int64_t*);
template void sort<double>(const double*, Size, Size, Size, bool, double*, std::int64_t*);
template void sort<std::int64_t>(const std::int64_t*, Size, Size, Size, bool, std::int64_t*, std::int64_t*);
template void sort<std::int32_t>(const std::int32_t*, Size, Size, Size, bool, std::int32_t*, std::int64_t*);
template void sort<bool>(const bool*, Size, Size, Size, bool, bool*, std::int64_t*);

}  // namespace attune::kernels
