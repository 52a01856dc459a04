#include "tests/reference/model_case.h"

namespace attune::tests {

void check_t5(ModelCase& c) {
  nn::T5 model(nn::t5_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  Taps encoder(model.encoder.block.size() + 1), decoder(model.decoder.block.size() + 1);
  for (const auto& [stack, taps] : {std::pair{&model.encoder, &encoder}, {&model.decoder, &decoder}}) {
    for (std::size_t i = 0; i < stack->block.size(); ++i) taps->input_of(stack->block[i], i);
    taps->output_of(*stack, stack->block.size());
  }
  const Tensor source = c.required("input.input_ids"), labels = c.input("labels"), padding = c.padding(),
               decoder_padding = c.padding("decoder_attention_mask");
  Tensor tokens = c.input("decoder_input_ids");
  if (!tokens.defined()) {
    if (!labels.defined()) throw std::runtime_error("case.safetensors has nothing for the decoder to see");
    tokens = model.shift_right(labels);
  }
  const Tensor logits =
      model(source, tokens, {.key_padding_mask = padding, .decoder_key_padding_mask = decoder_padding});
  c.check_hidden_states("encoder_hidden_states", encoder.seen(), padding);
  c.check_output("encoder_last_hidden_state", encoder.seen().back(), padding);
  c.check_hidden_states("decoder_hidden_states", decoder.seen(), decoder_padding);
  c.check_output("logits", logits, decoder_padding);
  c.check_backward(model, labels.defined() ? model.loss(logits, labels) : Tensor(), {{"logits", logits}});

  if (decoder_padding.defined()) return;
  c.begin("step by step: ");
  nn::T5::State state = model.start(source, padding);
  Tensors steps;
  for (std::int64_t i = 0; i < tokens.size(1); ++i) steps.push_back(model.step(slice(tokens, 1, i, i + 1), state));
  c.check_output("logits", stack(steps, 1), decoder_padding);
}

}  // namespace attune::tests
