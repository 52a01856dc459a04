// Random tensors, drawn from a Generator (the default one unless given): the same bits at any thread count.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

Tensor randn(const Shape& shape, DType dtype = DType::float32, Generator& g = default_generator(),
             Here here = Here::current());
/// In [0, 1).
Tensor rand(const Shape& shape, DType dtype = DType::float32, Generator& g = default_generator(),
            Here here = Here::current());
/// In [low, high).
Tensor randint(std::int64_t low, std::int64_t high, const Shape& shape, Generator& g = default_generator(),
               Here here = Here::current());
Tensor randperm(std::int64_t n, Generator& g = default_generator(), Here here = Here::current());
/// Zeroes each element with probability p and scales the others by 1 / (1 - p). p in [0, 1]; p = 1 gives zeros. Nothing
/// is saved: the mask is drawn again.
Tensor dropout(const Tensor& x, double p, Generator& g = default_generator(), Here here = Here::current());
/// The same with a key drawn before.
Tensor dropout_at(const Tensor& x, double p, RandomKey key, Here here = Here::current());

}  // namespace attune
