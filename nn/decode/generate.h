// Text from a model: greedy, by sampling or by beam search. The rules and their numbers are those of the Python library
// that publishes the models (transformers 4.19).
#pragma once

#include <memory>
#include <vector>

#include "autograd/runtime/error.h"
#include "autograd/runtime/philox.h"
#include "nn/decode/decoder.h"
#include "nn/module.h"

namespace attune::nn {

/// All lengths count the prompt and, of a decoder behind an encoder, the start token.
struct GenerateOptions {
  std::int64_t max_length = 0;      ///< tokens in all ...
  std::int64_t max_new_tokens = 0;  ///< ... or behind the prompt: one of the two must be given
  std::int64_t min_length = 0;      ///< before these tokens `eos` cannot come
  std::int64_t eos = -1;            ///< the token that ends a sequence; -1: none
  std::int64_t pad = -1;            ///< fills what is behind the end; -1: eos

  std::int64_t beams = 1;       ///< above 1: beam search
  double length_penalty = 1;    ///< a hypothesis' score is its log-probability over length ^ this
  bool wu_penalty = false;      ///< ... over ((5 + length) / 6) ^ length_penalty (Wu et al. 2016)
  bool early_stopping = false;  ///< a prompt is done with the first `beams` hypotheses that end
  std::int64_t returned = 1;    ///< sequences a prompt: the best hypotheses, or as many drawings

  bool sample = false;  ///< draw the tokens, by the softmax of what the next four leave
  double temperature = 1;
  std::int64_t top_k = 0;          ///< 0: off
  double top_p = 1;                ///< 1: off
  double typical_p = 1;            ///< 1: off
  Generator* generator = nullptr;  ///< of the drawings; null: the default one

  double repetition_penalty = 1;
  std::int64_t no_repeat_ngram = 0;  ///< no n-gram of this size comes twice; 0: off
  /// Rules of one's own, applied behind the others but before the temperature: from sequences [rows, n] and scores
  /// [rows, V] to scores.
  std::vector<std::function<Tensor(const Tensor& sequences, const Tensor& scores)>> processors{};

  /// Called with each step's tokens [b] as they come, `pad` in rows that have ended. If it returns false this step was
  /// the last. Not with beams, which decide at the end.
  std::function<bool(const Tensor& tokens)> on_tokens{};
  bool keep_scores = false;  ///< GenerateResult::step_scores
};

struct GenerateResult {
  Tensor sequences;  ///< [b returned, n] int64, a prompt's behind each other and best first, prompts included
  Tensor scores;     ///< [b returned] of beam search's hypotheses; undefined otherwise
  Tensor lengths;    ///< [b returned] int64: tokens before the padding, `eos` among them
  /// [rows, V] a step if they are kept: what the token was chosen by, after all rules (in beam search the rows are the
  /// beams, and their log-probabilities are without those of the tokens before).
  std::vector<Tensor> step_scores;
};

/// Continues the prompt [b, n] int64 by a decoder that has seen nothing yet. Throws ValueError for options that
/// contradict each other, an empty prompt and lengths beyond what the decoder can go on to, ShapeError and DTypeError
/// for a prompt that is no [b, n] of integers, all before the first step, and IndexError for tokens that the vocabulary
/// has not.
GenerateResult generate(Decoder& decoder, const Tensor& prompt, const GenerateOptions& options,
                        Here here = Here::current());

namespace detail {
using MakeDecoder = std::function<std::unique_ptr<Decoder>()>;
/// With the model, if there is one, in evaluation mode, off the tape; the decoder is made when all else is checked.
GenerateResult generate_with(Module* model, const MakeDecoder& make, const Tensor& prompt,
                             const Tensor& key_padding_mask, const GenerateOptions& options, Here here);
/// A start token [b, 1] for each row of a source.
Tensor start_tokens(const Tensor& source, std::int64_t token, Here here);
template <class M>
Module* module_of(M& model) {
  if constexpr (std::derived_from<M, Module>)
    return &model;
  else
    return nullptr;
}
}  // namespace detail

/// Continues the prompt [b, n] int64 by a model with a state, which is in evaluation mode meanwhile. In
/// key_padding_mask [b, n] bool true hides padding, which must be on the left.
///
///     nn::GenerateResult r = nn::generate(gpt2, prompt, {.max_new_tokens = 50, .eos = 50256});
///     nn::generate(gpt2, prompt, {.max_length = 80, .sample = true, .temperature = 0.8, .top_k = 40});
///     nn::generate(gpt2, prompt, {.max_length = 80, .eos = 50256, .beams = 4, .returned = 2}, key_padding_mask);
template <DecoderModel M>
GenerateResult generate(M& model, const Tensor& prompt, const GenerateOptions& options,
                        const Tensor& key_padding_mask = {}, Here here = Here::current()) {
  const auto make = [&]() -> std::unique_ptr<Decoder> {
    if constexpr (requires { model.start(key_padding_mask); }) {
      return std::make_unique<CachedDecoder<M>>(model, model.start(key_padding_mask));
    } else {
      if (key_padding_mask.defined()) throw ValueError("generate: the model's start() takes no key_padding_mask", here);
      return std::make_unique<CachedDecoder<M>>(model, model.start());
    }
  };
  return detail::generate_with(detail::module_of(model), make, prompt, key_padding_mask, options, here);
}

/// The same for an encoder and decoder: sequences begin with its start token. source [b, n] int64, and its
/// key_padding_mask [b, n] bool, true hides.
template <EncoderDecoderModel M>
GenerateResult generate(M& model, const Tensor& source, const GenerateOptions& options,
                        const Tensor& key_padding_mask = {}, Here here = Here::current()) {
  const auto make = [&]() -> std::unique_ptr<Decoder> {
    return std::make_unique<CachedDecoder<M>>(model, model.start(source, key_padding_mask));
  };
  return detail::generate_with(detail::module_of(model), make,
                               detail::start_tokens(source, model.config.start_token, here), {}, options, here);
}

}  // namespace attune::nn
