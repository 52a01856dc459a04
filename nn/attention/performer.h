// Performers (Choromanski et al. 2021): attention's softmax through positive orthogonal random features (FAVOR+), in
// time and memory linear in the length.
//
// Letters: b batch, t queries, s keys, n length, h heads, d head size, f features, m value size.
#pragma once

#include "autograd/runtime/activation.h"
#include "nn/attention/linear.h"

namespace attune::nn {

enum class PerformerKernel : std::uint8_t {
  softmax,     ///< exp(w x - |x|^2 / 2): an unbiased estimate of softmax attention
  generalized  ///< activation(w x) + epsilon, as a kernel of its own
};

/// The lengths of orthogonal random features, whose directions are rows of random orthogonal matrices.
enum class FeatureNorms : std::uint8_t {
  gaussian,  ///< those of Gaussian vectors, drawn one by one
  sqrt_dim   ///< sqrt(d)
};

struct PerformerOptions {
  std::int64_t features = 0;  ///< f; 0: d ln d, rounded down, at least 1
  PerformerKernel kernel = PerformerKernel::softmax;
  Activation activation = Activation::relu;  ///< of the generalised kernel
  FeatureNorms norms = FeatureNorms::gaussian;
  bool causal = false;
  double softmax_epsilon = 1e-4;      ///< added to each stabilised exponential; better 0 where steps are to decode
  double generalized_epsilon = 1e-3;  ///< added to each feature of the generalised kernel
  /// Added to each feature of the sum of keys in the denominator of causal attention.
  double causal_epsilon = 0;
  /// A hidden key has a value of 0 but keeps its share of the denominator, and of the maximum over keys.
  bool mask_values_only = false;

  /// lucidrains' performer-pytorch: its mask hides values alone, and causal_epsilon is 1e-6.
  static PerformerOptions lucidrains();
};

/// What causal FAVOR+ keeps of all tokens so far, of one size. Undefined before the first step.
struct PerformerState {
  LinearAttentionState sums;  ///< of the keys' features, relative to `largest`, without what epsilon adds
  Tensor largest;             ///< [b, 1, h, 1]: the largest w k of all keys, with the softmax kernel
  Tensor values;              ///< [b, h, m]: the sum of values, which epsilon weighs
  std::int64_t length = 0;    ///< tokens so far
  /// Row i becomes what row rows[i] was: rows [b'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());
};

/// FAVOR+ between projections. The features of x / d^(1/4) with the softmax kernel are (exp(w x - |x|^2 / 2 - c) +
/// epsilon) / sqrt(f), where c keeps the exponentials below 1 and is a constant of the derivative: for each query its
/// largest w x, for keys the largest of all positions and features of a head, later ones among them, as published. So
/// the gradients of causal outputs for later keys are exactly 0, but c tells their values of them: it sets the weight
/// of softmax_epsilon and causal_epsilon beside the exponentials, which is not little. Where both are 0, c is the
/// largest exponent w x - |x|^2 / 2 instead and cancels in the quotient, up to underflow: keys whose exponents lie some
/// 87 (float64: 708) below a later key's vanish, an output that sees no others is 0, and a later NaN makes it NaN.
///
///     nn::PerformerAttention attention(64, {.features = 256, .causal = true});
///     Tensor y = attention(q, k, v);      // [b, n, h, 64], [b, n, h, 64], [b, n, h, m] to [b, n, h, m]
///     attention.redraw();                 // now and then, while training
class PerformerAttention : public Module {
 public:
  using Options = PerformerOptions;
  /// Throws ValueError for options out of range.
  explicit PerformerAttention(std::int64_t head_dim, const PerformerOptions& options = {}, Here here = Here::current());
  /// q [b, t, h, d], k [b, s, h, d], v [b, s, h, m], key_padding_mask [b, s] bool, true hides; [b, t, h, m].
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& key_padding_mask = {},
                    Here here = Here::current()) const;
  /// The causal outputs [b, n, h, m] of the next n >= 1 tokens, which the state then has. Those of the last one are
  /// those of the full pass over all tokens so far, up to rounding. Off the tape. Throws ValueError unless attention is
  /// causal, ShapeError if the state is of others.
  Tensor step(const Tensor& q, const Tensor& k, const Tensor& v, PerformerState& state,
              Here here = Here::current()) const;
  /// Draws new features. Not between a forward and its backward pass.
  void redraw(Generator& g = default_generator());

  PerformerOptions options;
  Buffer& projection_matrix;  ///< [f, d], saved with the parameters

 private:
  friend class HeadsAttention;
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const PerformerOptions& given,
                const Tensor& key_padding_mask, Here here) const;
  Tensor query_features(const Tensor& q, const PerformerOptions& o) const;
  Tensor key_features(const Tensor& k, const PerformerOptions& o, const Tensor& hidden) const;
  Tensor directions(const Tensor& x) const;
};

/// Draws new features in every PerformerAttention of a module, as training does every thousand steps or so. Returns
/// how many there are.
std::int64_t redraw_features(Module& module, Generator& g = default_generator());

/// f orthogonal random features [f, d]: blocks of d rows of a random orthogonal matrix, with the given norms. Throws
/// ValueError for sizes below 1, and MemoryError before it draws if there is no room for them.
Tensor orthogonal_features(std::int64_t f, std::int64_t d, FeatureNorms norms = FeatureNorms::gaussian,
                           DType dtype = DType::float32, Generator& g = default_generator(),
                           Here here = Here::current());

}  // namespace attune::nn
