// How often predictions are right: accuracy and F1, over all batches that are added.
//
//     nn::Accuracy right;
//     for (const auto& [x, y] : batches) right.add(model(x), y);
//     std::cout << right.value();
//
// Predictions are class numbers, int64 of the targets' shape, or floating scores with one axis more, [..., classes], of
// which the largest is the prediction (of equal ones the first). Targets of -100 are ignored. Everything is off the
// tape. add() throws ShapeError and DTypeError for what does not fit, and then has added nothing.
#pragma once

#include <map>

#include "autograd/tensor/tensor.h"

namespace attune::nn {

/// The share of targets that are predicted.
class Accuracy {
 public:
  void add(const Tensor& predictions, const Tensor& targets, Here here = Here::current());
  std::int64_t count() const { return count_; }  ///< of targets
  std::int64_t right() const { return right_; }
  double value() const;  ///< right() / count(); NaN before there is a target

 private:
  std::int64_t count_ = 0, right_ = 0;
};
double accuracy(const Tensor& predictions, const Tensor& targets, Here here = Here::current());

enum class Average : std::uint8_t {
  binary,  ///< of one class, the positive one, against all others
  macro,   ///< the mean over all classes that were predicted or are targets
  micro    ///< of the counts of all classes together, which is the accuracy
};

struct F1Options {
  Average average = Average::macro;
  std::int64_t positive = 1;  ///< the class of Average::binary
};

/// F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision TP / (TP + FP) and recall TP / (TP + FN), by true and
/// false positives and false negatives of a class; 0 where a denominator is 0.
class F1 {
 public:
  explicit F1(const F1Options& options = {}) : options_(options) {}
  void add(const Tensor& predictions, const Tensor& targets, Here here = Here::current());
  double value() const;
  double precision() const;
  double recall() const;

 private:
  struct Counts {
    std::int64_t both = 0, predicted = 0, targets = 0;
  };
  template <class F>
  double averaged(F&& of) const;

  F1Options options_;
  std::map<std::int64_t, Counts> classes_;
};
double f1(const Tensor& predictions, const Tensor& targets, const F1Options& options = {}, Here here = Here::current());

}  // namespace attune::nn
