// Attention by any mechanism that Attune has, behind one interface: what a Transformer block takes as an option.
//
// Letters: b batch, t queries, s keys, n length, h heads, d head size.
#pragma once

#include <memory>
#include <string>

#include "nn/module.h"

namespace attune {
class AttentionPattern;
class Op;
struct LocalOptions;
struct LshOptions;
struct LinearAttentionOptions;
}  // namespace attune

namespace attune::nn {

struct PerformerOptions;
struct PerformerState;
struct LinformerOptions;

/// A mechanism with its options, which stands for them wherever one is asked for:
///
///     nn::TransformerEncoder encoder(6, 512, 8, {.mechanism = nn::PerformerOptions{.features = 256}});
///     nn::MultiheadAttention attention(512, 8, {.mechanism = LocalOptions{.chunk = 128}});
///
/// The layer around it says what all mechanisms share: its `causal` and `dropout` count, those of the options do not
/// (but for a causal Linformer, which is refused at once).
class AttentionMechanism {
 public:
  enum class Kind : std::uint8_t { exact, pattern, local, lsh, linear, performer, linformer };

  AttentionMechanism() = default;                             ///< exact attention
  AttentionMechanism(const AttentionPattern& pattern);        ///< exact attention of the pairs that a pattern shows
  AttentionMechanism(const LocalOptions& options);            ///< windows of chunks
  AttentionMechanism(const LshOptions& options);              ///< hashing (Reformer): queries are keys
  AttentionMechanism(const LinearAttentionOptions& options);  ///< elu(x) + 1 (Linear Transformer)
  AttentionMechanism(const PerformerOptions& options);        ///< random features
  AttentionMechanism(const LinformerOptions& options);        ///< keys and values projected along the sequence

  Kind kind() const { return kind_; }
  /// "exact", "pattern", "local", "lsh", "linear", "performer" or "linformer".
  const char* name() const;
  /// Whether one projection makes queries and keys.
  bool shares_keys() const { return kind_ == Kind::lsh; }
  /// Whether it is exact attention of the pairs that it sees, which has scores, masks and weights.
  bool has_scores() const { return kind_ == Kind::exact || kind_ == Kind::pattern; }
  /// Why it cannot be causal, as a part of an error's sentence; empty if it can.
  std::string why_not_causal() const;
  /// The options it was made of, or null if they are of another type.
  const AttentionPattern* pattern() const { return of<AttentionPattern>(Kind::pattern); }
  const LocalOptions* local() const { return of<LocalOptions>(Kind::local); }
  const LshOptions* lsh() const { return of<LshOptions>(Kind::lsh); }
  const LinearAttentionOptions* linear() const { return of<LinearAttentionOptions>(Kind::linear); }
  const PerformerOptions* performer() const { return of<PerformerOptions>(Kind::performer); }
  const LinformerOptions* linformer() const { return of<LinformerOptions>(Kind::linformer); }

 private:
  template <class O>
  const O* of(Kind kind) const {
    return kind_ == kind ? static_cast<const O*>(options_.get()) : nullptr;
  }
  template <class O>
  AttentionMechanism(Kind kind, const O& options) : kind_(kind), options_(std::make_shared<const O>(options)) {}

  Kind kind_ = Kind::exact;
  std::shared_ptr<const void> options_;
};

struct HeadsOptions {
  double dropout = 0;              ///< of the probabilities, while training, where a mechanism has any
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
};

struct HeadsCall {
  bool causal = false;
  Tensor key_padding_mask{};  ///< [b, s] bool: true hides
};

class LinearAttention;
class PerformerAttention;
class LinformerAttention;

/// Attention in heads by a mechanism, between projections that are the caller's.
///
///     nn::HeadsAttention attention(4, 64, LinearAttentionOptions{});
///     Tensor y = attention(q, k, v, {.causal = true});    // all [b, n, 4, 64]
class HeadsAttention : public Module {
 public:
  using Options = AttentionMechanism;
  using LastOptions = HeadsOptions;
  /// Throws ValueError for options of the mechanism that are out of range, and for a causal Linformer.
  HeadsAttention(std::int64_t heads, std::int64_t head_dim, const AttentionMechanism& mechanism = {},
                 const HeadsOptions& options = {}, Here here = Here::current());
  /// q [b, t, h, d], k [b, s, h, d] and v [b, s, h, m] to [b, t, h, m]. Local and LSH attention and what is causal, but
  /// for exact attention (also of a pattern), need t = s; LSH attention's keys are its queries, normalised, and k is
  /// not looked at. Inside a recomputed block (checkpoint, reversible) the buckets of the first run are used again.
  /// Throws ShapeError and DTypeError for what does not fit, ValueError for a causal Linformer.
  Tensor operator()(const Tensor& q, const Tensor& k, const Tensor& v, const HeadsCall& call = {},
                    Here here = Here::current()) const;
  /// The causal outputs [b, n, h, m] of the next n >= 1 tokens, from sums of all earlier ones. Off the tape. Throws
  /// ValueError for mechanisms other than linear attention and Performers, and as their step() does.
  Tensor step(const Tensor& q, const Tensor& k, const Tensor& v, PerformerState& state,
              Here here = Here::current()) const;

  const AttentionMechanism mechanism;

 private:
  /// Throws ShapeError and DTypeError unless these are heads of this module.
  void check(const Op& op, const Tensor& q, const Tensor& k, const Tensor& v) const;
  Tensor windows(const Tensor& q, const Tensor& k, const Tensor& v, const HeadsCall& call) const;
  Tensor buckets(const Tensor& q, const Tensor& v, const HeadsCall& call) const;

  std::int64_t heads_, head_dim_;
  HeadsOptions options_;
  LinearAttention* linear_ = nullptr;
  PerformerAttention* performer_ = nullptr;
  LinformerAttention* linformer_ = nullptr;
};

}  // namespace attune::nn
