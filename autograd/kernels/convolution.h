// One-dimensional convolution (cross-correlation, as layers have it) as matrix products over windows. T is float or
// double; everything is dense and row-major.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

struct Convolution {
  Size batch = 0, in = 0, length = 0;  // x [batch, in, length]
  Size out = 0, kernel = 1;            // w [out, in / groups, kernel]
  Size out_length = 0;                 // y [batch, out, out_length]
  Size stride = 1, dilation = 1, groups = 1;
  Size before = 0;  // zeros before x's first element; those after it follow from out_length
};

/// y = conv(x, w) + bias; bias [out] or null.
template <class T>
void convolution(const Convolution& c, const T* x, const T* w, const T* bias, T* y);
/// dx of <conv(x, w), dy>
template <class T>
void convolution_input_grad(const Convolution& c, const T* dy, const T* w, T* dx);
/// dw of it
template <class T>
void convolution_weight_grad(const Convolution& c, const T* x, const T* dy, T* dw);

}  // namespace attune::kernels
