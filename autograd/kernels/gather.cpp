#include "autograd/kernels/gather.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

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

namespace {

// Repeated indices. A run of up to `few` additions in T is as accurate as a leaf of reduce(); longer ones go through
// sums that keep more digits. The order of additions to an element is always that of k, at any thread count.
constexpr Size few = 64;

/// A sum with twice the digits of T: a double for floats; for doubles the sum and its rounding (Knuth 1997, 4.2.2).
template <class T>
struct LongSum {
  double high = 0;
  void add(T x) { high += static_cast<double>(x); }
  T value() const { return static_cast<T>(high); }
};
template <>
struct LongSum<double> {
  double high = 0, low = 0;
  void add(double x) {
    const double sum = high + x, rest = sum - high;
    if (std::isfinite(sum)) low += (high - (sum - rest)) + (x - rest);
    high = sum;
  }
  double value() const { return high + low; }
};

/// Whether one of index[i * step], i in [0, k), each in [0, n), occurs more than `few` times.
bool one_is_often(const std::int64_t* index, Size step, Size k, Size n) {
  if (k <= few) return false;
  std::vector<std::uint8_t> times(static_cast<std::size_t>(n));
  for (Size i = 0; i < k; ++i)
    if (++times[static_cast<std::size_t>(index[i * step])] > few) return true;
  return false;
}

/// The positions 0..k-1 by their index, those of one index in their order.
class Groups {
 public:
  /// index[i * step] for i in [0, k), each in [0, n).
  Groups(const std::int64_t* index, Size step, Size k, Size n) : order_(static_cast<std::size_t>(k)) {
    if (n <= 16 * k) {  // counting sort
      std::vector<Size> start(static_cast<std::size_t>(n + 1));
      for (Size i = 0; i < k; ++i) ++start[static_cast<std::size_t>(index[i * step] + 1)];
      for (Size j = 0; j < n; ++j) {
        const auto at = static_cast<std::size_t>(j);
        if (start[at + 1] > 0) begins_.emplace_back(j, start[at]);
        start[at + 1] += start[at];
      }
      for (Size i = 0; i < k; ++i)
        order_[static_cast<std::size_t>(start[static_cast<std::size_t>(index[i * step])]++)] = i;
    } else {
      std::iota(order_.begin(), order_.end(), Size{0});
      std::stable_sort(order_.begin(), order_.end(), [=](Size a, Size b) { return index[a * step] < index[b * step]; });
      for (Size i = 0; i < k; ++i) {
        const std::int64_t own = index[order_[static_cast<std::size_t>(i)] * step];
        if (begins_.empty() || begins_.back().first != own) begins_.emplace_back(own, i);
      }
    }
  }

  /// How many indices occur.
  Size count() const { return static_cast<Size>(begins_.size()); }
  std::int64_t index(Size group) const { return begins_[static_cast<std::size_t>(group)].first; }
  const Size* begin(Size group) const { return order_.data() + begins_[static_cast<std::size_t>(group)].second; }
  const Size* end(Size group) const { return group + 1 < count() ? begin(group + 1) : order_.data() + order_.size(); }

 private:
  std::vector<Size> order_;
  std::vector<std::pair<std::int64_t, Size>> begins_;
};

/// to[0, width) += the rows x[p * stride ...) for p in [begin, end).
template <class T>
void add_rows(const Size* begin, const Size* end, const T* x, Size stride, Size width, T* to) {
  const auto add = [=](const Size* first, const Size* last, T* sums) {
    for (const Size* p = first; p < last; ++p) {
      const T* from = x + *p * stride;
#pragma omp simd
      for (Size c = 0; c < width; ++c) sums[c] += from[c];
    }
  };
  if (end - begin <= few) return add(begin, end, to);
  std::vector<LongSum<T>> totals(static_cast<std::size_t>(width));
  std::vector<T> part(static_cast<std::size_t>(width));
  for (Size c = 0; c < width; ++c) totals[static_cast<std::size_t>(c)].add(to[c]);
  for (const Size* first = begin; first < end; first += few) {
    std::fill(part.begin(), part.end(), T{0});
    add(first, std::min(first + few, end), part.data());
    for (std::size_t c = 0; c < part.size(); ++c) totals[c].add(part[c]);
  }
  for (Size c = 0; c < width; ++c) to[c] = totals[static_cast<std::size_t>(c)].value();
}

/// y[index(i), c] += x[i, c] for i in [0, k) and c in [0, width), rows of x and y `stride` apart, y [n, ..]: each
/// column with a long sum for every one of its n elements.
template <class T, class Index>
void add_to_all(const T* x, Size k, Size n, Size stride, Size width, Index index, T* y) {
  std::vector<LongSum<T>> sums(static_cast<std::size_t>(n * width));
  const auto sum = [&](Size row, Size c) -> LongSum<T>& { return sums[static_cast<std::size_t>(row * width + c)]; };
  for (Size j = 0; j < n; ++j)
    for (Size c = 0; c < width; ++c) sum(j, c).high = static_cast<double>(y[j * stride + c]);
  for (Size i = 0; i < k; ++i)
    for (Size c = 0; c < width; ++c) sum(index(i, c), c).add(x[i * stride + c]);
  for (Size j = 0; j < n; ++j)
    for (Size c = 0; c < width; ++c) y[j * stride + c] = sum(j, c).value();
}

}  // namespace

template <class T>
void index_add(const T* x, Size outer, Size n, Size inner, const std::int64_t* index, Size k, T* y) {
  constexpr Size narrow = 16;
  const bool often = inner < narrow && one_is_often(index, 1, k, n);
  if (k <= few || (inner < narrow && (!often || n <= 16 * k))) {
    over_columns(outer, inner, k, [&](Size o, Size first, Size last) {
      const T* from = x + o * k * inner + first;
      T* to = y + o * n * inner + first;
      if (often)
        return add_to_all(
            from, k, n, inner, last - first, [=](Size i, Size) { return index[i]; }, to);
      for (Size i = 0; i < k; ++i)
        for (Size c = 0; c < last - first; ++c) to[index[i] * inner + c] += from[i * inner + c];
    });
    return;
  }
  const Groups groups(index, 1, k, n);
  // Pieces of rows, so that one index with all positions is shared by the threads as well.
  const Size width = std::clamp<Size>(inner, 1, 256), pieces = (inner + width - 1) / width;
  const Size at_once = std::max<Size>(1, grain_elements / (width * std::max<Size>(1, k / groups.count())));
  parallel_for(outer * pieces * groups.count(), at_once, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) {
      const Size group = task % groups.count(), rest = task / groups.count();
      const Size o = rest / pieces, first = rest % pieces * width, columns = std::min(width, inner - first);
      add_rows(groups.begin(group), groups.end(group), x + o * k * inner + first, inner, columns,
               y + (o * n + groups.index(group)) * inner + first);
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
    const T* from = x + o * k * inner + first;
    const std::int64_t* at = index + o * k * inner + first;
    T* to = y + o * n * inner + first;
    const Size width = last - first;
    bool often = false;
    for (Size c = 0; c < width && !often; ++c) often = one_is_often(at + c, inner, k, n);
    if (!often) {
      for (Size i = 0; i < k; ++i)
        for (Size c = 0; c < width; ++c) to[at[i * inner + c] * inner + c] += from[i * inner + c];
    } else if (n <= 16 * k) {
      add_to_all(
          from, k, n, inner, width, [=](Size i, Size c) { return at[i * inner + c]; }, to);
    } else {
      for (Size c = 0; c < width; ++c) {
        const Groups groups(at + c, inner, k, n);
        for (Size g = 0; g < groups.count(); ++g)
          add_rows(groups.begin(g), groups.end(g), from + c, inner, 1, to + groups.index(g) * inner + c);
      }
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
