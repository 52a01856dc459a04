// Losses. What a weight, a probability or a target of 0 leaves out has no influence, forward or backward, not even if
// it is NaN or infinite; neither has a row that is ignored. A mean over nothing is 0.
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune {

enum class Reduction : std::uint8_t {
  none,
  mean,
  sum,
  batch_mean  ///< the sum over the size of the first axis; 0 if that is 0
};

struct CrossEntropyOptions {
  std::int64_t ignore_index = -100;  ///< targets with this value count neither in the loss nor in the mean
  double label_smoothing = 0;        ///< in [0, 1]: that share of the target is spread evenly over all classes
  Reduction reduction = Reduction::mean;
  Tensor weight{};  ///< of the classes, [classes]; a mean over class targets is then divided by the targets' weights
};
/// -log softmax(logits)[target]: logits [..., classes], target [...] int64, or floating [..., classes], the probability
/// of each class. Throws IndexError for a target outside [0, classes) that is not ignored.
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {},
                     Here here = Here::current());
/// -x[target] of log-probabilities x [..., classes]: cross_entropy without its softmax, or any other score.
Tensor nll_loss(const Tensor& x, const Tensor& target, const CrossEntropyOptions& options = {},
                Here here = Here::current());
/// (x - y)^2. Throws ShapeError if the shapes differ, as the next ones do.
Tensor mse_loss(const Tensor& x, const Tensor& y, Reduction reduction = Reduction::mean, Here here = Here::current());
/// |x - y|.
Tensor l1_loss(const Tensor& x, const Tensor& y, Reduction reduction = Reduction::mean, Here here = Here::current());
/// (x - y)^2 / 2 where |x - y| < delta, delta (|x - y| - delta / 2) elsewhere (Huber 1964).
Tensor huber_loss(const Tensor& x, const Tensor& y, double delta = 1, Reduction reduction = Reduction::mean,
                  Here here = Here::current());
/// The Huber loss over beta: (x - y)^2 / (2 beta) where |x - y| < beta, |x - y| - beta / 2 elsewhere; |x - y| where
/// beta is 0 (Girshick 2015).
Tensor smooth_l1_loss(const Tensor& x, const Tensor& y, double beta = 1, Reduction reduction = Reduction::mean,
                      Here here = Here::current());
/// t (log t - x) of log-probabilities x against probabilities t, or against their logarithms.
Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target = false, Reduction reduction = Reduction::mean,
              Here here = Here::current());

struct BinaryCrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  Tensor weight{};           ///< of each element, broadcast to the logits
  Tensor positive_weight{};  ///< of the first term, broadcast to the logits
};
/// -t log s(x) - (1 - t) log s(-x) of logits x against targets t in [0, 1], s the sigmoid. Neither overflows nor
/// cancels: value and gradient keep their digits at confident logits.
Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target,
                                        const BinaryCrossEntropyOptions& options = {}, Here here = Here::current());
/// -t log x - (1 - t) log(1 - x) of probabilities x, the logarithms at least -100 (and without a gradient there).
/// Throws ValueError for x outside of [0, 1]. weight broadcasts to x or is undefined.
Tensor binary_cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight = {},
                            Reduction reduction = Reduction::mean, Here here = Here::current());

// Targets s of 1 and -1.

/// log(1 + e^(-s x))
Tensor soft_margin_loss(const Tensor& x, const Tensor& sign, Reduction reduction = Reduction::mean,
                        Here here = Here::current());
/// x where s is 1, max(0, margin - x) where it is -1; ValueError for any other.
Tensor hinge_embedding_loss(const Tensor& x, const Tensor& sign, double margin = 1,
                            Reduction reduction = Reduction::mean, Here here = Here::current());
/// max(0, margin - s (a - b))
Tensor margin_ranking_loss(const Tensor& a, const Tensor& b, const Tensor& sign, double margin = 0,
                           Reduction reduction = Reduction::mean, Here here = Here::current());
/// Embeddings a, b [..., d], s [...]: 1 - cos(a, b) where s is 1, max(0, cos(a, b) - margin) where it is -1; ValueError
/// for any other.
Tensor cosine_embedding_loss(const Tensor& a, const Tensor& b, const Tensor& sign, double margin = 0,
                             Reduction reduction = Reduction::mean, Here here = Here::current());

struct TripletMarginOptions {
  double margin = 1;
  double p = 2;  ///< of the distance, vector_norm(a - b + eps, p) over the last axis
  double eps = 1e-6;
  bool swap = false;  ///< take the negative's distance to the positive if that is smaller (Balntas et al. 2016)
  Reduction reduction = Reduction::mean;
};
/// max(0, |anchor - positive| - |anchor - negative| + margin), each [..., d].
Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginOptions& options = {}, Here here = Here::current());

struct PoissonOptions {
  bool log_input = true;  ///< x is the logarithm of the rate
  bool full = false;      ///< with Stirling's approximation of log(t!) for t > 1
  double eps = 1e-8;      ///< added to a rate below the logarithm
  Reduction reduction = Reduction::mean;
};
/// e^x - t x, or x - t log(x + eps) of rates: the negative log-likelihood of counts t.
Tensor poisson_nll_loss(const Tensor& x, const Tensor& target, const PoissonOptions& options = {},
                        Here here = Here::current());

struct GaussianOptions {
  bool full = false;  ///< with the constant log(2 pi) / 2
  double eps = 1e-6;  ///< the least variance
  Reduction reduction = Reduction::mean;
};
/// (log v + (x - t)^2 / v) / 2 with v = max(variance, eps); variance of x's shape, or with a last axis of size 1 or
/// none. Throws ValueError if it is negative.
Tensor gaussian_nll_loss(const Tensor& x, const Tensor& target, const Tensor& variance,
                         const GaussianOptions& options = {}, Here here = Here::current());

}  // namespace attune
