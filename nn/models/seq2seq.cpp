#include "nn/models/seq2seq.h"

#include <string>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/models/blocks.h"
#include "nn/models/internal/closed_up.h"
#include "nn/models/internal/seq2seq_checks.h"

namespace attune::nn {

Tensor Seq2Seq::shift_right(const Tensor& labels, Here here) const {
  const Scope scope(*this, name_, here, Scope::no_call);
  return shifted_right(name_, labels, start_token_, padding_token_, here);
}

Tensor Seq2Seq::loss(const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) const {
  const Scope scope(*this, name_, here, Scope::no_call);
  if (logits.rank() != 3 || labels.shape() != Shape{logits.size(0), logits.size(1)})
    throw ShapeError(
        std::string(name_) + ": labels " + labels.shape().str() + " do not fit logits " + logits.shape().str(), here);
  return cross_entropy(logits, labels, {.reduction = reduction}, here);
}

std::int64_t Seq2Seq::target_count(const Tensor& labels, Here) const { return nn::target_count(labels); }

// ---- checks of both

namespace detail {

void check_vocabularies(const Check& check, std::int64_t source_vocabulary, std::int64_t vocabulary,
                        std::int64_t padding_token, std::int64_t start_token) {
  check.at_least(1, source_vocabulary, "source_vocabulary");
  check.at_least(1, vocabulary, "vocabulary");
  for (const auto& [id, name] : {std::pair{padding_token, "padding_token"}, {start_token, "start_token"}})
    if (id < 0 || id >= vocabulary)
      check.fail(name + (" = " + std::to_string(id)) + " is outside of the vocabulary of " +
                 std::to_string(vocabulary));
}

void check_one_batch(const char* model, const Tensor& source, const Tensor& tokens, Here here) {
  if (source.size(0) != tokens.size(0))
    throw ShapeError(std::string(model) + ": source " + source.shape().str() + " and decoder tokens " +
                         tokens.shape().str() + " are of different batches",
                     here);
}

void check_step(const char* model, const Tensor& state, int batch_axis, const Tensor& tokens, Here here) {
  if (!state.defined())
    throw ValueError(std::string(model) + ": the state is not one that start() of this model gave", here);
  const std::int64_t rows = state.size(batch_axis);
  if (tokens.rank() != 2 || tokens.size(0) != rows || tokens.size(1) == 0)
    throw ShapeError(
        std::string(model) + ": tokens " + tokens.shape().str() + " must be [" + std::to_string(rows) + ", n >= 1]",
        here);
}

}  // namespace detail

// ---- the vanilla model

namespace {

VanillaSeq2SeqConfig checked(const detail::Check& check, const VanillaSeq2SeqConfig& c) {
  detail::check_vocabularies(check, c.source_vocabulary, c.vocabulary, c.padding_token, c.start_token);
  check.at_least(1, c.d_embedding, "d_embedding");
  check.at_least(1, c.d_hidden, "d_hidden");
  check.at_least(1, c.layers, "layers");
  check.probability(c.dropout, "dropout");
  check.finite(c.uniform, "uniform");
  return c;
}

constexpr const char* vanilla = "VanillaSeq2Seq";

RecurrentOptions layers_of(const VanillaSeq2SeqConfig& c) { return {.layers = c.layers, .dropout = c.dropout}; }

}  // namespace

VanillaSeq2Seq::VanillaSeq2Seq(const VanillaSeq2SeqConfig& c, Here here)
    : Seq2Seq(vanilla, c.padding_token, c.start_token, here),
      config(checked({vanilla, *this}, c)),
      source_embedding(child<Embedding>("source_embedding", config.source_vocabulary, config.d_embedding)),
      embedding(child<Embedding>("embedding", config.vocabulary, config.d_embedding)),
      encoder(child<LSTM>("encoder", config.d_embedding, config.d_hidden, layers_of(config))),
      decoder(child<LSTM>("decoder", config.d_embedding, config.d_hidden, layers_of(config))),
      head(child<Linear>("head", config.d_hidden, config.vocabulary)),
      dropout(child<Dropout>("dropout", config.dropout)) {
  for (const Tensor& p : parameters()) init::uniform_(p, -config.uniform, config.uniform);
}

RecurrentResult VanillaSeq2Seq::encode(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const detail::ClosedUp words =
      detail::closed_up(vanilla, "source", source, key_padding_mask, config.reverse_source, here);
  return encoder(dropout(source_embedding(transpose(words.tokens, 0, 1))), {}, words.lengths);
}

Tensor VanillaSeq2Seq::operator()(const Tensor& given_source, const Tensor& given_tokens, const Seq2SeqCall& call,
                                  Here here) const {
  const Scope scope(*this, vanilla, here);
  const Tensors in = scope.in(Tensors{given_source, given_tokens});
  const detail::ClosedUp words =
      detail::closed_up(vanilla, "decoder tokens", in[1], call.decoder_key_padding_mask, false, here);
  const RecurrentResult read = encode(in[0], call.key_padding_mask, here);
  detail::check_one_batch(vanilla, in[0], in[1], here);
  const RecurrentResult said = decoder(dropout(embedding(transpose(words.tokens, 0, 1))), {read.h, read.c});
  return scope.out(head(dropout(detail::rows_as_given(transpose(said.output, 0, 1), words.places))));
}

VanillaSeq2Seq::State VanillaSeq2Seq::start(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, vanilla, here, Scope::no_call);
  const NoGrad off;
  const RecurrentResult read = encode(source, key_padding_mask, here);
  State state;
  state.recurrent_ = {read.h, read.c};
  return state;
}

Tensor VanillaSeq2Seq::step(const Tensor& tokens, State& state, Here here) const {
  const Scope scope(*this, vanilla, here, Scope::no_call);
  const NoGrad off;
  detail::check_step(vanilla, state.recurrent_.h, 1, tokens, here);
  RecurrentState next = state.recurrent_;
  const Tensor said = decoder.step(dropout(embedding(transpose(tokens, 0, 1))), next);
  Tensor logits = head(dropout(select(said, 0, tokens.size(1) - 1)));
  state.recurrent_ = next;
  state.length_ += tokens.size(1);
  return logits;
}

void VanillaSeq2SeqState::reorder(const Tensor& rows, Here here) {
  const Op op{"VanillaSeq2SeqState::reorder", here};
  if (rows.rank() != 1) op.fail_shape("rows " + rows.shape().str() + " must be [b']");
  if (!recurrent_.h.defined()) op.fail_value("the state is not one that start() gave");
  recurrent_.reorder(op.checked_index(rows, Shape{recurrent_.h.size(1)}, 0));
}

}  // namespace attune::nn
