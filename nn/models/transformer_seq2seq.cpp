#include "nn/models/transformer_seq2seq.h"

#include <cmath>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/init.h"
#include "nn/internal/check.h"
#include "nn/layers/containers.h"
#include "nn/layers/dropout.h"
#include "nn/models/blocks.h"
#include "nn/models/internal/positions.h"

namespace attune::nn {

namespace {

TransformerConfig checked(const detail::Check& check, TransformerConfig c) {
  for (const auto& [n, name] : {std::pair{c.vocabulary, "vocabulary"},
                                {c.d_model, "d_model"},
                                {c.d_ff, "d_ff"},
                                {c.heads, "heads"},
                                {c.layers, "layers"},
                                {c.positions, "positions"}})
    check.at_least(1, n, name);
  check.at_least(0, c.target_vocabulary, "target_vocabulary");
  if (check.at_least(0, c.decoder_layers, "decoder_layers") == 0) c.decoder_layers = c.layers;
  check.head_dim(c.d_model, c.heads);
  if (c.d_model % 2 != 0) check.fail("d_model = " + std::to_string(c.d_model) + " must be even");
  check.probability(c.dropout, "dropout");
  check.probability(c.label_smoothing, "label_smoothing");
  const std::int64_t target = c.target_vocabulary == 0 ? c.vocabulary : c.target_vocabulary;
  for (const auto& [id, name] : {std::pair{c.padding_token, "padding_token"}, {c.start_token, "start_token"}})
    if (id < 0 || id >= target)
      check.fail(name + (" = " + std::to_string(id)) + " is outside of the target's vocabulary of " +
                 std::to_string(target));
  return c;
}

TransformerOptions of_layers(const TransformerConfig& c, const AttentionMechanism& mechanism) {
  return {.d_ff = c.d_ff,
          .dropout = c.dropout,
          .activation = c.activation,
          .pre_norm = c.pre_norm,
          .eps = c.eps,
          .mechanism = mechanism};
}

/// All but what a mechanism has of its own.
void initialise(Module& stack) {
  for (const auto& [name, p] : stack.named_parameters())
    if (name.ends_with("in_proj_weight"))
      for (const Tensor& part : chunk(p.detach(), p.size(0) / p.size(1), 0)) init::xavier_uniform_(part);
    else if (name.find(".mechanism.") != name.npos)
      continue;
    else if (p.rank() == 2)
      init::xavier_uniform_(p);
    else if (name.ends_with("bias"))
      init::zeros_(p);
}

double root(std::int64_t n) { return std::sqrt(static_cast<double>(n)); }

void check_length(const char* what, std::int64_t n, std::int64_t most, Here here) {
  if (n > most)
    throw ShapeError("Transformer: a " + std::string(what) + " of " + std::to_string(n) + " is longer than the " +
                         std::to_string(most) + " positions",
                     here);
}

}  // namespace

Transformer::Transformer(const TransformerConfig& c, Here here)
    : Module(here),
      config(checked({"Transformer", *this}, c)),
      source_embedding(child<Embedding>("source_embedding", config.vocabulary, config.d_model)),
      target_embedding(config.target_vocabulary == 0
                           ? source_embedding
                           : child<Embedding>("target_embedding", config.target_vocabulary, config.d_model)),
      positions(child<SinusoidalPositionEmbedding>("positions", config.positions, config.d_model)),
      encoder(child<TransformerEncoder>("encoder", config.layers, config.d_model, config.heads,
                                        of_layers(config, config.mechanism))),
      decoder(child<TransformerDecoder>("decoder", config.decoder_layers, config.d_model, config.heads,
                                        of_layers(config, config.decoder_mechanism))),
      dropout(child<Dropout>("dropout", config.dropout)) {
  for (Embedding* table : {&source_embedding, &target_embedding})
    init::normal_(table->weight, 0, 1 / root(config.d_model));
  initialise(encoder);
  initialise(decoder);
  if (config.tied) return;
  output = &child<Linear>("output", config.d_model, target_embedding.weight.size(0), LinearOptions{.bias = false});
  init::xavier_uniform_(output->weight);
}

Tensor Transformer::embed(const Embedding& table, const Tensor& tokens, std::int64_t offset,
                          const Tensor& hidden) const {
  const Tensor x = table(tokens);
  Tensor places = positions(tokens.size(1), offset, x.dtype());
  if (hidden.defined() && any(hidden)) places = embedding(places, detail::counted_positions(hidden));
  return dropout(x * root(config.d_model) + places);
}

Tensor Transformer::head(const Tensor& x) const { return output ? (*output)(x) : linear(x, target_embedding.weight); }

void Transformer::check(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask, Here here) const {
  hidden_keys("Transformer", source, key_padding_mask, here);
  if (source.size(1) == 0) throw ShapeError("Transformer: the source has no tokens", here);
  check_length("source", source.size(1), config.positions, here);
  if (!target.defined()) return;
  if (target.rank() != 2 || target.size(0) != source.size(0))
    throw ShapeError("Transformer: target " + target.shape().str() + " must be [" + std::to_string(source.size(0)) +
                         ", length], as many rows as the source " + source.shape().str(),
                     here);
  check_length("target", target.size(1), config.positions, here);
}

Tensor Transformer::operator()(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask,
                               Here here) const {
  const Scope scope(*this, "Transformer", here);
  const Tensors in = scope.in(Tensors{source, target});
  check(in[0], in[1], key_padding_mask, here);
  const MultiheadCall of_source{.key_padding_mask = key_padding_mask};
  const Tensor memory = encoder(embed(source_embedding, in[0], 0, key_padding_mask), of_source);
  const Tensor x = embed(target_embedding, in[1], 0, {});
  return scope.out(head(decoder(x, memory, {.causal = true}, of_source)));
}

Tensor Transformer::shift_right(const Tensor& labels, Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  return shifted_right("Transformer", labels, config.start_token, config.padding_token, here);
}

Tensor Transformer::loss(const Tensor& logits, const Tensor& labels, Reduction reduction, Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  if (logits.rank() != 3 || labels.shape() != Shape{logits.size(0), logits.size(1)})
    throw ShapeError("Transformer: labels " + labels.shape().str() + " do not fit logits " + logits.shape().str(),
                     here);
  const double smoothing = training() ? config.label_smoothing : 0;
  return cross_entropy(logits, labels, {.label_smoothing = smoothing, .reduction = reduction}, here);
}

std::int64_t Transformer::target_count(const Tensor& labels, Here) const { return nn::target_count(labels); }

Tensor Transformer::encode(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  check(source, {}, key_padding_mask, here);
  return encoder(embed(source_embedding, source, 0, key_padding_mask), {.key_padding_mask = key_padding_mask});
}

Tensors Transformer::alignments(const Tensor& source, const Tensor& target, const Tensor& key_padding_mask,
                                Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  const NoGrad off;
  check(source, target, key_padding_mask, here);
  const Tensor memory = encode(source, key_padding_mask);
  return decoder.cross_weights(embed(target_embedding, target, 0, {}), memory, {.causal = true},
                               {.key_padding_mask = key_padding_mask});
}

Transformer::State Transformer::start(const Tensor& source, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  const NoGrad off;
  State state;
  state.begin(decoder.read(encode(source, key_padding_mask)), source.size(0), key_padding_mask);
  return state;
}

Tensor Transformer::step(const Tensor& tokens, State& state, Here here) const {
  const Scope scope(*this, "Transformer", here, Scope::no_call);
  const NoGrad off;
  state.check_step("Transformer", static_cast<std::size_t>(config.decoder_layers), tokens, here);
  const std::int64_t before = state.length(), n = tokens.size(1);
  check_length("target", before + n, config.positions, here);
  try {
    const Tensor x =
        decoder.step(embed(target_embedding, tokens, before, {}), state.own_, state.source_, state.source_padding_);
    return head(select(x, 1, n - 1));
  } catch (...) {  // some layers may have taken the tokens
    state.rewind(before);
    throw;
  }
}

}  // namespace attune::nn
