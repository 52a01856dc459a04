// A case of T5: loss, logits, gradients, and the logits step by step.

#include <map>

#include "nn/nn.h"
#include "tests/reference/io.h"

namespace attune::tests {

using TensorMap = std::map<std::string, Tensor>;

void check_t5(const std::filesystem::path& dir, const TensorMap& t, CaseChecks& checks) {
  const auto input = [&](const std::string& name) {
    const auto at = t.find("input." + name);
    return at == t.end() ? Tensor() : at->second;
  };
  const auto required = [&](const std::string& name) {
    const auto at = t.find(name);
    if (at == t.end()) throw std::runtime_error("case.safetensors has no " + name);
    return at->second;
  };
  const auto hidden = [&](const std::string& mask) {
    return input(mask).defined() ? eq(input(mask), 0) : Tensor();  // 0 hides
  };
  nn::T5 model(nn::t5_config_from_file((dir / "config.json").string()));
  model.load_published((dir / "model.safetensors").string());
  model.eval();

  const Tensor source = required("input.input_ids"), given = input("decoder_input_ids"), labels = input("labels");
  if (!given.defined() && !labels.defined()) throw std::runtime_error("case.safetensors has nothing for the decoder");
  const Tensor tokens = given.defined() ? given : model.shift_right(labels);
  const nn::T5Call call{.key_padding_mask = hidden("attention_mask"),
                        .decoder_key_padding_mask = hidden("decoder_attention_mask")};
  const Tensor logits = model(source, tokens, call);
  // The rows at padding mean nothing.
  const auto at_tokens = [&](const Tensor& x) {
    return call.decoder_key_padding_mask.defined() ? where(unsqueeze(call.decoder_key_padding_mask, 2), 0, x.detach())
                                                   : x.detach();
  };
  if (labels.defined()) {
    const Tensor loss = model.loss(logits, labels);
    loss.backward();
    checks.check("loss", std::abs(loss.item() - required("output.loss").item()), 1e-5);
  }
  checks.check("logits", relative_difference(at_tokens(logits), at_tokens(required("output.logits")), 1), 1e-4);
  double all = 0;  // the norm of all gradients: one that is 0 is found as their rounding errors
  for (const auto& [name, value] : t)
    if (name.starts_with("grad.")) all = std::hypot(all, sqrt(sum(square(to(value, float64)))).item());
  if (all > 0)
    for (const auto& [name, parameter] : model.named_parameters()) {
      const auto expected = t.find("grad." + name);
      if (expected != t.end())
        checks.check("gradient of " + name, norm_difference(parameter.grad(), expected->second, 1e-3 * all), 1e-4);
      else if (parameter.grad().defined() && amax(abs(parameter.grad())).item() != 0)
        checks.fail("the case has no gradient for " + name);
    }
  if (call.decoder_key_padding_mask.defined()) return;
  nn::T5::State state = model.start(source, call.key_padding_mask);
  Tensors steps;
  for (std::int64_t i = 0; i < tokens.size(1); ++i) steps.push_back(model.step(slice(tokens, 1, i, i + 1), state));
  checks.check("logits step by step", relative_difference(stack(steps, 1), required("output.logits"), 1), 1e-4);
}

}  // namespace attune::tests
