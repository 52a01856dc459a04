// Losses.
#pragma once

#include "autograd/tensor.h"

namespace attune {

enum class Reduction : std::uint8_t { none, mean, sum };

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;  ///< targets with this value count neither in the loss nor in the mean
  double label_smoothing = 0;        ///< in [0, 1]: that share of the target is spread evenly over all classes
  Reduction reduction = Reduction::mean;
};
/// -log softmax(logits)[target]: logits [..., classes], target [...] int64. A mean over no targets is 0. Throws
/// IndexError for a target outside [0, classes) that is not ignored.
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {},
                     Here here = Here::current());
/// (x - y)^2. Throws ShapeError where the shapes differ.
Tensor mse_loss(const Tensor& x, const Tensor& y, Reduction reduction = Reduction::mean, Here here = Here::current());
/// -t log s(x) - (1 - t) log s(-x) of finite logits x against targets t in [0, 1], s the sigmoid. Neither overflows nor
/// cancels: value and gradient keep their digits at confident logits.
Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target,
                                        Reduction reduction = Reduction::mean, Here here = Here::current());

}  // namespace attune
