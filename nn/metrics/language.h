// How well a model of language predicts text: the mean loss over all targets of all batches, and what is made of it.
//
//     nn::LanguageLoss loss;
//     for (const auto& [x, y] : batches) loss.add(model(x), y);    // targets beside the logits, -100 is ignored
//     std::cout << loss.perplexity() << ", " << loss.bits_per_byte(text.size());
#pragma once

#include "autograd/tensor/tensor.h"

namespace attune::nn {

/// Cross-entropy in nats over all targets, each weighing the same, however they lie in batches.
class LanguageLoss {
 public:
  /// Logits [..., vocabulary] and their targets [...] int64, of which -100 are ignored; off the tape. Throws as
  /// cross_entropy() does, and then has added nothing.
  void add(const Tensor& logits, const Tensor& targets, Here here = Here::current());
  /// A mean loss over `targets` targets that was computed before: of a model's loss() and target_count(). Throws
  /// ValueError for a negative count.
  void add_mean(double loss, std::int64_t targets, Here here = Here::current());

  std::int64_t count() const { return count_; }  ///< of targets
  double value() const;                          ///< the mean in nats; NaN before there is a target
  double perplexity() const;                     ///< exp(value())
  double bits() const;                           ///< of all targets together: their sum over ln 2
  /// bits() over how many bytes of text the targets stand for, so that models of different tokens compare. Throws
  /// ValueError unless `bytes` is positive.
  double bits_per_byte(std::int64_t bytes, Here here = Here::current()) const;

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

/// exp of the mean cross-entropy of logits [..., vocabulary] and targets [...].
double perplexity(const Tensor& logits, const Tensor& targets, Here here = Here::current());
/// The same loss in bits a byte, for targets that stand for `bytes` bytes of text.
double bits_per_byte(const Tensor& logits, const Tensor& targets, std::int64_t bytes, Here here = Here::current());

}  // namespace attune::nn
