#include "autograd/ops/index.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/positions.h"
#include "autograd/ops/internal/views.h"

namespace attune {

namespace {

/// The places of true elements in row-major order.
Tensor true_places(const Tensor& mask) {
  const Tensor from = detail::dense(mask);
  const auto* p = detail::elements<const bool>(from);
  const std::int64_t count = std::count(p, p + from.numel(), true);
  Tensor at = empty({count}, DType::int64);
  auto* out = detail::elements<std::int64_t>(at);
  for (std::int64_t i = 0; i < from.numel(); ++i)
    if (p[i]) *out++ = i;
  return at;
}

/// An index tensor in place of one axis, which it replaces.
struct Picked {
  int axis;
  Tensor at;  // int64, in [0, size of the axis)
};

/// The part of an expression that is a view, and the index tensors along its axes.
struct Parsed {
  Tensor view;
  std::vector<Picked> picked;
};

int axes_taken(const Index& i) {
  if (i.kind() == Index::Kind::rest || i.kind() == Index::Kind::inserted) return 0;
  const Tensor& t = i.tensor();
  return t.defined() && t.dtype() == DType::boolean ? t.rank() : 1;
}

[[noreturn]] void fail_range(const Op& op, std::int64_t index, const Shape& shape, int axis) {
  op.fail_index("index " + std::to_string(index) + " is out of range for axis " + std::to_string(axis) + " of " +
                shape.str());
}

/// An index tensor into an axis of a shape, its negative elements counted from the end.
Tensor wrapped(const Op& op, const Tensor& index, const Shape& shape, int axis) {
  if (!is_integer(index.dtype()))
    op.fail_dtype(std::string("an index tensor must be integers or bool, got ") + name_of(index.dtype()) + " " +
                  index.shape().str());
  const NoGrad off;
  const Tensor at = to(index.detach(), DType::int64);
  const std::int64_t n = shape[axis];
  for (std::int64_t i : at.to_vector<std::int64_t>())
    if (i < -n || i >= n) fail_range(op, i, shape, axis);
  return where(lt(at, 0), at + n, at);
}

Parsed parse(const Op& op, const Tensor& x, const Indices& at) {
  op.check_defined(x);
  int taken = 0, ellipses = 0;
  for (const Index& i : at) {
    taken += axes_taken(i);
    ellipses += i.kind() == Index::Kind::rest;
  }
  if (taken > x.rank()) op.fail_index(std::to_string(taken) + " indices for " + x.shape().str());
  if (ellipses > 1) op.fail_index("more than one ellipsis");
  Parsed p{x, {}};
  int axis = 0, seen = 0;  // of the view and of x
  for (const Index& index : at) {
    if (index.kind() == Index::Kind::position) {
      const std::int64_t n = x.shape()[seen], i = index.position();
      if (i < -n || i >= n) fail_range(op, i, x.shape(), seen);
      p.view = select(p.view, axis, i);
      ++seen;
    } else if (index.kind() == Index::Kind::slice) {
      const Slice& s = index.slice();
      const bool whole = !s.start && !s.stop && s.step == 1;
      if (!whole) p.view = slice(p.view, axis, s.start.value_or(0), s.stop.value_or(to_end), s.step);
      ++axis;
      ++seen;
    } else if (index.kind() == Index::Kind::rest) {
      axis += x.rank() - taken;
      seen += x.rank() - taken;
    } else if (index.kind() == Index::Kind::inserted) {
      p.view = unsqueeze(p.view, axis++);
    } else {
      const Tensor& t = index.tensor();
      op.check_defined(t);
      if (t.dtype() == DType::boolean) {
        for (int k = 0; k < t.rank(); ++k)
          if (t.shape()[k] != p.view.shape()[axis + k])
            op.fail_shape("the mask " + t.shape().str() + " does not fit " + x.shape().str() + " at axis " +
                          std::to_string(seen));
        if (t.rank() == 0) op.fail_shape("a mask needs at least one axis");
        const Tensor places = nonzero(t);
        for (int k = 0; k < t.rank(); ++k) p.picked.push_back({axis++, select(places, 1, k)});
        seen += t.rank();
      } else {
        p.picked.push_back({axis, wrapped(op, t, x.shape(), seen)});
        ++axis;
        ++seen;
      }
    }
  }
  return p;
}

Tensor pick(const Op& op, const Parsed& p) {
  if (p.picked.empty()) return p.view;
  Shape joint = p.picked[0].at.shape();
  for (const Picked& k : p.picked)
    if (!broadcast(joint, k.at.shape(), joint))
      op.fail_shape("index tensors do not broadcast: " + joint.str() + " and " + k.at.shape().str());
  // The picked axes first, as one; the places along it.
  Dims from, to;
  Tensor at = zeros(joint, DType::int64);
  std::int64_t size = 1;
  for (const Picked& k : p.picked) {
    const std::int64_t n = p.view.shape()[k.axis];
    at = at * n + k.at;
    size *= n;
    from.push_back(k.axis);
    to.push_back(to.rank());
  }
  const Tensor moved = movedim(p.view, from, to);
  Shape rows{size}, shape = joint;
  for (int i = from.rank(); i < moved.rank(); ++i) {
    rows.push_back(moved.shape()[i]);
    shape.push_back(moved.shape()[i]);
  }
  Tensor y = reshape(index_select(reshape(moved, rows), 0, reshape(at, {-1})), shape);
  bool adjacent = true;
  for (int i = 1; i < from.rank(); ++i) adjacent &= from[i] == from[i - 1] + 1;
  if (!adjacent || from[0] == 0) return y;
  Dims first, back;
  for (int i = 0; i < joint.rank(); ++i) {
    first.push_back(i);
    back.push_back(from[0] + i);
  }
  return movedim(y, first, back);
}

}  // namespace

Tensor index(const Tensor& x, const Indices& at, Here here) {
  const Op op{"index", here};
  return pick(op, parse(op, x, at));
}

Tensor Tensor::operator[](const AxisIndex& at) const& {
  const Op op{"operator[]", at.here()};
  op.check_defined(*this);
  if (rank() == 0) op.fail_index("a tensor of rank 0 has no axis to index; item() is its value");
  if (at.slice()) {
    const Slice& s = *at.slice();
    return slice(*this, 0, s.start.value_or(0), s.stop.value_or(to_end), s.step);
  }
  if (at.position() < -shape()[0] || at.position() >= shape()[0]) fail_range(op, at.position(), shape(), 0);
  return select(*this, 0, at.position());
}
Tensor Tensor::operator[](const AxisIndex& at) && { return std::as_const(*this)[at]; }
const Tensor Tensor::operator[](const AxisIndex& at) const&& { return (*this)[at]; }
const Tensor Tensor::operator[](const ElementIndex& at) const { return index(*this, {at.tensor()}, at.here()); }

Tensor index_put(const Tensor& x, const Indices& at, const Operand& values, bool accumulate, Here here) {
  const Op op{"index_put", here};
  op.check_defined(x);
  const Tensor places = pick(op, parse(op, reshape(arange(x.numel()), x.shape()), at));
  const auto [into, given] = detail::promote(op, x, values);
  Shape joint;
  if (!broadcast(given.shape(), places.shape(), joint) || joint != places.shape())
    op.fail_shape("values " + given.shape().str() + " do not broadcast to the elements " + places.shape().str() +
                  " of x " + x.shape().str());
  const Tensor source = expand(given, joint);
  if (!accumulate) return detail::put_last(x, places, source);
  return reshape(index_add(reshape(x, {-1}), 0, reshape(places, {-1}), reshape(source, {-1})), x.shape());
}

Tensor masked_select(const Tensor& x, const Tensor& mask, Here here) {
  const Op op{"masked_select", here};
  op.check_defined(x);
  detail::check_bool(op, mask, "the mask");
  const Shape shape = detail::joint_shape(op, x, mask);
  return index_select(reshape(expand(x, shape), {-1}), 0, true_places(expand(mask, shape)));
}

Tensor nonzero(const Tensor& x, Here here) {
  const Op op{"nonzero", here};
  op.check_defined(x);
  const Tensor places = true_places(x.dtype() == DType::boolean ? x : ne(x.detach(), 0));
  Tensor y = empty({places.numel(), x.rank()}, DType::int64);
  auto* out = detail::elements<std::int64_t>(y);
  for (std::int64_t place : places.to_vector<std::int64_t>()) {
    for (int i = x.rank() - 1; i >= 0; --i) {
      out[i] = place % x.shape()[i];
      place /= x.shape()[i];
    }
    out += x.rank();
  }
  return y;
}

}  // namespace attune
