#include "autograd/kernels/gather.h"

#include <algorithm>
#include <cstring>

#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

constexpr Size grain_elements = 16384;

Size rows_of(Size elements_a_row) { return std::max<Size>(1, grain_elements / std::max<Size>(elements_a_row, 1)); }

/// Calls f(T{}) with an unsigned type of the element's size: moving needs no more.
template <class F>
void with_size(DType t, F&& f) {
  switch (size_of(t)) {
    case 8: f(std::uint64_t{}); break;
    case 4: f(std::uint32_t{}); break;
    default: f(std::uint8_t{}); break;
  }
}

/// Columns are independent: pieces of them may run side by side while each keeps its order of additions.
template <class F>
void over_columns(Size outer, Size inner, Size work_a_column, F&& body) {
  const Size width = std::max<Size>(16, grain_elements / std::max<Size>(work_a_column, 1));
  const Size pieces = (inner + width - 1) / width;
  parallel_for(outer * pieces, 1, [&](Size begin, Size end) {
    for (Size t = begin; t < end; ++t) {
      const Size first = t % pieces * width;
      body(t / pieces, first, std::min(first + width, inner));
    }
  });
}

}  // namespace

void index_select(DType t, const void* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, void* y) {
  const Size bytes = inner * static_cast<Size>(size_of(t));
  const auto* from = static_cast<const char*>(x);
  auto* to = static_cast<char*>(y);
  parallel_for(outer * k, rows_of(inner), [&](Size begin, Size end) {
    for (Size r = begin; r < end; ++r)
      std::memcpy(to + r * bytes, from + (r / k * n + index[r % k]) * bytes, static_cast<std::size_t>(bytes));
  });
}

template <class T>
void index_add(const T* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, T* y) {
  over_columns(outer, inner, k, [&](Size o, Size first, Size last) {
    for (Size i = 0; i < k; ++i) {
      const T* from = x + (o * k + i) * inner;
      T* to = y + (o * n + index[i]) * inner;
      for (Size c = first; c < last; ++c) to[c] += from[c];
    }
  });
}

void gather(DType t, const void* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, void* y) {
  with_size(t, [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(y);
    parallel_for(outer * k, rows_of(inner), [&](Size begin, Size end) {
      for (Size r = begin; r < end; ++r)
        for (Size i = 0; i < inner; ++i) to[r * inner + i] = from[(r / k * n + index[r * inner + i]) * inner + i];
    });
  });
}

template <class T>
void scatter_add(const T* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, T* y) {
  over_columns(outer, inner, k, [&](Size o, Size first, Size last) {
    for (Size i = 0; i < k; ++i)
      for (Size c = first; c < last; ++c) {
        const Size at = (o * k + i) * inner + c;
        y[(o * n + index[at]) * inner + c] += x[at];
      }
  });
}

Size first_out_of_range(const std::int64_t* index, Size count, Size n) {
  for (Size i = 0; i < count; ++i)
    if (index[i] < 0 || index[i] >= n) return i;
  return -1;
}

template void index_add<float>(const float*, Size, Size, Size, const std::int64_t*, Size, float*);
template void index_add<double>(const double*, Size, Size, Size, const std::int64_t*, Size, double*);
template void scatter_add<float>(const float*, Size, Size, Size, const std::int64_t*, Size, float*);
template void scatter_add<double>(const double*, Size, Size, Size, const std::int64_t*, Size, double*);

}  // namespace attune::kernels
