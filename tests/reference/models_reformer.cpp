#include "tests/reference/model_case.h"

namespace attune::tests {

void check_reformer(ModelCase& c) {
  for (const bool reversible : {true, false}) {
    c.begin(reversible ? "reversible: " : "ordinary: ");
    nn::ReformerConfig config = nn::reformer_config_from_file(c.config_path());
    config.reversible = reversible;
    nn::Reformer model(config);
    model.load_published(c.weights_path());
    model.eval();
    const std::size_t layers = config.layers.size();
    nn::ReformerCall call{.key_padding_mask = c.padding()};
    call.attention.resize(layers);
    for (std::size_t i = 0; i < layers; ++i)
      call.attention[i].rotations = c.tensor("hash." + std::to_string(i) + ".rotations");
    const Tensor tokens = c.required("input.input_ids");
    Taps taps(layers + 1);  // the second stream: what attention sees, and the second half of the last norm's input
    for (std::size_t i = 0; i < layers; ++i) taps.input_of(model.encoder.layers[i].attention, i);
    taps.input_of(model.encoder.norm, layers);
    const Tensor logits = model(tokens, call);
    std::vector<Tensor> hidden = taps.seen();
    if (hidden.back().defined()) hidden.back() = chunk(hidden.back(), 2, 2)[1];
    for (Tensor& x : hidden)  // without what fills the last chunk
      if (x.defined() && x.size(1) > tokens.size(1)) x = slice(x, 1, 0, tokens.size(1));
    c.check_hidden_states(hidden);
    c.check_output("logits", logits);
    const Tensor labels = c.input("labels");
    c.check_backward(model, labels.defined() ? model.loss(logits, labels) : Tensor(), {{"logits", logits}});
    // The buckets are a by-product of each layer; the model's own tape is not needed for them.
    const std::vector<Tensor> buckets = model.buckets(tokens, call);
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      const std::string name = "hash." + std::to_string(i) + ".buckets";
      const Tensor expected = c.tensor(name);
      if (!expected.defined()) continue;
      if (!buckets[i].defined() || buckets[i].numel() != expected.numel())
        c.fail("layer " + std::to_string(i) + " has no such buckets");
      else if (!all(eq(to(reshape(buckets[i], expected.shape()), int64), expected)))
        c.fail(name);
    }
  }
}

}  // namespace attune::tests
