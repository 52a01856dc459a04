#include "tests/reference/model_case.h"

namespace attune::tests {

void check_gpt2(ModelCase& c) {
  nn::Gpt2 model(nn::gpt2_config_from_file(c.config_path()));
  model.load_published(c.weights_path());
  model.eval();
  const Tensor tokens = c.required("input.input_ids"), padding = c.padding();
  // The published code counts places unless it is told positions; the model here counts tokens that are not hidden.
  Tensor positions = c.input("position_ids");
  if (!positions.defined()) positions = arange(tokens.size(1));
  if (positions.rank() == 1) positions = unsqueeze(positions, 0);
  bool asked = false;
  model.wpe.register_forward_pre_hook([&](const nn::Module&, Tensors& inputs) {
    inputs[0] = contiguous(expand(positions, tokens.shape()));
    asked = true;
  });
  const auto layers = static_cast<std::size_t>(model.config.layers);
  Taps taps(layers + 1);
  for (std::size_t i = 0; i < layers; ++i) taps.input_of(model.blocks[i], i);
  taps.output_of(model.ln_f, layers);
  const Tensor logits = model(tokens, padding);
  if (!asked && c.input("position_ids").defined() && !all(eq(positions, arange(tokens.size(1)))))
    throw std::runtime_error("input.position_ids without padding are not the places, as this model has them");
  c.check_hidden_states(taps.seen());
  c.check_output("logits", logits);
  const Tensor labels = c.input("labels");
  c.check_backward(model, labels.defined() ? model.loss(logits, labels) : Tensor(), {{"logits", logits}});
}

}  // namespace attune::tests
