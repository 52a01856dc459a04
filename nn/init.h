// Filling parameters. Fans are those of a weight [out, in, ...]: in and out times the product of the other sizes. Each
// changes a tensor, or a parameter, in place, off the tape, and returns a handle to it. Those that need fans throw
// ShapeError below two axes.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune::nn::init {

Tensor uniform_(const Tensor& w, double low, double high, Generator& g = default_generator());
Tensor normal_(const Tensor& w, double mean, double std, Generator& g = default_generator());
/// Normal, drawn again outside of [low, high]. Throws ValueError if less than a thousandth of the normal lies there.
Tensor trunc_normal_(const Tensor& w, double mean, double std, double low, double high,
                     Generator& g = default_generator());
Tensor constant_(const Tensor& w, double value);
Tensor zeros_(const Tensor& w);
Tensor ones_(const Tensor& w);
/// U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)); normal with std gain sqrt(2 / (fan_in + fan_out)) (Glorot and
/// Bengio 2010).
Tensor xavier_uniform_(const Tensor& w, double gain = 1, Generator& g = default_generator());
Tensor xavier_normal_(const Tensor& w, double gain = 1, Generator& g = default_generator());
/// U(-a, a), a = gain sqrt(3 / fan); normal with std gain / sqrt(fan) (He et al. 2015). `fan` keeps the size of the
/// activations going forward (in) or of the gradients going backward (out).
enum class Fan : std::uint8_t { in, out };
inline constexpr double relu_gain = 1.41421356237309505;
Tensor kaiming_uniform_(const Tensor& w, double gain = relu_gain, Fan fan = Fan::in,
                        Generator& g = default_generator());
Tensor kaiming_normal_(const Tensor& w, double gain = relu_gain, Fan fan = Fan::in, Generator& g = default_generator());
/// The identity, in a matrix that need not be square. Throws ShapeError unless it is one.
Tensor eye_(const Tensor& w);
/// Of a convolution's weight [out, in, ...]: in each group the one that hands channel i on as channel i, its middle
/// element 1. Throws ShapeError unless w has three to five axes, ValueError if `groups` does not divide out.
Tensor dirac_(const Tensor& w, std::int64_t groups = 1);
/// Normal with this standard deviation, but ceil(sparsity out) elements of each column of a matrix [out, in] 0 (Martens
/// 2010). Throws ShapeError unless w is a matrix, ValueError for a sparsity outside [0, 1].
Tensor sparse_(const Tensor& w, double sparsity, double std = 0.01, Generator& g = default_generator());
/// gain times a matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014). w has at least two
/// axes; later ones count as columns.
Tensor orthogonal_(const Tensor& w, double gain = 1, Generator& g = default_generator());

}  // namespace attune::nn::init
