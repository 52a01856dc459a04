// Additive attention (Bahdanau, Cho and Bengio 2015): e_ij = v^T tanh(W s_i + U h_j), weights = softmax_j(e), context =
// sum_j weights_j h_j.
#pragma once

#include "nn/module.h"

namespace attune::nn {

struct AdditiveOptions {
  bool bias = false;     ///< of the comparison: v^T tanh(W s_i + U h_j + bias)
  double std = 0.001;    ///< of W's and U's first values, which are normal
  double score_std = 0;  ///< of v's; 0: zeros
};

struct AdditiveResult {
  Tensor context;  ///< [b, k] or [b, t, k]
  Tensor weights;  ///< [b, n] or [b, t, n]
};

/// What all queries of a sequence share.
struct AdditiveMemory {
  Tensor values;            ///< [b, n, k], zeros where hidden
  Tensor keys;              ///< [b, n, hidden], U times them
  Tensor key_padding_mask;  ///< [b, n] bool, true hides; undefined: nothing is hidden
};

/// Additive attention of queries over keys, which are the values too.
///
///     nn::AdditiveAttention attention(64, 128, 32);
///     auto [context, weights] = attention(state, annotations);    // [b, 64], [b, n, 128] to [b, 128], [b, n]
class AdditiveAttention : public Module {
 public:
  using Options = AdditiveOptions;
  /// Queries (decoder states) of size `query_dim`, keys (annotations) of size `key_dim`, compared in `hidden`
  /// dimensions. As in the paper W and U start from N(0, 0.001^2) and v from zero, so that attention starts out
  /// uniform; a bias, which the paper has not, starts from zeros. Throws ValueError for sizes below 1 and standard
  /// deviations that are negative or not finite.
  AdditiveAttention(std::int64_t query_dim, std::int64_t key_dim, std::int64_t hidden,
                    const AdditiveOptions& options = {}, Here here = Here::current());

  /// U h_j for keys [b, n, k]: computed once for all queries of a sequence.
  Tensor precompute(const Tensor& keys, Here here = Here::current()) const;
  /// query [b, q] or [b, t, q], keys [b, n, k], their precompute() or undefined, and key_padding_mask [b, n] bool
  /// or undefined, true hides. A query that sees nothing gets zero weights and a zero context, with zero gradients.
  /// What hidden keys hold has no influence, not even NaN. Throws ShapeError and DTypeError.
  AdditiveResult operator()(const Tensor& query, const Tensor& keys, const Tensor& precomputed = {},
                            const Tensor& key_padding_mask = {}, Here here = Here::current()) const;

  /// What does not depend on the query, computed once: the call below then does only the rest, which is what a decoder
  /// repeats at each of its steps. keys [b, n, k] and key_padding_mask as above.
  AdditiveMemory memory(const Tensor& keys, const Tensor& key_padding_mask = {}, Here here = Here::current()) const;
  AdditiveResult operator()(const Tensor& query, const AdditiveMemory& memory, Here here = Here::current()) const;

  Parameter& query_weight;  ///< W [hidden, q]
  Parameter& key_weight;    ///< U [hidden, k]
  Parameter& score_weight;  ///< v [hidden]
  Parameter& bias;          ///< [hidden], or undefined

 private:
  AdditiveResult attend(const Tensor& query, const AdditiveMemory& memory) const;
};

}  // namespace attune::nn
