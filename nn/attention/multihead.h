// Multi-head query-key-value attention (Vaswani et al. 2017). Parameters carry PyTorch's names.
#pragma once

#include "autograd/ops/attention/attention.h"
#include "nn/attention/cache.h"
#include "nn/attention/mechanism.h"
#include "nn/layers/linear.h"

namespace attune::nn {

struct MultiheadOptions {
  bool bias = true;
  double dropout = 0;              ///< of the probabilities, while training
  std::int64_t key_dim = 0;        ///< of the keys' input; 0: d_model
  std::int64_t value_dim = 0;      ///< of the values' input; 0: d_model
  std::int64_t key_heads = 0;      ///< heads of keys and values, each shared by heads / key_heads queries; 0: heads
  bool bias_kv = false;            ///< one learned key and value more, after the given ones, which no mask hides
  bool zero_attention = false;     ///< a key and value of zeros more, at the very end, which no mask hides
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
  /// What is done between the projections. All but exact attention and its patterns give every query head keys and
  /// values of its own and take neither extra keys nor attention masks, biases or weights; linear attention and
  /// Performers have no probabilities for the dropout.
  AttentionMechanism mechanism{};
};

struct MultiheadCall {
  bool causal = false;
  Tensor key_padding_mask{};  ///< [b, s] bool: true hides
  /// bool, true hides: [t, s] for all, [b, t, s] one an example (1 for b: for all), or four axes that broadcast to
  /// [b, h, t, s]. One a head is [1, h, t, s]: three axes are never read as heads.
  Tensor attention_mask{};
  Tensor attention_bias{};  ///< floating, added to the scores, of such a shape; -inf hides
  /// Which keys a query sees at all; tiles that nobody sees cost nothing. With bias_kv or zero_attention it is taken as
  /// a matrix.
  AttentionPattern pattern{};
  bool need_weights = false;
  bool average_weights = true;  ///< over the heads
};

/// Multi-head attention as a layer.
///
///     auto& attention = child<nn::MultiheadAttention>("attention", 64, 4);
///     Tensor y = attention(x, {.causal = true}).output;                              // x [b, t, 64]
///     Tensor z = attention(x, memory, memory, {.key_padding_mask = padding}).output; // padding [b, s]: true hides
class MultiheadAttention : public Module {
 public:
  using Options = MultiheadOptions;
  /// Throws ValueError unless heads divides d_model, key_heads heads, and the options are in range. in_proj_weight
  /// [3 d, d] (rows of queries, keys, values) is Glorot-uniform, biases are zero; if key_dim or value_dim differs from
  /// d_model there are q_proj_weight, k_proj_weight and v_proj_weight instead. bias_k and bias_v [1, 1, d] are
  /// Glorot-normal. With key_heads (grouped queries, Ainslie et al. 2023) keys and values have d key_heads / heads rows
  /// instead of d. LSH attention has no rows of keys, in_proj_weight [2 d, d], since queries are keys; what a mechanism
  /// has of its own stands below "mechanism".
  MultiheadAttention(std::int64_t d_model, std::int64_t heads, const MultiheadOptions& options = {},
                     Here here = Here::current());

  /// Self-attention of x [b, t, d_model].
  AttentionResult operator()(const Tensor& x, const MultiheadCall& call = {}, Here here = Here::current()) const;
  /// query [b, t, d_model], key [b, s, key_dim], value [b, s, value_dim]. Output [b, t, d_model]; weights [b, t, s], or
  /// [b, h, t, s] if not averaged; s includes the keys of bias_kv and zero_attention.
  AttentionResult operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                             const MultiheadCall& call = {}, Here here = Here::current()) const;

  /// Keys of `key` [b, n, key_dim] and values of `value` [b, n, value_dim], behind those in the cache. Off the tape.
  /// Throws ValueError with bias_kv or zero_attention: what they add stands behind the last key, which a cache has not;
  /// and with mechanisms other than exact attention.
  void append(const Tensor& key, const Tensor& value, KeyValueCache& cache, Here here = Here::current()) const;
  /// What the next queries [b, t, d_model] see in a cache that append() filled: [b, t, d_model]. Off the tape.
  Tensor step(const Tensor& query, const KeyValueCache& cache, const CachedAttentionOptions& options,
              Here here = Here::current()) const;
  /// Self-attention of the next n >= 1 tokens x [b, n, d_model], causal; the cache then has them: [b, n, d_model], that
  /// of the full pass over all tokens so far, up to rounding (of a Performer with an epsilon, for the last token).
  /// Linear attention and Performers keep sums, so that time and memory do not grow. A pattern that is made for some
  /// number of tokens shows the first of them. Off the tape, without dropout. Throws ValueError with bias_kv or
  /// zero_attention, for LSH attention, whose buckets need a cache of their own (LshSelfAttention::step), for
  /// Linformers and for local attention that may see round a ring's ends; ShapeError for what does not fit and more
  /// tokens than the pattern's. The cache is then as it was.
  Tensor extend(const Tensor& x, KeyValueCache& cache, Here here = Here::current()) const;

 private:
  /// Of queries, keys or values (part 0, 1, 2).
  Tensor project(const Tensor& x, int part) const;
  /// Of all three.
  Tensors project(const Tensors& inputs) const;
  AttentionResult attend(const Tensors& inputs, const MultiheadCall& call, Here here) const;
  void check_cached(Here here) const;
  void check_extra_keys(Here here) const;
  Tensor by_mechanism(const Tensors& qkv, const MultiheadCall& call, Here here) const;

  std::int64_t d_, heads_, key_heads_, key_size_;  // key_size_: of all key heads together
  bool shares_keys_;                               // queries are keys
  double dropout_;
  bool zero_attention_;
  Generator* generator_;
  bool joint_;  // one in_proj_weight
  Parameter *in_ = nullptr, *q_ = nullptr, *k_ = nullptr, *v_ = nullptr, *bias_ = nullptr, *bias_k_ = nullptr,
            *bias_v_ = nullptr;
  Linear& out_;
  AttentionPattern pattern_;
  HeadsAttention* mechanism_ = nullptr;  // null: exact, of what the pattern shows
};

/// Attention in `heads` heads at once: q [b, t, h d], k [b, s, h d], v [b, s, h d'] to the output [b, t, h d'] and, if
/// they are needed, the weights [b, h, t, s]. A mask or bias of three axes is [b, t, s]. With
/// grouped_heads k and v have fewer heads, k [b, s, g d] and v [b, s, g d']. Throws as scaled_dot_product_attention
/// does.
AttentionResult multihead_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads,
                                    const AttentionOptions& options = {}, bool need_weights = false,
                                    Here here = Here::current());

}  // namespace attune::nn
