// What decoding drives: something that takes tokens and says how the text may go on.
//
// A model decodes if it has
//
//     using State = ...;                                          // keys and values, hidden states, ...
//     State start(const Tensor& key_padding_mask = {}) const;     // before the first token; or start() alone
//     Tensor step(const Tensor& tokens, State&, Here) const;      // logits [b, V] after the next n >= 1 tokens [b, n]
//
// and its State `void reorder(const Tensor& rows)`, which makes row i of what row rows[i] was, and
// `void reserve(std::int64_t tokens)`, room in advance. An encoder and decoder has start(source, key_padding_mask)
// and config.start_token. Gpt2 and T5 are such models; whatever else there is becomes a Decoder by hand.
#pragma once

#include <concepts>
#include <functional>
#include <limits>
#include <type_traits>
#include <utility>

#include "autograd/tensor/tensor.h"

namespace attune::nn {

/// A decoding under way: a batch of rows, each with the tokens that it was given.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// The logits [b, V] of the token after the next n >= 1 tokens [b, n] int64.
  virtual Tensor step(const Tensor& tokens) = 0;
  /// Row i becomes what row rows[i] was: rows [b'] int64.
  virtual void reorder(const Tensor& rows) = 0;
  /// Room for `tokens` in all.
  virtual void reserve(std::int64_t /*tokens*/) {}
  /// The longest sequence that it can go on to.
  virtual std::int64_t most_tokens() const { return std::numeric_limits<std::int64_t>::max(); }
};

/// A model with a state, as above.
template <class M>
concept DecoderModel = requires(const M& m, typename M::State& s, const Tensor& t) {
  { m.step(t, s) } -> std::convertible_to<Tensor>;
  s.reorder(t);
  s.reserve(std::int64_t{1});
};
/// One whose decoder starts from a source that its encoder reads.
template <class M>
concept EncoderDecoderModel = DecoderModel<M> && requires(const M& m, const Tensor& t) {
  { m.start(t, t) } -> std::convertible_to<typename M::State>;
  { m.config.start_token } -> std::convertible_to<std::int64_t>;
};

/// A model and its state: each step reads only the new tokens. The model must outlive it.
///
///     nn::CachedDecoder decoder(gpt2, gpt2.start());
///     Tensor logits = decoder.step(prompt);     // [b, n] to [b, V]
///     logits = decoder.step(next);              // [b, 1]
template <DecoderModel M>
class CachedDecoder : public Decoder {
 public:
  CachedDecoder(const M& model, typename M::State state) : model_(model), state_(std::move(state)) {}
  Tensor step(const Tensor& tokens) override { return model_.step(tokens, state_); }
  void reorder(const Tensor& rows) override { state_.reorder(rows); }
  void reserve(std::int64_t tokens) override { state_.reserve(tokens); }
  std::int64_t most_tokens() const override {
    if constexpr (requires { model_.most_tokens(); })
      return model_.most_tokens();
    else
      return Decoder::most_tokens();
  }
  const typename M::State& state() const { return state_; }

 private:
  const M& model_;
  typename M::State state_;
};

/// All tokens of a batch so far.
struct Prefix {
  Tensor tokens;            ///< [b, n] int64
  Tensor key_padding_mask;  ///< [b, n] bool: true hides; undefined: nothing is hidden
  Tensor rows;              ///< [b] int64: which row of the first step's batch each goes back to
};

/// Anything that says logits, [b, V] or at all positions [b, n, V], of a prefix: without a state, so each step computes
/// the whole prefix again.
///
///     nn::PrefixDecoder decoder([&](const nn::Prefix& p) { return model(p.tokens, p.key_padding_mask); });
class PrefixDecoder : public Decoder {
 public:
  /// key_padding_mask [b, n] bool of the first n tokens; the others are not hidden.
  explicit PrefixDecoder(std::function<Tensor(const Prefix&)> logits, const Tensor& key_padding_mask = {},
                         std::int64_t most_tokens = std::numeric_limits<std::int64_t>::max())
      : logits_(std::move(logits)), mask_(key_padding_mask), most_(most_tokens) {}
  Tensor step(const Tensor& tokens) override;
  void reorder(const Tensor& rows) override;
  std::int64_t most_tokens() const override { return most_; }

 private:
  std::function<Tensor(const Prefix&)> logits_;
  Tensor tokens_, mask_, rows_;
  std::int64_t most_;
};

/// Two functions, one a member of Decoder each.
class FunctionDecoder : public Decoder {
 public:
  FunctionDecoder(std::function<Tensor(const Tensor& tokens)> step, std::function<void(const Tensor& rows)> reorder)
      : step_(std::move(step)), reorder_(std::move(reorder)) {}
  Tensor step(const Tensor& tokens) override { return step_(tokens); }
  void reorder(const Tensor& rows) override { reorder_(rows); }

 private:
  std::function<Tensor(const Tensor&)> step_;
  std::function<void(const Tensor&)> reorder_;
};

}  // namespace attune::nn
