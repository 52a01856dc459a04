#include "autograd/kernels/attention/few_queries.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/buffer.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/attention/few_queries.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/attention/query_tile-inl.h"
#include "hwy/cache_control.h"

#ifndef ATTUNE_KERNELS_FEW_QUERIES_ONCE_
#define ATTUNE_KERNELS_FEW_QUERIES_ONCE_
namespace attune::kernels {

/// What some keys make of an example's queries, a row each, [heads queries]: the largest score, and relative to it the
/// sum of powers and the sum of values [.., value_dim].
template <class T>
struct PartOfFew {
  T *o, *largest;
  double* total;
};

/// What runs on one thread.
template <class T>
struct FewKernels {
  void (*part)(const AttentionPlan<T>& p, Size b, Size begin, Size end, bool past_zeros, const PartOfFew<T>& to);
  bool (*join)(const AttentionPlan<T>& p, Size b, const PartOfFew<T>* parts, Size count, Heads<T> out,
               AttentionSums<T> sums, std::vector<bool>& finite);
};

}  // namespace attune::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

/// Attention of all queries of one example to some of its keys. A row is one query of one head; rows lie in the order
/// of heads, then queries.
template <class T>
class FewQueries {
 public:
  /// Results go to `to`. With `past_zeros` values of weight 0 are not looked at; those of finite values are the same
  /// bits without.
  FewQueries(const AttentionPlan<T>& plan, Size b, bool past_zeros, const PartOfFew<T>& to)
      : p_(plan),
        b_(b),
        past_zeros_(past_zeros),
        key_heads_(plan.heads / plan.sharing),
        rows_a_head_(plan.sharing * plan.queries),
        rows_(plan.heads * plan.queries),
        work_{rows_ * plan.head_dim, rows_ * keys_},
        q_(work_.take(rows_ * plan.head_dim)),
        s_(work_.take(rows_ * keys_)),
        o_(to.o),
        largest_(to.largest),
        total_(to.total) {}

  /// Keys [begin, end).
  void run(Size begin, Size end) {
    take_queries();
    const Size visible = std::min(end, limit(p_.queries - 1));
    for (Size key = begin; key < visible; key += keys_) {
      const Size keys = std::min(keys_, visible - key);
      take_scores(key, keys);
      for (Size row = 0; row < rows_; ++row) take_powers(row, key, keys);
      add_values(key, keys);
    }
  }

 private:
  using D = hn::ScalableTag<T>;
  static constexpr Size ahead_ = 16;  // rows: heads lie in pages of their own, which no processor foresees
  static constexpr Size keys_ = 64;   // of a tile, at the most; whole groups of 4

  Size head_of(Size row) const { return row / p_.queries; }
  Size query_of(Size row) const { return row % p_.queries; }
  /// The keys that a query sees are those below.
  Size limit(Size query) const {
    return p_.settings.causal ? std::clamp(query + 1 + p_.keys - p_.queries, Size{0}, p_.keys) : p_.keys;
  }

  void take_queries() {
    const T unit = static_cast<T>(p_.settings.scale * std::numbers::log2e);
    for (Size row = 0; row < rows_; ++row) {
      const T* from = p_.q.row(b_, head_of(row), query_of(row));
      for (Size i = 0; i < p_.head_dim; ++i) q_[row * p_.head_dim + i] = from[i] * unit;
    }
    std::fill_n(o_, rows_ * p_.value_dim, T{0});
    std::fill_n(largest_, rows_, hidden<T>);
    std::fill_n(total_, rows_, 0.0);
  }

  /// Asks for the rows that come `ahead` later.
  static void fetch(const T* row, Size stride, Size n) {
    constexpr Size line = 64 / sizeof(T);
    for (Size r = ahead_; r < ahead_ + 4; ++r)
      for (Size i = 0; i < n; i += line) hwy::Prefetch(row + r * stride + i);
  }

  /// to[j] = <q, k_j> of `count` keys, a constant 1 or 4, that lie `stride` apart.
  template <int count>
  static void dot(const T* q, const T* k, Size stride, Size n, T* to) {
    const D d;
    const Size step = lanes(d);
    hn::Vec<D> sum[count];
    for (int j = 0; j < count; ++j) sum[j] = hn::Zero(d);
    Size i = 0;
    for (; i + step <= n; i += step) {
      const auto a = hn::LoadU(d, q + i);
      for (int j = 0; j < count; ++j) sum[j] = hn::MulAdd(a, hn::LoadU(d, k + j * stride + i), sum[j]);
    }
    for (int j = 0; j < count; ++j) {
      T total = hn::GetLane(hn::SumOfLanes(d, sum[j]));
      for (Size r = i; r < n; ++r) total += q[r] * k[j * stride + r];
      to[j] = total;
    }
  }

  void take_scores(Size key, Size keys) {
    const Size n = p_.head_dim;
    for (Size j = 0; j < keys; j += 4) {
      const Size count = std::min(Size{4}, keys - j);
      for (Size head = 0; head < key_heads_; ++head) {
        const T* k = p_.k.row(b_, head, key + j);
        fetch(k, p_.k.row_stride, n);
        for (Size row = head * rows_a_head_; row < (head + 1) * rows_a_head_; ++row) {
          T* s = s_ + row * keys_ + j;
          if (count == 4)
            dot<4>(q_ + row * n, k, p_.k.row_stride, n, s);
          else
            for (Size r = 0; r < count; ++r) dot<1>(q_ + row * n, k + r * p_.k.row_stride, 0, n, s + r);
        }
      }
    }
  }

  void add_terms(Size row, Size key, Size keys) {
    T* s = s_ + row * keys_;
    if (p_.bias.data) {
      const T* from = p_.bias.at(b_, head_of(row), query_of(row), key);
      for (Size j = 0; j < keys; ++j) s[j] = biased(s[j], from[j * p_.bias.column_stride]);
    }
    if (p_.attention_mask.data) {
      const bool* from = p_.attention_mask.at(b_, head_of(row), query_of(row), key);
      for (Size j = 0; j < keys; ++j) s[j] = from[j * p_.attention_mask.column_stride] ? hidden<T> : s[j];
    }
    for (Size j = std::max(limit(query_of(row)) - key, Size{0}); j < keys; ++j) s[j] = hidden<T>;
  }

  /// Scores of a tile become powers relative to the largest so far; what is there already is brought to it.
  void take_powers(Size row, Size key, Size keys) {
    add_terms(row, key, keys);
    const D d;
    const Size step = lanes(d);
    T* s = s_ + row * keys_;
    for (Size j = keys; j < keys_ && j % step != 0; ++j) s[j] = hidden<T>;  // up to whole vectors
    const T before = largest_[row];
    auto most = hn::Set(d, before);
    for (Size j = 0; j < keys; j += step) {
      const auto v = hn::LoadU(d, s + j);
      most = hn::IfThenElse(hn::Gt(v, most), v, most);
    }
    const T largest = hn::GetLane(hn::MaxOfLanes(d, most)), shift = largest == hidden<T> ? T{0} : largest;
    auto sum = hn::Zero(d);
    const auto high = hn::Set(d, shift);
    for (Size j = 0; j < keys; j += step) {
      const auto e = exp2_below(hn::Sub(hn::LoadU(d, s + j), high));
      hn::StoreU(e, d, s + j);
      sum = hn::Add(sum, e);
    }
    const double added = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
    largest_[row] = largest;
    if (before == hidden<T>) {
      total_[row] = added;
      return;
    }
    const T fade = std::exp2(before - largest);
    total_[row] = total_[row] * static_cast<double>(fade) + added;
    if (fade == T{1}) return;
    T* o = o_ + row * p_.value_dim;
    for (Size i = 0; i < p_.value_dim; ++i) o[i] *= fade;
  }

  /// o += the sum of weights[j] v_j of `count` values, a constant 1 or 4.
  template <int count>
  static void add_weighted(const T* weights, const T* v, Size stride, Size n, T* o) {
    const D d;
    const Size step = lanes(d);
    hn::Vec<D> w[count];
    for (int j = 0; j < count; ++j) w[j] = hn::Set(d, weights[j]);
    Size i = 0;
    for (; i + step <= n; i += step) {
      auto sum = hn::LoadU(d, o + i);
      for (int j = 0; j < count; ++j) sum = hn::MulAdd(w[j], hn::LoadU(d, v + j * stride + i), sum);
      hn::StoreU(sum, d, o + i);
    }
    for (; i < n; ++i)
      for (int j = 0; j < count; ++j) o[i] += weights[j] * v[j * stride + i];
  }

  void add_values(Size key, Size keys) {
    const Size n = p_.value_dim;
    for (Size j = 0; j < keys; j += 4) {
      const Size count = std::min(Size{4}, keys - j);
      for (Size head = 0; head < key_heads_; ++head) {
        const T* v = p_.v.row(b_, head, key + j);
        fetch(v, p_.v.row_stride, n);
        for (Size row = head * rows_a_head_; row < (head + 1) * rows_a_head_; ++row) {
          const T* w = s_ + row * keys_ + j;
          if (count == 4 && !past_zeros_)
            add_weighted<4>(w, v, p_.v.row_stride, n, o_ + row * n);
          else
            for (Size r = 0; r < count; ++r)
              if (!past_zeros_ || w[r] != T{0}) add_weighted<1>(w + r, v + r * p_.v.row_stride, 0, n, o_ + row * n);
        }
      }
    }
  }

  const AttentionPlan<T>& p_;
  Size b_;
  bool past_zeros_;
  Size key_heads_, rows_a_head_, rows_;
  Workspace<T> work_;
  T *q_, *s_, *o_, *largest_;
  double* total_;
};

/// Outputs and sums of an example from its parts; whether all is finite, and false in `finite` for queries where it is
/// not.
template <class T>
bool join_parts(const AttentionPlan<T>& p, Size b, const PartOfFew<T>* parts, Size count, Heads<T> out,
                AttentionSums<T> sums, std::vector<bool>& finite) {
  const Size e = p.value_dim;
  bool all = true;
  for (Size h = 0; h < p.heads; ++h) {
    for (Size i = 0; i < p.queries; ++i) {
      bool own = true;
      const Size row = h * p.queries + i;
      T largest = hidden<T>;
      for (Size c = 0; c < count; ++c) largest = std::max(largest, parts[c].largest[row]);
      double total = 0;
      T* y = out.row(b, h, i);
      std::fill_n(y, e, T{0});
      for (Size c = 0; c < count; ++c) {
        if (parts[c].largest[row] == hidden<T>) {
          own &= parts[c].total[row] == 0;  // not NaN
          continue;
        }
        const T fade = std::exp2(parts[c].largest[row] - largest);
        total += parts[c].total[row] * static_cast<double>(fade);
        for (Size j = 0; j < e; ++j) y[j] += parts[c].o[row * e + j] * fade;
      }
      const T inverse = total == 0 ? T{0} : static_cast<T>(1 / total);
      for (Size j = 0; j < e; ++j) y[j] *= inverse;
      sums.largest[b * p.heads * p.queries + row] = largest == hidden<T> ? T{0} : largest;
      sums.inverse[b * p.heads * p.queries + row] = inverse;
      own &= std::isfinite(total) && all_finite(y, e);
      finite[static_cast<std::size_t>(b * p.heads * p.queries + row)] = own;
      all &= own;
    }
  }
  return all;
}

template <class T>
void attend_part(const AttentionPlan<T>& p, Size b, Size begin, Size end, bool past_zeros, const PartOfFew<T>& to) {
  FewQueries<T>(p, b, past_zeros, to).run(begin, end);
}

template <class T>
inline constexpr FewKernels<T> few_kernels = {attend_part<T>, join_parts<T>};

const FewKernels<float>& few_f32() { return few_kernels<float>; }
const FewKernels<double>& few_f64() { return few_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(few_f32);
HWY_EXPORT(few_f64);

namespace {

template <class T>
const FewKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(few_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(few_f64)();
}

constexpr Size most_queries = 4;
constexpr Size wanted_tasks = 8;
constexpr Size least_keys = 64;            // of a part
constexpr double worth_sharing = 1 << 17;  // multiplications: these wait for memory

}  // namespace

template <class T>
bool has_few_queries(const AttentionPlan<T>& p) {
  return p.queries <= most_queries && p.settings.dropout == 0 && p.settings.pattern == nullptr;
}

template <class T>
std::vector<bool> attention_of_few(const AttentionPlan<T>& p, Heads<T> out, AttentionSums<T> sums) {
  const Size wanted = std::max(wanted_tasks / std::max(p.batch, Size{1}), Size{1});
  const Size keys = std::max(pieces(pieces(p.keys, wanted), least_keys), Size{1}) * least_keys;
  const Size parts = std::max(pieces(p.keys, keys), Size{1}), rows = p.heads * p.queries;
  // For as many parts as there may be: a step takes the same memory whatever number of keys there is.
  const Size most = p.batch * wanted;
  const Buffer<T> o(most * rows * p.value_dim), largest(most * rows);
  const Buffer<double> total(most * rows);
  std::vector<PartOfFew<T>> all;
  for (Size i = 0; i < p.batch * parts; ++i)
    all.push_back({o.data() + i * rows * p.value_dim, largest.data() + i * rows, total.data() + i * rows});
  const double work =
      static_cast<double>(rows * std::min(keys, p.keys)) * static_cast<double>(p.head_dim + p.value_dim);
  const Size grain = std::max(Size{1}, static_cast<Size>(worth_sharing / std::max(work, 1.0)));
  const auto attend = [&](Size i, bool past_zeros) {
    const Size begin = i % parts * keys;
    kernels<T>().part(p, i / parts, begin, std::min(begin + keys, p.keys), past_zeros,
                      all[static_cast<std::size_t>(i)]);
  };
  parallel_for(p.batch * parts, grain, [&](Size first, Size last) {
    for (Size i = first; i < last; ++i) attend(i, false);
  });
  std::vector<bool> finite(static_cast<std::size_t>(p.batch * rows), true);
  for (Size b = 0; b < p.batch; ++b) {
    const auto join = [&] { return kernels<T>().join(p, b, all.data() + b * parts, parts, out, sums, finite); };
    if (join()) continue;
    for (Size i = b * parts; i < (b + 1) * parts; ++i) attend(i, true);
    join();
  }
  return finite;
}

#define ATTUNE_INSTANTIATE(T)                             \
  template bool has_few_queries(const AttentionPlan<T>&); \
  template std::vector<bool> attention_of_few(const AttentionPlan<T>&, Heads<T>, AttentionSums<T>);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
