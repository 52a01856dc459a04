// Transformer encoder and decoder blocks (Vaswani et al. 2017), post-norm or pre-norm. Parameters carry PyTorch's
// names.
#pragma once

#include <optional>

#include "nn/attention/multihead.h"

namespace attune::nn {

class Dropout;
class LayerNorm;
template <class M>
class ModuleList;

struct TransformerOptions {
  std::int64_t d_ff = 2048;
  double dropout = 0.1;
  Activation activation = Activation::relu;
  bool pre_norm = false;
  double eps = 1e-5;
  std::int64_t ff_chunks = 1;        ///< pieces along the sequence for the feed-forward part; the result is the same
  std::optional<bool> final_norm{};  ///< a norm after a stack's last layer; default: if pre_norm
  Generator* generator = nullptr;    ///< of the dropout; null: the default one
  AttentionMechanism mechanism{};    ///< of self-attention; that over an encoder's output is exact
};

/// Self-attention and feed-forward, each followed by dropout, with a residual connection and a layer norm.
class TransformerEncoderLayer : public Module {
 public:
  using Options = TransformerOptions;
  TransformerEncoderLayer(std::int64_t d_model, std::int64_t heads, const TransformerOptions& options = {},
                          Here here = Here::current());
  /// x [b, t, d_model]; `call` has the masks.
  Tensor operator()(const Tensor& x, const MultiheadCall& call = {}, Here here = Here::current()) const;

 private:
  TransformerOptions options_;
  MultiheadAttention& self_attn_;
  Linear &linear1_, &linear2_;
  LayerNorm &norm1_, &norm2_;
  Dropout& dropout_;
};

/// The same with cross-attention to an encoder's output between the two. Throws ValueError for a Linformer, which
/// cannot be causal.
class TransformerDecoderLayer : public Module {
 public:
  using Options = TransformerOptions;
  TransformerDecoderLayer(std::int64_t d_model, std::int64_t heads, const TransformerOptions& options = {},
                          Here here = Here::current());
  /// x [b, t, d_model], memory [b, s, d_model]; `self` is causal unless told otherwise.
  Tensor operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self = {.causal = true},
                    const MultiheadCall& cross = {}, Here here = Here::current()) const;
  /// The same with the weights [b, heads, t, s] of the cross-attention.
  AttentionResult with_weights(const Tensor& x, const Tensor& memory, const MultiheadCall& self = {.causal = true},
                               const MultiheadCall& cross = {}, Here here = Here::current()) const;
  /// What cross-attention sees of memory [b, s, d_model], once and for all steps.
  void read(const Tensor& memory, KeyValueCache& source, Here here = Here::current()) const;
  /// The next tokens x [b, n, d_model], causal, of a sequence whose caches these are; `own` then includes them.
  /// source_padding [b, s] bool: true hides. Off the tape. Throws as MultiheadAttention::extend() and step() do;
  /// `own` is then as it was.
  Tensor step(const Tensor& x, KeyValueCache& own, const KeyValueCache& source, const Tensor& source_padding = {},
              Here here = Here::current()) const;

 private:
  /// The formula of all: x and the two attentions of it.
  template <class Self, class Cross>
  Tensor through(const Tensor& x, const Self& self, const Cross& cross) const;

  TransformerOptions options_;
  MultiheadAttention &self_attn_, &multihead_attn_;
  Linear &linear1_, &linear2_;
  LayerNorm &norm1_, &norm2_, &norm3_;
  Dropout& dropout_;
};

/// `layers` encoder layers, then the final norm. Throws ValueError for a negative number of layers.
///
///     nn::TransformerEncoder encoder(6, 512, 8, {.d_ff = 2048, .pre_norm = true});
///     const Tensor padding = tokens == 0;                             // [b, t] bool: true hides
///     Tensor y = encoder(embedded, {.key_padding_mask = padding});    // embedded, y: [b, t, 512]
class TransformerEncoder : public Module {
 public:
  using Options = TransformerOptions;
  TransformerEncoder(std::int64_t layers, std::int64_t d_model, std::int64_t heads,
                     const TransformerOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, const MultiheadCall& call = {}, Here here = Here::current()) const;

 private:
  ModuleList<TransformerEncoderLayer>& layers_;
  LayerNorm* norm_ = nullptr;
};

/// The same of decoder layers, also in what it refuses.
///
///     nn::TransformerDecoder decoder(6, 512, 8);
///     Tensor z = decoder(shifted, y, {.causal = true}, {.key_padding_mask = padding});
class TransformerDecoder : public Module {
 public:
  using Options = TransformerOptions;
  TransformerDecoder(std::int64_t layers, std::int64_t d_model, std::int64_t heads,
                     const TransformerOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, const Tensor& memory, const MultiheadCall& self = {.causal = true},
                    const MultiheadCall& cross = {}, Here here = Here::current()) const;
  /// The weights [b, heads, t, s] of each layer's cross-attention, the lowest first.
  Tensors cross_weights(const Tensor& x, const Tensor& memory, const MultiheadCall& self = {.causal = true},
                        const MultiheadCall& cross = {}, Here here = Here::current()) const;
  /// What each layer's cross-attention sees of memory [b, s, d_model].
  std::vector<KeyValueCache> read(const Tensor& memory, Here here = Here::current()) const;
  /// The next tokens x [b, n, d_model], by caches of `own` tokens (empty ones before the first) and of the `source`,
  /// one a layer. Off the tape. Throws as a layer's step() does; `own` is then as it was.
  Tensor step(const Tensor& x, std::vector<KeyValueCache>& own, const std::vector<KeyValueCache>& source,
              const Tensor& source_padding = {}, Here here = Here::current()) const;

 private:
  ModuleList<TransformerDecoderLayer>& layers_;
  LayerNorm* norm_ = nullptr;
};

}  // namespace attune::nn
