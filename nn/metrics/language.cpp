#include "nn/metrics/language.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn {

void LanguageLoss::add(const Tensor& logits, const Tensor& targets, Here here) {
  const NoGrad off;
  const Tensor each = cross_entropy(logits, targets, {.reduction = Reduction::none}, here);
  sum_ += sum(to(each, DType::float64)).item();  // float32 would lose digits over many batches
  count_ += static_cast<std::int64_t>(sum(to(ne(targets, -100), DType::int64)).item());
}

void LanguageLoss::add_mean(double loss, std::int64_t targets, Here here) {
  if (targets < 0) throw ValueError("LanguageLoss: a count of " + std::to_string(targets) + " targets", here);
  if (targets == 0) return;  // whose mean is nothing
  sum_ += loss * static_cast<double>(targets);
  count_ += targets;
}

double LanguageLoss::value() const {
  return count_ == 0 ? std::numeric_limits<double>::quiet_NaN() : sum_ / static_cast<double>(count_);
}

double LanguageLoss::perplexity() const { return std::exp(value()); }

double LanguageLoss::bits() const { return sum_ / std::numbers::ln2; }

double LanguageLoss::bits_per_byte(std::int64_t bytes, Here here) const {
  if (bytes < 1) throw ValueError("LanguageLoss: bits a byte of " + std::to_string(bytes) + " bytes", here);
  return bits() / static_cast<double>(bytes);
}

double perplexity(const Tensor& logits, const Tensor& targets, Here here) {
  LanguageLoss loss;
  loss.add(logits, targets, here);
  return loss.perplexity();
}

double bits_per_byte(const Tensor& logits, const Tensor& targets, std::int64_t bytes, Here here) {
  LanguageLoss loss;
  loss.add(logits, targets, here);
  return loss.bits_per_byte(bytes, here);
}

}  // namespace attune::nn
