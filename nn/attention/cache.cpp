#include "nn/attention/cache.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/attention/internal/projections.h"
#include "nn/attention/multihead.h"

namespace attune::nn {

namespace {

constexpr std::int64_t least_capacity = 16;

/// A tensor [b, capacity, ..] that begins with the tokens of `from`, if that is defined.
Tensor with_capacity(const Shape& row, DType dtype, std::int64_t capacity, const Tensor& from) {
  Tensor grown = empty({row[0], capacity, row[2]}, dtype);
  if (from.defined()) {
    Tensor head = slice(grown, 1, 0, from.size(1));
    copy_(head, from);
  }
  return grown;
}

bool in_place(const std::vector<std::int64_t>& rows, std::int64_t b) {
  if (static_cast<std::int64_t>(rows.size()) != b) return false;
  for (std::int64_t i = 0; i < b; ++i)
    if (rows[static_cast<std::size_t>(i)] != i) return false;
  return true;
}

/// Row i of the result is row rows[i] of x, in the first `length` tokens; `to` is filled if it has the shape.
Tensor taken(const Tensor& x, const std::vector<std::int64_t>& rows, std::int64_t length, Tensor to) {
  const Shape shape{static_cast<std::int64_t>(rows.size()), x.size(1), x.size(2)};
  if (!to.defined() || to.shape() != shape) to = empty(shape, x.dtype());
  const Tensor from = slice(x, 1, 0, length);
  const Tensor head = slice(to, 1, 0, length);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Tensor row = select(head, 0, static_cast<std::int64_t>(i));
    copy_(row, select(from, 0, rows[i]));
  }
  return to;
}

}  // namespace

void KeyValueCache::reserve(std::int64_t tokens) {
  reserved_ = std::max(reserved_, tokens);
  if (!keys_.defined() || reserved_ <= capacity_) return;
  const NoGrad off;
  keys_ = with_capacity(keys_.shape(), keys_.dtype(), reserved_, keys());
  values_ = with_capacity(values_.shape(), values_.dtype(), reserved_, values());
  spare_keys_ = spare_values_ = Tensor();
  capacity_ = reserved_;
}

void KeyValueCache::append(const Tensor& k, const Tensor& v, Here here) {
  const Op op{"KeyValueCache::append", here};
  if (sums_.length > 0) op.fail_value("the cache holds sums, not keys and values");
  op.check_floating(k);
  op.check_same_dtype(k, v);
  if (k.rank() != 3 || v.rank() != 3 || k.size(0) != v.size(0) || k.size(1) != v.size(1))
    op.fail_shape("k " + k.shape().str() + " and v " + v.shape().str() + " do not fit [b, t, g d], [b, t, g d']");
  const NoGrad off;
  const std::int64_t t = k.size(1), needed = length_ + t;
  if (keys_.defined()) {
    op.check_same_dtype(keys_, k);
    for (const auto& [fresh, kept] : {std::pair{&k, &keys_}, std::pair{&v, &values_}})
      if (fresh->size(0) != kept->size(0) || fresh->size(2) != kept->size(2))
        op.fail_shape(fresh->shape().str() + " does not continue a cache of " + std::to_string(kept->size(0)) +
                      " rows of size " + std::to_string(kept->size(2)));
  }
  if (!keys_.defined() || needed > capacity_) {
    const std::int64_t most = std::max({needed, reserved_, keys_.defined() ? 2 * capacity_ : least_capacity});
    keys_ = with_capacity(k.shape(), k.dtype(), most, keys());
    values_ = with_capacity(v.shape(), v.dtype(), most, values());
    spare_keys_ = spare_values_ = Tensor();
    capacity_ = most;
  }
  Tensor new_keys = slice(keys_, 1, length_, needed), new_values = slice(values_, 1, length_, needed);
  copy_(new_keys, k);
  copy_(new_values, v);
  length_ = needed;
}

void KeyValueCache::reorder(const Tensor& rows, Here here) {
  const Op op{"KeyValueCache::reorder", here};
  if (rows.rank() != 1) op.fail_shape("rows " + rows.shape().str() + " must be [b']");
  if (length_ == 0 && !keys_.defined()) return;
  const Tensor index = op.checked_index(rows, sums_.length > 0 ? sums_.sums.s.shape() : keys_.shape(), 0);
  const auto at = index.to_vector<std::int64_t>();
  if (in_place(at, sums_.length > 0 ? sums_.sums.s.size(0) : keys_.size(0))) return;
  const NoGrad off;
  if (sums_.length > 0) {
    PerformerState now = sums_, before = sums_before_;
    now.reorder(index, here);
    before.reorder(index, here);
    sums_ = std::move(now), sums_before_ = std::move(before);
    return;
  }
  spare_keys_ = taken(keys_, at, length_, std::move(spare_keys_));
  spare_values_ = taken(values_, at, length_, std::move(spare_values_));
  std::swap(keys_, spare_keys_);
  std::swap(values_, spare_values_);
}

void KeyValueCache::truncate(std::int64_t tokens, Here here) {
  if (tokens < 0 || tokens > length_)
    Op("KeyValueCache::truncate", here)
        .fail_value("tokens = " + std::to_string(tokens) + " is not in [0, " + std::to_string(length_) + "]");
  if (sums_.length > 0 && tokens != length_) {
    if (tokens != 0 && tokens != sums_before_.length)
      Op("KeyValueCache::truncate", here)
          .fail_value("sums of " + std::to_string(length_) + " tokens cannot become those of " +
                      std::to_string(tokens));
    sums_ = tokens == 0 ? PerformerState() : sums_before_;
    sums_before_ = {};
  }
  length_ = tokens;
}

void KeyValueCache::advance(const PerformerState& next, Here here) {
  const Op op{"KeyValueCache::advance", here};
  if (length_ > 0 && sums_.length == 0) op.fail_value("the cache holds keys and values, not sums");
  if (next.length < length_)
    op.fail_value("sums of " + std::to_string(next.length) + " tokens after those of " + std::to_string(length_));
  sums_before_ = std::exchange(sums_, next);
  length_ = next.length;
}

Tensor KeyValueCache::keys() const { return keys_.defined() ? slice(keys_, 1, 0, length_) : Tensor(); }
Tensor KeyValueCache::values() const { return values_.defined() ? slice(values_, 1, 0, length_) : Tensor(); }

namespace {

/// What a causal window hides: [t, s], query i being of key i + s - t.
Tensor outside_window(std::int64_t t, std::int64_t s, std::int64_t window) {
  return tril(ones({t, s}, DType::boolean), s - t - window);
}

}  // namespace

Tensor cached_attention(const Tensor& q, const KeyValueCache& cache, std::int64_t heads,
                        const CachedAttentionOptions& o, Here here) {
  const Op op{"cached_attention", here};
  if (cache.length() == 0) op.fail_value("the cache is empty");
  if (cache.sums().length > 0) op.fail_value("the cache holds sums, not keys and values");
  Tensor k = cache.keys(), v = cache.values(), padding = o.key_padding_mask, bias = o.bias;
  const std::int64_t b = k.size(0), n = k.size(1);
  if (q.rank() != 3 || q.size(0) != b)
    op.fail_shape("q " + q.shape().str() + " does not fit a cache of " + std::to_string(b) + " rows");
  const std::int64_t t = q.size(1);
  if (o.causal && t > n)
    op.fail_shape("q " + q.shape().str() + " has more tokens than the " + std::to_string(n) + " of the cache");
  if (o.window < 0 || (o.window > 0 && !o.causal))
    op.fail_value("window = " + std::to_string(o.window) + " must be at least 0, and 0 unless causal");
  if (o.window > 0 && !o.pattern.sees_all())
    op.fail_value("window = " + std::to_string(o.window) + " beside the pattern `" + o.pattern.str() + "`");
  detail::check_padding(op, padding, k);
  const NoGrad off;
  if (o.window > 0 && n > o.window + t - 1) {  // what no query sees is not read
    const std::int64_t first = n - (o.window + t - 1);
    k = slice(k, 1, first), v = slice(v, 1, first);
    if (padding.defined()) padding = slice(padding, 1, first);
    if (bias.defined()) bias = slice(bias, -1, first);
  }
  const std::int64_t s = k.size(1);
  AttentionOptions all{.bias = bias,
                       .causal = o.causal && t > 1,
                       .pattern = o.pattern,
                       .scale = o.scale,
                       .grouped_heads = k.size(2) != q.size(2)};
  if (padding.defined()) all.attention_mask = reshape(padding, {b, 1, 1, s});
  if (o.window > 0 && t > 1 && s > o.window) {
    const Tensor band = reshape(outside_window(t, s, o.window), {1, 1, t, s});
    all.attention_mask = padding.defined() ? logical_or(all.attention_mask, band) : band;
  }
  return multihead_attention(q, k, v, heads, all, false, here).output;
}

}  // namespace attune::nn
