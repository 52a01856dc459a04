// Making tensors.
#pragma once

#include <initializer_list>
#include <vector>

#include "autograd/runtime/scalar.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// `value` everywhere, converted as to() converts: an integer stays exact in an integer tensor, a real number is cut
/// towards zero and to the range, NaN becomes 0.
Tensor full(const Shape& shape, const Scalar& value, DType dtype = DType::float32, Here here = Here::current());
Tensor zeros(const Shape& shape, DType dtype = DType::float32, Here here = Here::current());
Tensor ones(const Shape& shape, DType dtype = DType::float32, Here here = Here::current());
Tensor full_like(const Tensor& x, const Scalar& value, Here here = Here::current());
Tensor zeros_like(const Tensor& x, Here here = Here::current());
Tensor ones_like(const Tensor& x, Here here = Here::current());
/// 0, 1, ..., n - 1.
Tensor arange(std::int64_t n, DType dtype = DType::int64, Here here = Here::current());
Tensor eye(std::int64_t n, DType dtype = DType::float32, Here here = Here::current());
/// A rank-0 tensor.
Tensor scalar(const Scalar& value, DType dtype = DType::float32, Here here = Here::current());
/// A tensor with these elements in row-major order, converted to `dtype`. Throws ShapeError if the count is not that
/// of the shape.
Tensor tensor(const std::vector<double>& values, const Shape& shape, DType dtype = DType::float32,
              Here here = Here::current());
/// The same for a rank-1 tensor.
Tensor tensor(std::initializer_list<double> values, DType dtype = DType::float32, Here here = Here::current());
/// int64 indices, rank 1 or of the shape given.
Tensor index_tensor(const std::vector<std::int64_t>& values, Here here = Here::current());
Tensor index_tensor(const std::vector<std::int64_t>& values, const Shape& shape, Here here = Here::current());
/// x converted to `dtype` (x itself if it has it already). Between floating types the gradient is converted back;
/// elsewhere there is none.
Tensor to(const Tensor& x, DType dtype, Here here = Here::current());

}  // namespace attune
