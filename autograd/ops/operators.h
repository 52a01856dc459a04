// Operators beyond arithmetic (elementwise.h): comparisons, logic of masks, and changes in place.
//
//     const Tensor mask = (x > 0) & !(y == 3);   // bool, off the tape
//     total += loss.detach();                    // changes total's elements, for every handle and view of them
//
// A comparison is a tensor: all(x == y) and any(x > 0) make a C++ bool of it, and `if (x == y)` does not compile.
#pragma once

#include "autograd/ops/operand.h"

namespace attune {

// As eq, ne, lt, le, gt and ge: elementwise, broadcast, a scalar in the other side's dtype.
Tensor operator==(const Operand& a, const Operand& b);
Tensor operator!=(const Operand& a, const Operand& b);
Tensor operator<(const Operand& a, const Operand& b);
Tensor operator<=(const Operand& a, const Operand& b);
Tensor operator>(const Operand& a, const Operand& b);
Tensor operator>=(const Operand& a, const Operand& b);

// Of bool tensors, elementwise; DTypeError for others. There is no && and no ||, which could not broadcast.
Tensor operator!(const Operand& a);
Tensor operator&(const Operand& a, const Operand& b);
Tensor operator|(const Operand& a, const Operand& b);
Tensor operator^(const Operand& a, const Operand& b);  ///< exclusive or

// In place, as add_ and mul_ (inplace.h): y broadcasts to x and has its dtype or is a scalar. No change in place is on
// the tape, so these throw GradError if a gradient would be lost: for a leaf that requires a gradient and for a y that
// requires one outside of NoGrad, and for a view of a recorded tensor. Where a gradient shall flow, `x = x + y` is
// recorded; a handle to a recorded result takes `x += y` to mean just that: it holds the new result, other handles the
// old one. The second forms are for views: `x[0] += 1`.
Tensor& operator+=(Tensor& x, const Operand& y);
Tensor& operator-=(Tensor& x, const Operand& y);
Tensor& operator*=(Tensor& x, const Operand& y);
Tensor& operator/=(Tensor& x, const Operand& y);
Tensor& operator&=(Tensor& x, const Operand& y);
Tensor& operator|=(Tensor& x, const Operand& y);
Tensor operator+=(Tensor&& x, const Operand& y);
Tensor operator-=(Tensor&& x, const Operand& y);
Tensor operator*=(Tensor&& x, const Operand& y);
Tensor operator/=(Tensor&& x, const Operand& y);
Tensor operator&=(Tensor&& x, const Operand& y);
Tensor operator|=(Tensor&& x, const Operand& y);

}  // namespace attune
