// Losses.
#pragma once

#include "autograd/tensor.h"

namespace attune {

enum class Reduction : std::uint8_t {
  none,
  mean,
  sum,
  batch_mean  ///< the sum over the size of the first axis
};

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;  ///< targets with this value count neither in the loss nor in the mean
  double label_smoothing = 0;        ///< in [0, 1]: that share of the target is spread evenly over all classes
  Reduction reduction = Reduction::mean;
  Tensor weight{};  ///< of the classes, [classes]; a mean over class targets is then divided by the targets' weights
};
/// -log softmax(logits)[target]: logits [..., classes], target [...] int64, or floating [..., classes], the probability
/// of each class. A mean over no targets is 0. Throws IndexError for a target outside [0, classes) that is not ignored.
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {},
                     Here here = Here::current());
/// -x[target] of log-probabilities x [..., classes]: cross_entropy without its softmax, or any other score.
Tensor nll_loss(const Tensor& x, const Tensor& target, const CrossEntropyOptions& options = {},
                Here here = Here::current());
/// (x - y)^2. Throws ShapeError where the shapes differ, as the next ones do.
Tensor mse_loss(const Tensor& x, const Tensor& y, Reduction reduction = Reduction::mean, Here here = Here::current());
/// |x - y|.
Tensor l1_loss(const Tensor& x, const Tensor& y, Reduction reduction = Reduction::mean, Here here = Here::current());
/// (x - y)^2 / 2 where |x - y| < delta, delta (|x - y| - delta / 2) elsewhere (Huber 1964).
Tensor huber_loss(const Tensor& x, const Tensor& y, double delta = 1, Reduction reduction = Reduction::mean,
                  Here here = Here::current());
/// t (log t - x) of log-probabilities x against probabilities t, or against their logarithms.
Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target = false, Reduction reduction = Reduction::mean,
              Here here = Here::current());

struct BinaryCrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  Tensor weight{};           ///< of each element, broadcast to the logits
  Tensor positive_weight{};  ///< of the first term, broadcast to the logits
};
/// -t log s(x) - (1 - t) log s(-x) of finite logits x against targets t in [0, 1], s the sigmoid. Neither overflows nor
/// cancels: value and gradient keep their digits at confident logits.
Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target,
                                        const BinaryCrossEntropyOptions& options = {}, Here here = Here::current());

}  // namespace attune
