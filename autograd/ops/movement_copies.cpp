// Movement into fresh storage.

#include <algorithm>
#include <utility>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"

namespace attune {

using detail::split_at;

namespace {

Tensor copied(const Op& op, const Tensor& x) {
  Tensor y = op.empty_like(x);
  detail::copy_into(y, x);
  return y;
}

/// Copies x into y from position `at` of `axis` on.
void place(const Tensor& y, int axis, std::int64_t at, const Tensor& x) {
  detail::copy_into(view_of(y, x.shape(), y.strides(), at * y.strides()[axis]), x);
}

// Rules that say what they do with dy.

struct Cut {
  int axis;
  std::vector<std::int64_t> sizes;
  Tensors operator()(const Tensors& dys, const Needs& needs) const {
    Tensors dxs(sizes.size());
    std::int64_t start = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (needs[i]) dxs[i] = slice(dys[0], axis, start, start + sizes[i]);
      start += sizes[i];
    }
    return dxs;
  }
  std::string text() const {
    return "each dxs[i] = its slice of dy along axis " + std::to_string(axis) + ", of sizes " + detail::text(sizes);
  }
};

struct Unbound {
  int axis;
  Tensors operator()(const Tensors& dys, const Needs&) const { return unbind(dys[0], axis); }
  std::string text() const { return "each dxs[i] = dy at i of axis " + std::to_string(axis); }
};

struct Flipped {
  Dims axes;
  Tensor operator()(const Tensor& dy) const { return flip(dy, axes); }
  std::string text() const { return "dx = dy flipped along axes " + axes.str(); }
};

struct Unpadded {
  int axis;
  std::int64_t before, after;
  Tensor operator()(const Tensor& dy) const { return pad(dy, axis, -before, -after); }
  std::string text() const {
    const auto at_end = [](std::int64_t n, const char* where) {
      const std::int64_t count = n < 0 ? -n : n;
      if (n == 0) return std::string();
      const std::string what = std::string(n < 0 ? "zero" : "element") + (count == 1 ? "" : "s");
      return std::to_string(count) + " " + what + (n < 0 ? " more" : " less") + where;
    };
    const std::string first = at_end(before, " at the beginning"), last = at_end(after, " at the end");
    if (first.empty() && last.empty()) return "dx = dy";
    return "dx = dy with " + first + (first.empty() || last.empty() ? "" : " and ") + last + " of axis " +
           std::to_string(axis);
  }
};

}  // namespace

Tensor contiguous(const Tensor& x, Here here) {
  const Op op{"contiguous", here};
  op.check_defined(x);
  if (x.is_contiguous()) return x;
  return op.record(copied(op, x), of<contiguous>(x), "dx = dy", [](const Tensor& dy) { return dy; });
}

Tensor clone(const Tensor& x, Here here) {
  const Op op{"clone", here};
  op.check_defined(x);
  return op.record(copied(op, x), of<clone>(x), "dx = dy", [](const Tensor& dy) { return dy; });
}

Tensor cat(const Tensors& xs, std::int64_t axis, Here here) {
  const Op op{"cat", here};
  if (xs.empty()) op.fail_value("needs at least one tensor");
  for (const Tensor& x : xs) op.check_same_dtype(xs[0], x);
  Tensors some;
  for (const Tensor& x : xs)
    if (x.shape() != Shape{0}) some.push_back(x);
  if (!some.empty() && some.size() < xs.size() && some[0].rank() != 1) return cat(some, axis, here);
  const int a = op.axis(axis, xs[0]);
  Shape shape = xs[0].shape();
  shape[a] = 0;
  std::vector<std::int64_t> sizes;
  for (const Tensor& x : xs) {
    bool fits = x.rank() == shape.rank();
    for (int i = 0; fits && i < shape.rank(); ++i) fits = i == a || x.shape()[i] == shape[i];
    if (!fits)
      op.fail_shape("sizes differ outside of axis " + std::to_string(axis) + ": " + xs[0].shape().str() + " and " +
                    x.shape().str());
    sizes.push_back(x.shape()[a]);
    shape[a] += x.shape()[a];
  }
  Tensor y = op.empty(shape, xs[0].dtype());
  std::int64_t at = 0;
  for (const Tensor& x : xs) {
    place(y, a, at, x);
    at += x.shape()[a];
  }
  return op.record_joint(std::move(y), of<cat>(xs, axis), "each dxs[i] = its slice of dy", Cut{a, std::move(sizes)});
}

Tensor stack(const Tensors& xs, std::int64_t axis, Here here) {
  const Op op{"stack", here};
  if (xs.empty()) op.fail_value("needs at least one tensor");
  op.check_defined(xs[0]);
  const int a = op.axis_of_rank(axis, xs[0].rank() + 1, xs[0].shape());
  for (const Tensor& x : xs) {
    op.check_same_dtype(xs[0], x);
    if (x.shape() != xs[0].shape()) op.fail_shape("shapes differ: " + xs[0].shape().str() + " and " + x.shape().str());
  }
  Shape shape = xs[0].shape();
  shape.insert(a, static_cast<std::int64_t>(xs.size()));
  Tensor y = op.empty(shape, xs[0].dtype());
  for (std::size_t i = 0; i < xs.size(); ++i) place(y, a, static_cast<std::int64_t>(i), unsqueeze(xs[i].detach(), a));
  return op.record_joint(std::move(y), of<stack>(xs, axis), "each dxs[i] = its slice of dy", Unbound{a});
}

Tensor flip(const Tensor& x, const Dims& axes, Here here) {
  const Op op{"flip", here};
  op.check_defined(x);
  // Negative strides live only inside this copy.
  Strides strides = x.strides();
  std::int64_t offset = 0;
  bool seen[max_rank] = {};
  for (std::int64_t axis : axes) {
    const int a = op.axis(axis, x);
    if (std::exchange(seen[a], true)) op.fail_shape("axes " + axes.str() + " repeat an axis");
    offset += std::max<std::int64_t>(x.shape()[a] - 1, 0) * x.strides()[a];
    strides[a] = -x.strides()[a];
  }
  Tensor y = op.empty_like(x);
  if (x.numel() != 0)
    kernels::copy(x.dtype(), x.shape(),
                  static_cast<const std::byte*>(x.raw()) + offset * static_cast<std::int64_t>(size_of(x.dtype())),
                  strides, y.unsafe_data(), y.strides());
  return op.record(std::move(y), of<flip>(x, axes), "dx = dy flipped back", Flipped{axes});
}

Tensor roll(const Tensor& x, std::int64_t shift, std::int64_t axis, Here here) {
  const Op op{"roll", here};
  const int a = op.axis(axis, x);
  const std::int64_t n = x.shape()[a];
  if (n == 0) return clone(x);
  const std::int64_t by = (shift % n + n) % n;
  if (by == 0) return clone(x);
  return cat({slice(x, a, n - by), slice(x, a, 0, n - by)}, a);
}

Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes, Here here) {
  const Op op{"roll", here};
  op.check_defined(x);
  if (axes.empty() && shifts.rank() == 1) return reshape(roll(reshape(x, {-1}), shifts[0], 0), x.shape());
  if (axes.rank() != shifts.rank())
    op.fail_shape("shifts " + shifts.str() + " and axes " + axes.str() + " differ in number");
  Tensor y = x;
  for (int i = 0; i < axes.rank(); ++i) y = roll(y, shifts[i], op.axis(axes[i], x));
  return y;
}

namespace {

/// The size of an axis of x with so many elements more (less, if negative) at its ends; checked.
std::int64_t padded_size(const Op& op, const Tensor& x, int axis, std::int64_t before, std::int64_t after) {
  const std::int64_t n = x.shape()[axis];
  std::int64_t size = 0;
  if (__builtin_add_overflow(n, before, &size) || __builtin_add_overflow(size, after, &size) || size < 0 ||
      before < -n || after < -n)
    op.fail_value("before = " + std::to_string(before) + " and after = " + std::to_string(after) + " do not fit axis " +
                  std::to_string(axis) + " of " + x.shape().str());
  return size;
}

}  // namespace

Tensor by_argument::pad(const Tensor& x, std::int64_t axis, std::int64_t before, std::int64_t after,
                        const Scalar& value, Here here) {
  const Op op{"pad", here};
  const int a = op.axis(axis, x);
  const std::int64_t n = x.shape()[a];
  Shape shape = x.shape();
  detail::check_fits(op, value, x);
  shape[a] = padded_size(op, x, a, before, after);
  Tensor y = full(shape, value, x.dtype());
  const std::int64_t start = std::max<std::int64_t>(-before, 0), stop = n - std::max<std::int64_t>(-after, 0);
  place(y, a, std::max<std::int64_t>(before, 0), slice(x.detach(), a, start, stop));
  return op.record(std::move(y), of<pad>(x, axis, before, after, value), "dx = dy cut where x was padded, and back",
                   Unpadded{a, before, after});
}

Tensor constant_pad(const Tensor& x, const std::vector<std::int64_t>& pairs, const Scalar& value, Here here) {
  const Op op{"constant_pad", here};
  op.check_defined(x);
  const int axes = static_cast<int>(pairs.size() / 2);
  if (pairs.size() % 2 != 0 || axes > x.rank())
    op.fail_shape(std::to_string(pairs.size()) + " sizes are not (before, after) pairs of the last axes of " +
                  x.shape().str());
  Tensor y = x;
  for (int i = 0; i < axes; ++i) {
    const std::int64_t before = pairs[2 * static_cast<std::size_t>(i)],
                       after = pairs[2 * static_cast<std::size_t>(i) + 1];
    padded_size(op, x, x.rank() - 1 - i, before, after);
    if (before != 0 || after != 0) y = pad(y, x.rank() - 1 - i, before, after, value);
  }
  return y.same_storage(x) ? clone(y) : y;
}

Tensor repeat_interleave(const Tensor& x, std::int64_t count, std::int64_t axis, Here here) {
  const Op op{"repeat_interleave", here};
  const int a = op.axis(axis, x);
  if (count < 0) op.fail_value("count = " + std::to_string(count) + " is negative");
  Shape shape = x.shape(), spread = shape;
  if (__builtin_mul_overflow(shape[a], count, &shape[a]))
    op.fail_shape(std::to_string(count) + " times " + x.shape().str() + " overflows 64 bits");
  spread.insert(a + 1, count);
  const Tensor y = reshape(expand(unsqueeze(x, a + 1), spread), shape);
  return y.same_storage(x) ? clone(y) : y;
}

Tensor repeat_interleave(const Tensor& x, const Tensor& counts, std::int64_t axis, Here here) {
  const Op op{"repeat_interleave", here};
  const int a = op.axis(axis, x);
  op.check_defined(counts);
  const std::int64_t n = x.shape()[a];
  if (!is_integer(counts.dtype()))
    op.fail_dtype(std::string("counts must be integers, got ") + name_of(counts.dtype()));
  if (counts.shape() != Shape{n} && counts.numel() != 1)
    op.fail_shape("counts " + counts.shape().str() + " are not one for each place along axis " + std::to_string(axis) +
                  " of " + x.shape().str());
  const auto each = counts.to_vector<std::int64_t>();
  const auto count_at = [&](std::int64_t i) { return each[each.size() == 1 ? 0 : static_cast<std::size_t>(i)]; };
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (count_at(i) < 0) op.fail_value("count " + std::to_string(count_at(i)) + " is negative");
    if (__builtin_add_overflow(total, count_at(i), &total)) op.fail_shape("the sum of the counts overflows 64 bits");
  }
  const Tensor at = op.empty({total}, DType::int64);
  auto* place = detail::elements<std::int64_t>(at);
  for (std::int64_t i = 0; i < n; ++i) place = std::fill_n(place, count_at(i), i);
  return index_select(x, a, at);
}

Tensor by_argument::repeat(const Tensor& x, const Dims& counts, Here here) {
  const Op op{"repeat", here};
  op.check_defined(x);
  if (counts.size() < x.rank()) op.fail_shape("counts " + counts.str() + " have fewer axes than " + x.shape().str());
  for (std::int64_t c : counts)
    if (c < 0) op.fail_value("negative count in " + counts.str());
  Shape shape = x.shape();
  while (shape.rank() < counts.rank()) shape.insert(0, 1);
  Tensor y = reshape(x, shape);
  // One axis after another: [outer, inner] -> [outer, count, inner].
  for (int i = 0; i < counts.rank(); ++i) {
    if (counts[i] == 1) continue;
    const auto [outer, n, inner] = split_at(shape, i);
    if (__builtin_mul_overflow(shape[i], counts[i], &shape[i]))
      op.fail_shape("counts " + counts.str() + " times " + x.shape().str() + " overflow 64 bits");
    y = reshape(expand(reshape(y, {outer, 1, n * inner}), {outer, counts[i], n * inner}), shape);
  }
  return y.same_storage(x) ? clone(y) : y;
}

namespace {

Tensor triangle(const char* name, bool lower, const Tensor& x, std::int64_t diagonal, Here here) {
  const Op op{name, here};
  op.check_defined(x);
  if (x.rank() < 2) op.fail_shape("needs at least 2 axes, got " + x.shape().str());
  const std::int64_t rows = x.size(-2), columns = x.size(-1);
  const Tensor row = unsqueeze(arange(rows), 1), column = arange(columns);
  const std::int64_t d = std::clamp<std::int64_t>(diagonal, -rows - 1, columns + 1);
  return where(lower ? le(column, row + d) : ge(column, row + d), x, 0);
}

}  // namespace

Tensor tril(const Tensor& x, std::int64_t diagonal, Here here) { return triangle("tril", true, x, diagonal, here); }
Tensor triu(const Tensor& x, std::int64_t diagonal, Here here) { return triangle("triu", false, x, diagonal, here); }

}  // namespace attune
