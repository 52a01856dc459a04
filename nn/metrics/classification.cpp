#include "nn/metrics/classification.h"

#include <limits>
#include <vector>

#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn {

namespace {

/// Calls f(prediction, target) for each target that is not ignored.
template <class F>
void for_each_target(const char* metric, const Tensor& predictions, const Tensor& targets, Here here, F&& f) {
  const NoGrad off;
  const std::string name = metric;
  for (const Tensor* x : {&predictions, &targets})
    if (!x->defined()) throw ValueError(name + ": predictions and targets must be defined", here);
  if (targets.dtype() != DType::int64)
    throw DTypeError(name + ": targets must be of int64, got " + name_of(targets.dtype()), here);
  const bool scores = is_floating(predictions.dtype());
  if (!scores && predictions.dtype() != DType::int64)
    throw DTypeError(name + ": predictions must be of int64 or scores, got " + name_of(predictions.dtype()), here);
  bool fits = predictions.rank() == targets.rank() + (scores ? 1 : 0);
  for (int i = 0; fits && i < targets.rank(); ++i) fits = predictions.size(i) == targets.size(i);
  if (!fits || (scores && predictions.size(-1) == 0))
    throw ShapeError(name + ": predictions " + predictions.shape().str() + " do not fit targets " +
                         targets.shape().str() + (scores ? ", which want scores [..., classes]" : ""),
                     here);
  const Tensor chosen = scores ? argmax(predictions.detach(), -1) : predictions;
  const std::int64_t classes = scores ? predictions.size(-1) : 0;
  const std::vector<std::int64_t> p = chosen.to_vector<std::int64_t>(), t = targets.to_vector<std::int64_t>();
  for (const std::int64_t target : t)
    if (scores && target != -100 && (target < 0 || target >= classes))
      throw IndexError(name + ": target " + std::to_string(target) + " is none of " + std::to_string(classes) +
                           " classes; -100 is ignored",
                       here);
  for (std::size_t i = 0; i < t.size(); ++i)
    if (t[i] != -100) f(p[i], t[i]);
}

double ratio(std::int64_t a, std::int64_t b) { return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b); }

}  // namespace

void Accuracy::add(const Tensor& predictions, const Tensor& targets, Here here) {
  for_each_target("accuracy", predictions, targets, here, [&](std::int64_t p, std::int64_t t) {
    ++count_;
    right_ += p == t ? 1 : 0;
  });
}

double Accuracy::value() const {
  return count_ == 0 ? std::numeric_limits<double>::quiet_NaN() : ratio(right_, count_);
}

double accuracy(const Tensor& predictions, const Tensor& targets, Here here) {
  Accuracy a;
  a.add(predictions, targets, here);
  return a.value();
}

void F1::add(const Tensor& predictions, const Tensor& targets, Here here) {
  for_each_target("f1", predictions, targets, here, [&](std::int64_t p, std::int64_t t) {
    ++classes_[p].predicted;
    ++classes_[t].targets;
    if (p == t) ++classes_[t].both;
  });
}

template <class F>
double F1::averaged(F&& of) const {
  if (options_.average == Average::binary) {
    const auto at = classes_.find(options_.positive);
    return at == classes_.end() ? 0 : of(at->second);
  }
  if (options_.average == Average::macro) {
    double sum = 0;
    for (const auto& entry : classes_) sum += of(entry.second);
    return classes_.empty() ? 0 : sum / static_cast<double>(classes_.size());
  }
  Counts all;
  for (const auto& [number, c] : classes_) all.both += c.both, all.predicted += c.predicted, all.targets += c.targets;
  return of(all);
}

double F1::value() const {
  return averaged([](const Counts& c) { return ratio(2 * c.both, c.predicted + c.targets); });
}
double F1::precision() const {
  return averaged([](const Counts& c) { return ratio(c.both, c.predicted); });
}
double F1::recall() const {
  return averaged([](const Counts& c) { return ratio(c.both, c.targets); });
}

double f1(const Tensor& predictions, const Tensor& targets, const F1Options& options, Here here) {
  F1 f(options);
  f.add(predictions, targets, here);
  return f.value();
}

}  // namespace attune::nn
