// A case of T5: hidden states of both stacks, logits, the loss, gradients, and the logits step by step.

#include "tests/reference/model_case.h"

namespace attune::tests {

void check_t5(ModelCase& c) {
  nn::T5 model(nn::t5_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  const Tensor source = c.required("input.input_ids"), given = c.input("decoder_input_ids"), labels = c.input("labels");
  if (!given.defined() && !labels.defined()) throw std::runtime_error("case.safetensors has nothing for the decoder");
  const Tensor tokens = given.defined() ? given : model.shift_right(labels);
  const char* of_decoder = "decoder_attention_mask";
  const nn::T5Call call{.key_padding_mask = c.padding(), .decoder_key_padding_mask = c.padding(of_decoder)};

  const std::size_t encoder_layers = model.encoder.block.size(), decoder_layers = model.decoder.block.size();
  Taps encoder(encoder_layers + 1), decoder(decoder_layers + 1);
  for (std::size_t i = 0; i < encoder_layers; ++i) encoder.input_of(model.encoder.block[i], i);
  encoder.output_of(model.encoder.final_layer_norm, encoder_layers);
  for (std::size_t i = 0; i < decoder_layers; ++i) decoder.input_of(model.decoder.block[i], i);
  decoder.output_of(model.decoder.final_layer_norm, decoder_layers);
  const Tensor logits = model(source, tokens, call);
  c.check_hidden_states(encoder.seen(), "encoder_hidden_states");
  c.check_output("encoder_last_hidden_state", encoder.seen().back());
  c.check_hidden_states(decoder.seen(), "decoder_hidden_states", of_decoder);
  c.check_output("logits", logits, of_decoder);
  c.check_backward(model, labels.defined() ? model.loss(logits, labels) : Tensor(), {{"logits", logits}});

  const Tensor expected = c.tensor("output.logits");
  if (call.decoder_key_padding_mask.defined() || !expected.defined()) return;
  nn::T5::State state = model.start(source, call.key_padding_mask);
  Tensors steps;
  for (std::int64_t i = 0; i < tokens.size(1); ++i) steps.push_back(model.step(slice(tokens, 1, i, i + 1), state));
  c.begin("step by step: ");
  c.check_output("logits", stack(steps, 1), of_decoder);
}

}  // namespace attune::tests
