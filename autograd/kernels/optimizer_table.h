// The optimisers' kernels of one instruction set, each for a piece of one tensor on the calling thread; optimizer.h and
// adafactor.h say what they compute.
#pragma once

#include <limits>

#include "autograd/kernels/adafactor.h"
#include "autograd/kernels/optimizer.h"
#include "autograd/kernels/size.h"

namespace attune::kernels {

/// The elements [begin, end) of a tensor.
template <class T>
struct RuleKernels {
  void (*sgd)(const Updated<T>& u, Size begin, Size end, const SgdRule& rule);
  void (*adam)(const Updated<T>& u, Size begin, Size end, const AdamRule& rule);
  void (*adadelta)(const Updated<T>& u, Size begin, Size end, const AdadeltaRule& rule);
  void (*rmsprop)(const Updated<T>& u, Size begin, Size end, const RmspropRule& rule);
  void (*adagrad)(const Updated<T>& u, Size begin, Size end, const AdagradRule& rule);
  bool (*all_finite)(const T* x, Size n);
};

/// A moment that stays finite, so that a gradient whose square does not fit still gives a bounded step; NaN passes.
template <class T>
inline T bounded(double moment) {
  constexpr T most = std::numeric_limits<T>::max();
  return moment > static_cast<double>(most) ? most : static_cast<T>(moment);
}

/// Rows [first, first + count) of a matrix; or of a vector the columns from `column` on, as one row.
template <class T>
struct RowBlock {
  const Factored<T>* f;
  Size matrix, first, count, column, columns;
  double* column_sums;  // [columns], of this block; null for a vector
  double parameter_squares = 0, update_squares = 0;

  Size row(Size r) const { return matrix * f->rows + first + r; }
  Size offset(Size r) const { return row(r) * f->columns + column; }
};

/// What the second and third pass need of a tensor.
template <class T>
struct Scales {
  T* row;                       // [matrices, rows]: sqrt(mean of the rows' factors / factor); null for a vector
  T* column;                    // [matrices, columns]: 1 / sqrt(factor)
  double step = 0, shrink = 1;  // of the update, of the parameter
};

template <class T>
struct AdafactorKernels {
  void (*moments)(RowBlock<T>& b, const AdafactorRule& rule);
  void (*update_squares)(RowBlock<T>& b, const Scales<T>& s);
  void (*update)(const RowBlock<T>& b, const Scales<T>& s, const AdafactorRule& rule);
};

}  // namespace attune::kernels
