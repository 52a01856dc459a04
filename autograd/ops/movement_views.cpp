// Movement without copies: each result is a view of its input's storage.

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"

namespace attune {

namespace {

/// The shape asked for, with -1 inferred. Throws ShapeError.
Shape resolved(const Op& op, const Tensor& x, const Shape& asked) {
  Shape shape = asked;
  int open = -1;
  std::int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1 && open < 0) {
      open = i;
    } else if (shape[i] < 0) {
      op.fail_shape(shape[i] == -1 ? "only one size can be -1: " + asked.str() : "negative size in " + asked.str());
    } else if (__builtin_mul_overflow(known, shape[i], &known)) {
      op.fail_shape("the number of elements of " + asked.str() + " overflows 64 bits");
    }
  }
  const bool fits = open < 0 ? known == x.numel() : known != 0 && x.numel() % known == 0;
  if (!fits) op.fail_shape("cannot reshape " + x.shape().str() + " into " + asked.str());
  if (open >= 0) shape[open] = x.numel() / known;
  return shape;
}

/// Strides of x's elements under another shape, if they can be read in row-major order without a copy.
bool view_strides(const Tensor& x, const Shape& shape, Strides& strides) {
  if (x.is_contiguous()) {
    strides = contiguous_strides(shape);
    return true;
  }
  // x's axes in blocks that are dense inside; each block takes up whole axes of the new shape, from the right.
  strides = Strides();
  strides.resize(shape.rank());
  int to = shape.rank() - 1;
  for (int from = x.rank() - 1; from >= 0;) {
    std::int64_t block = x.shape()[from], step = x.strides()[from];
    int first = from;
    while (first > 0 &&
           (x.shape()[first - 1] == 1 || x.strides()[first - 1] == x.strides()[from] * block || block == 1)) {
      --first;
      if (block == 1) {
        step = x.strides()[first];
        from = first;
      }
      block *= x.shape()[first];
    }
    std::int64_t taken = 1;
    while (to >= 0 && (taken < block || shape[to] == 1)) {
      strides[to] = taken * step;
      taken *= shape[to];
      --to;
    }
    if (taken != block) return false;
    from = first - 1;
  }
  for (; to >= 0; --to) strides[to] = 1;
  return true;
}

Strides kept_strides(const Tensor& x, int without) {
  Strides s = x.strides();
  s.erase(without);
  return s;
}

// Rules that say what they do with dy.

struct Reshaped {
  Shape shape;
  Tensor operator()(const Tensor& dy) const { return reshape(dy, shape); }
  std::string text() const { return "dx = dy reshaped to " + shape.str(); }
};

struct Permuted {
  Dims back;
  Tensor operator()(const Tensor& dy) const { return permute(dy, back); }
  std::string text() const { return "dx = dy permuted by " + back.str(); }
};

struct Transposed {
  int a, b;
  Tensor operator()(const Tensor& dy) const { return transpose(dy, a, b); }
  std::string text() const {
    return "dx = dy with axes " + std::to_string(a) + " and " + std::to_string(b) + " exchanged";
  }
};

struct Collapsed {
  Tensor operator()(const Tensor& dy) const { return dy; }  // the sweep sums
  std::string text(const Node& node) const {
    const Edge& x = node.edges()[0];
    const Shape &from = x.node->output(x.slot).shape, &to = node.output(0).shape;
    Dims axes;
    for (int i = 0, more = to.rank() - from.rank(); i < to.rank(); ++i)
      if (i < more || from[i - more] != to[i]) axes.push_back(i);
    return axes.empty() ? "dx = dy" : "dx = dy summed over axes " + axes.str();
  }
};

struct Unsqueezed {
  int axis;
  Tensor operator()(const Tensor& dy) const { return unsqueeze(dy, axis); }
  std::string text() const { return "dx = dy with axis " + std::to_string(axis) + " back"; }
};

struct Squeezed {
  int axis;
  Tensor operator()(const Tensor& dy) const { return squeeze(dy, axis); }
  std::string text() const { return "dx = dy without axis " + std::to_string(axis); }
};

struct Sliced {
  Shape whole;
  int axis;
  std::int64_t first, step;
  Tensor operator()(const Tensor& dy) const { return slice_scatter(dy, whole, axis, first, step); }
  std::string text(const Node& node) const {
    const std::int64_t count = node.output(0).shape[axis];
    std::string places =
        std::to_string(first) + ":" + std::to_string(count == 0 ? first : first + (count - 1) * step + 1);
    if (step != 1) places += ":" + std::to_string(step);
    return "dx = dy at " + places + " of axis " + std::to_string(axis) + ", zeros elsewhere";
  }
};

struct Selected {
  Shape whole;
  int axis;
  std::int64_t index;
  Tensor operator()(const Tensor& dy) const { return slice_scatter(unsqueeze(dy, axis), whole, axis, index); }
  std::string text() const {
    return "dx = dy at " + std::to_string(index) + " of axis " + std::to_string(axis) + ", zeros elsewhere";
  }
};

struct Joined {
  int axis;
  Tensors operator()(const Tensors& dys, const Needs&) const { return {cat(dys, axis)}; }
  std::string text() const { return "dx = the dys joined along axis " + std::to_string(axis); }
};

struct Stacked {
  int axis;
  Tensors operator()(const Tensors& dys, const Needs&) const { return {stack(dys, axis)}; }
  std::string text() const { return "dx = the dys stacked along axis " + std::to_string(axis); }
};

}  // namespace

Tensor reshape(const Tensor& x, const Shape& asked, Here here) {
  const Op op{"reshape", here};
  op.check_defined(x);
  const Shape shape = resolved(op, x, asked);
  Strides strides;
  const bool view = view_strides(x, shape, strides);
  const Tensor from = view ? x : detail::dense(x);
  return op.record(view_of(from, shape, view ? strides : contiguous_strides(shape), 0), of<reshape>(x, asked),
                   "dx = dy in x's shape", Reshaped{x.shape()});
}

Tensor flatten(const Tensor& x, std::int64_t first, std::int64_t last, Here here) {
  const Op op{"flatten", here};
  op.check_defined(x);
  if (x.rank() == 0) return reshape(x, {1});
  const int a = op.axis(first, x), b = op.axis(last, x);
  if (a > b)
    op.fail_index("axes " + std::to_string(first) + " to " + std::to_string(last) + " of " + x.shape().str() +
                  " run backwards");
  Shape shape;
  std::int64_t merged = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < a || i > b)
      shape.push_back(x.shape()[i]);
    else if (__builtin_mul_overflow(merged, x.shape()[i], &merged))
      op.fail_shape("the number of elements of " + x.shape().str() + " overflows 64 bits");
    if (i == b) shape.push_back(merged);
  }
  return reshape(x, shape);
}

Tensor permute(const Tensor& x, const Dims& axes, Here here) {
  const Op op{"permute", here};
  op.check_defined(x);
  if (axes.size() != x.rank())
    op.fail_shape("axes " + axes.str() + " do not name each axis of " + x.shape().str() + " once");
  Shape shape = x.shape();
  Strides strides = x.strides();
  Dims back = axes;
  unsigned seen = 0;
  for (int i = 0; i < x.rank(); ++i) {
    const int a = op.axis(axes[i], x);
    if (seen & (1u << a))
      op.fail_shape("axes " + axes.str() + " do not name each axis of " + x.shape().str() + " once");
    seen |= 1u << a;
    shape[i] = x.shape()[a];
    strides[i] = x.strides()[a];
    back[a] = i;
  }
  return op.record(view_of(x, shape, strides, 0), of<permute>(x, axes), "dx = dy with its axes back in place",
                   Permuted{back});
}

Tensor transpose(const Tensor& x, std::int64_t a, std::int64_t b, Here here) {
  const Op op{"transpose", here};
  op.check_defined(x);
  const int i = op.axis(a, x), j = op.axis(b, x);
  Shape shape = x.shape();
  Strides strides = x.strides();
  std::swap(shape[i], shape[j]);
  std::swap(strides[i], strides[j]);
  return op.record(view_of(x, shape, strides, 0), of<transpose>(x, a, b), "dx = dy transposed back", Transposed{i, j});
}

Tensor expand(const Tensor& x, const Shape& asked, Here here) {
  const Op op{"expand", here};
  op.check_defined(x);
  Shape shape = asked;
  const int offset = asked.rank() - x.rank();
  for (int i = 0; i < x.rank(); ++i)
    if (offset >= 0 && shape[offset + i] == -1) shape[offset + i] = x.shape()[i];
  Shape joint;
  for (std::int64_t s : shape)
    if (s < 0) op.fail_shape("cannot expand " + x.shape().str() + " to " + asked.str());
  if (!broadcast(x.shape(), shape, joint) || joint != shape)
    op.fail_shape("cannot expand " + x.shape().str() + " to " + asked.str());
  return op.record(view_of(x, shape, broadcast_strides(x.shape(), x.strides(), shape), 0), of<expand>(x, asked),
                   "dx = dy summed over what was stretched", Collapsed{});
}

Tensor squeeze(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"squeeze", here};
  const int a = op.axis(axis, x);
  if (x.shape()[a] != 1)
    op.fail_shape("axis " + std::to_string(axis) + " of " + x.shape().str() + " has size " +
                  std::to_string(x.shape()[a]) + ", not 1");
  Shape shape = x.shape();
  shape.erase(a);
  constexpr Tensor (*one_axis)(const Tensor&, std::int64_t, Here) = squeeze;
  return op.record(view_of(x, shape, kept_strides(x, a), 0), of<one_axis>(x, axis), "dx = dy with the axis back",
                   Unsqueezed{a});
}

Tensor squeeze(const Tensor& x, Here here) {
  const Op op{"squeeze", here};
  op.check_defined(x);
  Shape shape;
  for (std::int64_t n : x.shape())
    if (n != 1) shape.push_back(n);
  return reshape(x, shape);
}

Tensor unsqueeze(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"unsqueeze", here};
  op.check_defined(x);
  const int a = op.axis_of_rank(axis, x.rank() + 1, x.shape());
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape.insert(a, 1);
  strides.insert(a, 1);
  return op.record(view_of(x, shape, strides, 0), of<unsqueeze>(x, axis), "dx = dy without the axis", Squeezed{a});
}

Tensor slice(const Tensor& x, std::int64_t axis, std::int64_t start, std::int64_t stop, std::int64_t step, Here here) {
  const Op op{"slice", here};
  const int a = op.axis(axis, x);
  if (step < 1) op.fail_value("step = " + std::to_string(step) + " must be at least 1");
  const std::int64_t n = x.shape()[a];
  const auto clamped = [n](std::int64_t v) { return std::clamp<std::int64_t>(v < 0 ? (v < -n ? 0 : v + n) : v, 0, n); };
  const std::int64_t first = clamped(start), end = std::max(first, clamped(stop));
  const std::int64_t count = end == first ? 0 : (end - first - 1) / step + 1;
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[a] = count;
  const std::int64_t offset = count == 0 ? 0 : first * strides[a];
  if (count > 1) strides[a] *= step;
  return op.record(view_of(x, shape, strides, offset), of<slice>(x, axis, start, stop, step),
                   "dx = dy at the slice, zeros elsewhere", Sliced{x.shape(), a, first, step});
}

Tensor slice_scatter(const Tensor& x, const Shape& shape, std::int64_t axis, std::int64_t start, std::int64_t step,
                     Here here) {
  const Op op{"slice_scatter", here};
  const int a = op.axis(axis, x);
  if (step < 1) op.fail_value("step = " + std::to_string(step) + " must be at least 1");
  const std::int64_t count = x.shape()[a];
  bool fits = x.rank() == shape.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == a || x.shape()[i] == shape[i];
  if (fits) {
    const std::int64_t room = start < 0 || start > shape[a] ? -1 : shape[a] - start;  // from the first place on
    fits = room >= 0 && (count == 0 || (room > 0 && count - 1 <= (room - 1) / step));
  }
  if (!fits)
    op.fail_shape(x.shape().str() + " does not fit into " + shape.str() + " from " + std::to_string(start) +
                  " in steps of " + std::to_string(step) + " along axis " + std::to_string(axis));
  Tensor y = zeros(shape, x.dtype());
  if (x.numel() != 0) detail::copy_into(slice(y, a, start, to_end, step), x);
  return op.record(
      std::move(y), of<slice_scatter>(x, shape, axis, start, step), "dx = dy's slice",
      [a, start, step, count](const Tensor& dy) { return slice(slice(dy, a, start, to_end, step), a, 0, count); });
}

Tensor select(const Tensor& x, std::int64_t axis, std::int64_t index, Here here) {
  const Op op{"select", here};
  const int a = op.axis(axis, x);
  const std::int64_t n = x.shape()[a];
  if (index < -n || index >= n)
    op.fail_index("index " + std::to_string(index) + " is out of range for axis " + std::to_string(axis) + " of " +
                  x.shape().str());
  const std::int64_t i = index < 0 ? index + n : index;
  Shape shape = x.shape();
  shape.erase(a);
  return op.record(view_of(x, shape, kept_strides(x, a), i * x.strides()[a]), of<select>(x, axis, index),
                   "dx = dy at the index, zeros elsewhere", Selected{x.shape(), a, i});
}

Tensors by_argument::split(const Tensor& x, const std::vector<std::int64_t>& sizes, std::int64_t axis, Here here) {
  const Op op{"split", here};
  const int a = op.axis(axis, x);
  const std::int64_t n = x.shape()[a];
  const Tensor from = x.detach();
  std::int64_t left = n;
  Tensors pieces;
  for (std::int64_t size : sizes) {
    if (size < 0 || size > left) break;
    pieces.push_back(slice(from, a, n - left, n - left + size));
    left -= size;
  }
  if (pieces.size() != sizes.size() || left != 0)
    op.fail_shape("sizes " + detail::text(sizes) + " do not add up to axis " + std::to_string(axis) + " of " +
                  x.shape().str());
  return op.record_joint(std::move(pieces), of<split>(x, sizes, axis), "dx = the dys joined", Joined{a});
}

namespace {
constexpr std::int64_t most_empty_pieces = 1 << 16;
}  // namespace

Tensors by_argument::chunk(const Tensor& x, std::int64_t n, std::int64_t axis, Here here) {
  const Op op{"chunk", here};
  const int a = op.axis(axis, x);
  if (n < 1) op.fail_value("n = " + std::to_string(n) + " must be at least 1");
  const std::int64_t whole = x.shape()[a], most = whole / n + (whole % n != 0);
  if (whole == 0 && n > most_empty_pieces)
    op.fail_value("n = " + std::to_string(n) + " empty pieces of " + x.shape().str() + " are more than " +
                  std::to_string(most_empty_pieces));
  std::vector<std::int64_t> sizes;
  for (std::int64_t left = whole; left > 0; left -= sizes.back()) sizes.push_back(std::min(left, most));
  if (whole == 0) sizes.assign(static_cast<std::size_t>(n), 0);
  return split(x, sizes, a);
}

Tensors unbind(const Tensor& x, std::int64_t axis, Here here) {
  const Op op{"unbind", here};
  const int a = op.axis(axis, x);
  const Tensor from = x.detach();
  Tensors pieces;
  for (std::int64_t i = 0; i < x.shape()[a]; ++i) pieces.push_back(select(from, a, i));
  if (pieces.empty()) return pieces;
  return op.record_joint(std::move(pieces), of<unbind>(x, axis), "dx = the dys stacked", Stacked{a});
}

}  // namespace attune
