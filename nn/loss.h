// Losses as modules: the functions of autograd/ops/loss.h with fixed options, under the names that training scripts
// know. What is wrong with an option is refused at the first call.
#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "autograd/ops/loss.h"
#include "nn/module.h"

namespace attune::nn {

/// cross_entropy() with fixed options: label smoothing, the ignored target, the reduction. Throws ValueError for a
/// label smoothing outside [0, 1].
class CrossEntropyLoss : public Module {
 public:
  using Options = CrossEntropyOptions;
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {}, Here here = Here::current());
  /// logits [..., classes], target [...] int64.
  Tensor operator()(const Tensor& logits, const Tensor& target, Here here = Here::current()) const;

 private:
  CrossEntropyOptions options_;
};

/// A loss function of two or three tensors with its other arguments fixed.
template <auto F, class... Fixed>
class FixedLoss : public Module {
 public:
  using Options = std::tuple_element_t<0, std::tuple<Fixed...>>;
  Tensor operator()(const Tensor& x, const Tensor& target, Here here = Here::current())
      const requires std::is_invocable_v<decltype(F), const Tensor&, const Tensor&, const Fixed&..., Here> {
    return call(here, x, target);
  }
  Tensor operator()(const Tensor& a, const Tensor& b, const Tensor& c, Here here = Here::current()) const requires
      std::is_invocable_v<decltype(F), const Tensor&, const Tensor&, const Tensor&, const Fixed&..., Here> {
    return call(here, a, b, c);
  }

 protected:
  /// `name` is a literal.
  explicit FixedLoss(const char* name, const Fixed&... fixed) : name_(name), fixed_(fixed...) {}

 private:
  template <class... T>
  Tensor call(Here here, const T&... xs) const {
    const Scope scope(*this, name_, here);
    const Tensors in = scope.in(Tensors{xs...});
    return scope.out([&]<std::size_t... i>(std::index_sequence<i...>) {
      return std::apply([&](const auto&... fixed) { return F(in[i]..., fixed..., Here{}); }, fixed_);
    }(std::index_sequence_for<T...>{}));
  }
  const char* name_;
  std::tuple<Fixed...> fixed_;
};

/// nll_loss() as a module: log-probabilities [..., classes] and targets [...] int64.
struct NLLLoss : FixedLoss<nll_loss, CrossEntropyOptions> {
  explicit NLLLoss(const CrossEntropyOptions& o = {}) : FixedLoss("NLLLoss", o) {}
};
/// mse_loss() as a module.
struct MSELoss : FixedLoss<mse_loss, Reduction> {
  explicit MSELoss(Reduction r = Reduction::mean) : FixedLoss("MSELoss", r) {}
};
/// l1_loss() as a module.
struct L1Loss : FixedLoss<l1_loss, Reduction> {
  explicit L1Loss(Reduction r = Reduction::mean) : FixedLoss("L1Loss", r) {}
};
/// smooth_l1_loss() as a module.
struct SmoothL1Loss : FixedLoss<smooth_l1_loss, double, Reduction> {
  explicit SmoothL1Loss(double beta = 1, Reduction r = Reduction::mean) : FixedLoss("SmoothL1Loss", beta, r) {}
};
/// huber_loss() as a module.
struct HuberLoss : FixedLoss<huber_loss, double, Reduction> {
  explicit HuberLoss(double delta = 1, Reduction r = Reduction::mean) : FixedLoss("HuberLoss", delta, r) {}
};
/// kl_div() as a module.
struct KLDivLoss : FixedLoss<kl_div, bool, Reduction> {
  explicit KLDivLoss(bool log_target = false, Reduction r = Reduction::mean) : FixedLoss("KLDivLoss", log_target, r) {}
};
/// binary_cross_entropy() as a module.
struct BCELoss : FixedLoss<binary_cross_entropy, Tensor, Reduction> {
  explicit BCELoss(const Tensor& weight = {}, Reduction r = Reduction::mean) : FixedLoss("BCELoss", weight, r) {}
};
/// binary_cross_entropy_with_logits() as a module.
struct BCEWithLogitsLoss : FixedLoss<binary_cross_entropy_with_logits, BinaryCrossEntropyOptions> {
  explicit BCEWithLogitsLoss(const BinaryCrossEntropyOptions& o = {}) : FixedLoss("BCEWithLogitsLoss", o) {}
};
/// soft_margin_loss() as a module.
struct SoftMarginLoss : FixedLoss<soft_margin_loss, Reduction> {
  explicit SoftMarginLoss(Reduction r = Reduction::mean) : FixedLoss("SoftMarginLoss", r) {}
};
/// hinge_embedding_loss() as a module.
struct HingeEmbeddingLoss : FixedLoss<hinge_embedding_loss, double, Reduction> {
  explicit HingeEmbeddingLoss(double margin = 1, Reduction r = Reduction::mean)
      : FixedLoss("HingeEmbeddingLoss", margin, r) {}
};
/// margin_ranking_loss() as a module.
struct MarginRankingLoss : FixedLoss<margin_ranking_loss, double, Reduction> {
  explicit MarginRankingLoss(double margin = 0, Reduction r = Reduction::mean)
      : FixedLoss("MarginRankingLoss", margin, r) {}
};
/// cosine_embedding_loss() as a module.
struct CosineEmbeddingLoss : FixedLoss<cosine_embedding_loss, double, Reduction> {
  explicit CosineEmbeddingLoss(double margin = 0, Reduction r = Reduction::mean)
      : FixedLoss("CosineEmbeddingLoss", margin, r) {}
};
/// triplet_margin_loss() as a module.
struct TripletMarginLoss : FixedLoss<triplet_margin_loss, TripletMarginOptions> {
  explicit TripletMarginLoss(const TripletMarginOptions& o = {}) : FixedLoss("TripletMarginLoss", o) {}
};
/// poisson_nll_loss() as a module.
struct PoissonNLLLoss : FixedLoss<poisson_nll_loss, PoissonOptions> {
  explicit PoissonNLLLoss(const PoissonOptions& o = {}) : FixedLoss("PoissonNLLLoss", o) {}
};
/// gaussian_nll_loss() as a module.
struct GaussianNLLLoss : FixedLoss<gaussian_nll_loss, GaussianOptions> {
  explicit GaussianNLLLoss(const GaussianOptions& o = {}) : FixedLoss("GaussianNLLLoss", o) {}
};

}  // namespace attune::nn
