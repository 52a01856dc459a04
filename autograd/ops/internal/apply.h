// Running elementwise kernels on tensors: dtype dispatch, scalars, broadcasting. Internal to ops/.
#pragma once

#include <utility>

#include "autograd/kernels/elementwise.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/operand.h"
#include "autograd/runtime/dispatch.h"
#include "autograd/tape/op.h"

namespace attune::detail {

/// Throws DTypeError, naming the argument, unless x is bool.
void check_bool(const Op& op, const Tensor& x, const char* argument);
/// Throws DTypeError if x's dtype cannot hold the number.
void check_fits(const Op& op, const Scalar& s, const Tensor& x);
/// Both operands as tensors of one dtype, for `const auto [a, b] = promote(op, x, y)`. Tensors are looked at where they
/// are, since a further owner costs as much as a small operation's arithmetic: they must outlive this.
class Promoted {
 public:
  Promoted(const Op& op, const Operand& a, const Operand& b);
  Promoted(const Promoted&) = delete;
  Promoted& operator=(const Promoted&) = delete;
  template <std::size_t I>
  const Tensor& get() const {
    return I == 0 ? *a_ : *b_;
  }

 private:
  Tensor made_a_, made_b_;  // of scalars
  const Tensor* a_;
  const Tensor* b_;
};
/// A scalar takes the other side's dtype. Throws DTypeError.
inline Promoted promote(const Op& op, const Operand& a, const Operand& b) { return {op, a, b}; }

/// An axis of x, counted from the end if it is negative; a rank-0 tensor is a row of one. Throws IndexError.
int row_axis(const Op& op, const Tensor& x, std::int64_t axis);

/// The joint shape of two tensors. Throws ShapeError.
Shape joint_shape(const Op& op, const Tensor& a, const Tensor& b);

/// Fills y, which may be a view, with x's elements; one shape and dtype.
void copy_into(const Tensor& y, const Tensor& x);

Tensor unary(const Op& op, kernels::Unary f, const Tensor& x);
/// Floating operands only, unless `integers`.
Tensor binary(const Op& op, kernels::Binary f, const Tensor& a, const Tensor& b, bool integers = false);

}  // namespace attune::detail

template <>
struct std::tuple_size<attune::detail::Promoted> : std::integral_constant<std::size_t, 2> {};
template <std::size_t I>
struct std::tuple_element<I, attune::detail::Promoted> {
  using type = const attune::Tensor&;
};
