// The model with additive attention: all that does not depend on the state before is computed outside of the steps,
// the annotations' part of the comparison once a source, the words' part of the gates, the readout and the head once
// for all steps.

#include <cmath>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/recurrent.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/models/internal/closed_up.h"
#include "nn/models/internal/seq2seq_checks.h"
#include "nn/models/seq2seq.h"

namespace attune::nn {

namespace {

constexpr const char* additive = "AdditiveSeq2Seq";

AdditiveSeq2SeqConfig checked(const detail::Check& check, AdditiveSeq2SeqConfig c) {
  detail::check_vocabularies(check, c.source_vocabulary, c.vocabulary, c.padding_token, c.start_token);
  check.at_least(1, c.d_embedding, "d_embedding");
  check.at_least(1, c.d_hidden, "d_hidden");
  if (check.at_least(0, c.d_attention, "d_attention") == 0) c.d_attention = c.d_hidden;
  if (check.at_least(0, c.d_source_embedding, "d_source_embedding") == 0) c.d_source_embedding = c.d_embedding;
  if (check.at_least(0, c.d_encoder, "d_encoder") == 0) c.d_encoder = c.d_hidden;
  check.at_least(0, c.d_maxout, "d_maxout");
  check.probability(c.dropout, "dropout");
  return c;
}

/// The recurrent matrix of each gate [3 h, h] orthogonal.
void orthogonal_gates_(const Tensor& w) {
  for (const Tensor& gate : chunk(w.detach(), 3, 0)) init::orthogonal_(gate);
}

/// All but the attention, whose constructor does it.
void start_from(AdditiveSeq2Seq& model, Seq2SeqStart start) {
  for (const auto& [name, p] : model.named_parameters()) {
    const bool recurrent = name.find("weight_hh") != std::string::npos || name.ends_with("recurrent_weight");
    if (name.find("attention.") != std::string::npos) continue;
    if (p.rank() == 1)
      init::zeros_(p);
    else if (recurrent)
      orthogonal_gates_(p);
    else if (start == Seq2SeqStart::published)
      init::normal_(p, 0, 0.01);
    else if (name.ends_with("embedding.weight"))
      init::normal_(p, 0, 0.1);
    else
      init::xavier_uniform_(p);
  }
}

/// Of state, word and context, which the readout sees.
std::int64_t read_size(const AdditiveSeq2SeqConfig& c) { return c.d_hidden + c.d_embedding + 2 * c.d_encoder; }

AdditiveOptions attention_options(const AdditiveSeq2SeqConfig& c) {
  AdditiveOptions o{.bias = c.attention_bias};
  if (c.start == Seq2SeqStart::published) return o;
  o.std = std::sqrt(1 / static_cast<double>(c.d_hidden + c.d_attention));
  o.score_std = std::sqrt(1 / static_cast<double>(c.d_attention));
  return o;
}

}  // namespace

AdditiveSeq2Seq::Encoder::Encoder(const AdditiveSeq2SeqConfig& c, Here here)
    : Module(here),
      config(checked({additive, *this}, c)),
      embedding(child<Embedding>("embedding", config.source_vocabulary, config.d_source_embedding)),
      rnn(child<GRU>("rnn", config.d_source_embedding, config.d_encoder, RecurrentOptions{.bidirectional = true})),
      state(child<Linear>("state", (config.both_ends ? 2 : 1) * config.d_encoder, config.d_hidden,
                          LinearOptions{.activation = Activation::tanh})),
      dropout(child<Dropout>("dropout", config.dropout)) {}

AdditiveSeq2Seq::Encoded AdditiveSeq2Seq::Encoder::operator()(const Tensor& tokens, const Tensor& lengths,
                                                              Here here) const {
  const Scope scope(*this, "Encoder", here);
  const Tensor& words = scope.in(tokens);
  const RecurrentResult read = rnn(dropout(embedding(transpose(words, 0, 1))), {}, lengths);
  const Tensor backward = select(read.h, 0, 1);
  Encoded r{transpose(read.output, 0, 1),
            state(config.both_ends ? cat({select(read.h, 0, 0), backward}, 1) : backward)};
  scope.out_parts(r.annotations, r.state);
  return r;
}

AdditiveSeq2Seq::Decoder::Decoder(const AdditiveSeq2SeqConfig& c, Here here)
    : Module(here),
      config(checked({additive, *this}, c)),
      embedding(child<Embedding>("embedding", config.vocabulary, config.d_embedding)),
      attention(child<AdditiveAttention>("attention", config.d_hidden, 2 * config.d_encoder, config.d_attention,
                                         attention_options(config))),
      word_gates(child<Linear>("word_gates", config.d_embedding, 3 * config.d_hidden)),
      context_gates(
          child<Linear>("context_gates", 2 * config.d_encoder, 3 * config.d_hidden, LinearOptions{.bias = false})),
      recurrent_weight(parameter("recurrent_weight", zeros({3 * config.d_hidden, config.d_hidden}))),
      recurrent_bias(parameter("recurrent_bias", zeros({3 * config.d_hidden}))),
      readout(config.d_maxout > 0 ? &child<Linear>("readout", read_size(config), 2 * config.d_maxout) : nullptr),
      head(child<Linear>("head", readout ? config.d_maxout : read_size(config), config.vocabulary)),
      dropout(child<Dropout>("dropout", config.dropout)) {}

AdditiveDecoderResult AdditiveSeq2Seq::Decoder::run(const Tensor& tokens, const Tensor& first,
                                                    const AdditiveMemory& memory, bool last_only) const {
  const Tensor words = dropout(embedding(transpose(tokens, 0, 1)));  // [t, b, d_embedding]
  const Tensors gates = unbind(word_gates(words), 0);
  Tensor state = first;
  Tensors states, contexts, weights;
  for (const Tensor& of_word : gates) {
    const AdditiveResult seen = attention(state, memory);
    const Tensor next = gru_cell(of_word + context_gates(seen.context), state, recurrent_weight, recurrent_bias);
    states.push_back(config.readout_after ? next : state);
    contexts.push_back(seen.context);
    weights.push_back(seen.weights);
    state = next;
  }
  const auto together = [&](const Tensors& xs) { return last_only ? unsqueeze(xs.back(), 1) : stack(xs, 1); };
  const Tensor read = last_only ? slice(words, 0, words.size(0) - 1) : words;
  Tensor x = cat({together(states), transpose(read, 0, 1), together(contexts)}, 2);
  if (readout) {
    const Tensors pairs = chunk((*readout)(x), 2, 2);
    x = maximum(pairs[0], pairs[1]);
  }
  return {head(dropout(x)), together(weights), state};
}

AdditiveDecoderResult AdditiveSeq2Seq::Decoder::operator()(const Tensor& tokens, const Tensor& state,
                                                           const AdditiveMemory& memory, Here here) const {
  const Scope scope(*this, "Decoder", here);
  const Tensors in = scope.in(Tensors{tokens, state});
  AdditiveDecoderResult r = run(in[0], in[1], memory, false);
  scope.out_parts(r.logits, r.alignments, r.state);
  return r;
}

AdditiveDecoderResult AdditiveSeq2Seq::Decoder::last(const Tensor& tokens, const Tensor& state,
                                                     const AdditiveMemory& memory, Here here) const {
  const Scope scope(*this, "Decoder", here, Scope::no_call);
  return run(tokens, state, memory, true);
}

AdditiveSeq2Seq::AdditiveSeq2Seq(const AdditiveSeq2SeqConfig& c, Here here)
    : Seq2Seq(additive, c.padding_token, c.start_token, here),
      config(checked({additive, *this}, c)),
      encoder(child<Encoder>("encoder", config)),
      decoder(child<Decoder>("decoder", config)) {
  start_from(*this, config.start);
}

Seq2SeqResult AdditiveSeq2Seq::aligned(const Tensor& source, const Tensor& tokens, const Seq2SeqCall& call,
                                       Here here) const {
  const Scope scope(*this, additive, here, Scope::no_call);
  const detail::ClosedUp read = detail::closed_up(additive, "source", source, call.key_padding_mask, false, here);
  const detail::ClosedUp said =
      detail::closed_up(additive, "decoder tokens", tokens, call.decoder_key_padding_mask, false, here);
  detail::check_one_batch(additive, source, tokens, here);
  const Encoded encoded = encoder(read.tokens, read.lengths);
  const AdditiveDecoderResult r =
      decoder(said.tokens, encoded.state, decoder.attention.memory(encoded.annotations, read.hidden));
  return {detail::rows_as_given(r.logits, said.places),
          detail::rows_as_given(detail::columns_as_given(r.alignments, read.places), said.places)};
}

Tensor AdditiveSeq2Seq::operator()(const Tensor& source, const Tensor& tokens, const Seq2SeqCall& call,
                                   Here here) const {
  const Scope scope(*this, additive, here);
  const Tensors in = scope.in(Tensors{source, tokens});
  return scope.out(aligned(in[0], in[1], call, here).logits);
}

AdditiveSeq2Seq::State AdditiveSeq2Seq::start(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, additive, here, Scope::no_call);
  const NoGrad off;
  const detail::ClosedUp read = detail::closed_up(additive, "source", source, key_padding_mask, false, here);
  const Encoded encoded = encoder(read.tokens, read.lengths);
  State state;
  state.hidden_ = encoded.state;
  state.memory_ = decoder.attention.memory(encoded.annotations, read.hidden);
  state.places_ = read.places;
  for (std::int64_t i = 0; i < source.size(0); ++i) state.sources_.push_back(i);
  return state;
}

Tensor AdditiveSeq2Seq::step(const Tensor& tokens, State& state, Here here) const {
  const Scope scope(*this, additive, here, Scope::no_call);
  const NoGrad off;
  detail::check_step(additive, state.hidden_, 0, tokens, here);
  const AdditiveDecoderResult r = decoder.last(tokens, state.hidden_, state.memory_);
  const Tensor alignment = squeeze(detail::columns_as_given(r.alignments, state.places_), 1);
  state.hidden_ = r.state;
  state.alignment_ = alignment;
  state.length_ += tokens.size(1);
  return squeeze(r.logits, 1);
}

void AdditiveSeq2SeqState::reorder(const Tensor& rows, Here here) {
  const Op op{"AdditiveSeq2SeqState::reorder", here};
  if (rows.rank() != 1) op.fail_shape("rows " + rows.shape().str() + " must be [b']");
  if (!hidden_.defined()) op.fail_value("the state is not one that start() gave");
  const Tensor at = op.checked_index(rows, Shape{static_cast<std::int64_t>(sources_.size())}, 0);
  std::vector<std::int64_t> sources;
  for (const std::int64_t row : at.to_vector<std::int64_t>())
    sources.push_back(sources_[static_cast<std::size_t>(row)]);
  hidden_ = index_select(hidden_, 0, at);
  if (alignment_.defined()) alignment_ = index_select(alignment_, 0, at);
  if (sources == sources_) return;
  for (Tensor* of_source : {&memory_.values, &memory_.keys, &memory_.key_padding_mask, &places_})
    if (of_source->defined()) *of_source = index_select(*of_source, 0, at);
  sources_ = std::move(sources);
}

}  // namespace attune::nn
