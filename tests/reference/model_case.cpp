#include "tests/reference/model_case.h"

#include <algorithm>

namespace attune::tests {

ModelCase::ModelCase(const std::filesystem::path& directory)
    : directory_(directory), tensors_(load_safetensors((directory / "case.safetensors").string()).tensors) {}

Tensor ModelCase::tensor(const std::string& name) {
  read_.insert(name);
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? Tensor() : at->second;
}

Tensor ModelCase::required(const std::string& name) {
  const Tensor x = tensor(name);
  if (!x.defined()) throw std::runtime_error("case.safetensors has no " + name);
  return x;
}

Tensor ModelCase::padding(const std::string& name) {
  const Tensor mask = input(name);
  if (!mask.defined()) return {};
  if (mask.rank() != 2) throw std::runtime_error("input." + name + " " + mask.shape().str() + " is not [b, n]");
  return eq(mask, 0);
}

Tensor ModelCase::at_tokens(const Tensor& x, const std::string& mask) {
  const Tensor hidden = padding(mask);
  if (!hidden.defined() || x.rank() != 3 || x.size(0) != hidden.size(0) || x.size(1) != hidden.size(1)) return x;
  return where(unsqueeze(hidden, 2), 0, x.detach());
}

void ModelCase::check_output(const std::string& name, const Tensor& got, const std::string& mask) {
  const Tensor expected = tensor("output." + name);
  if (!expected.defined()) return;
  const std::string what = how_ + "output." + name;
  if (!got.defined() || got.shape() != expected.shape())
    checks_.fail(what + " is " + (got.defined() ? got.shape().str() : "not there") + ", not " + expected.shape().str());
  else
    checks_.check(what, relative_difference(at_tokens(got, mask), at_tokens(expected, mask), 1), 1e-4);
}

void ModelCase::check_hidden_states(const std::vector<Tensor>& got, const std::string& name, const std::string& mask) {
  for (std::size_t i = 0; i < got.size(); ++i) check_output(name + "." + std::to_string(i), got[i], mask);
}

void ModelCase::check_backward(const nn::Module& module, const Tensor& loss,
                               const std::map<std::string, Tensor>& outputs, const std::string& prefix) {
  Tensor pulled;
  if (const Tensor expected = tensor("output.loss"); expected.defined()) {
    if (!loss.defined()) throw std::runtime_error("there is an output.loss, but no labels");
    checks_.check(how_ + "output.loss", std::abs(loss.item() - expected.item()), 1e-5);
    pulled = loss;
  } else {
    for (const auto& [name, output] : outputs) {
      const Tensor cotangent = tensor("cotangent." + name);
      if (!cotangent.defined()) continue;
      const Tensor part = sum(output * cotangent);
      pulled = pulled.defined() ? pulled + part : part;
    }
  }
  if (!pulled.defined()) return;
  pulled.backward();
  check_gradients(module, prefix);
}

void ModelCase::check_gradients(const nn::Module& module, const std::string& prefix) {
  double all = 0, largest = 0;  // norms; of a gradient that is 0 there are rounding errors of them
  for (const auto& [name, value] : tensors_) {
    if (!name.starts_with("grad.")) continue;
    const double norm = sqrt(sum(square(to(value, float64)))).item();
    all = std::hypot(all, norm);
    largest = std::max(largest, norm);
  }
  auto parameters = module.named_parameters();
  std::reverse(parameters.begin(), parameters.end());
  for (const auto& [path, parameter] : parameters) {
    const std::string name = "grad." + (path.starts_with(prefix) ? path.substr(prefix.size()) : path);
    const Tensor expected = tensor(name), got = parameter.grad();
    if (!expected.defined()) {  // of a weight that is not reached
      if (got.defined() && largest_element(got) > 0) checks_.fail(how_ + name + " is not in the case");
    } else if ((name.ends_with("key.bias") || name.ends_with("key_global.bias")) && got.defined() &&
               got.shape() == expected.shape()) {
      // A constant to a softmax: rounding errors.
      checks_.check(how_ + name, sqrt(sum(square(to(got - expected, float64)))).item() / largest, 1e-4);
    } else {
      checks_.check(how_ + name, norm_difference(got, expected, 1e-3 * all), 1e-4);
    }
  }
}

const CaseChecks& ModelCase::finish() {
  for (const auto& entry : tensors_)
    if (!read_.contains(entry.first)) checks_.fail(entry.first + " of the case is not understood");
  return checks_;
}

void Taps::input_of(nn::Module& module, std::size_t place) {
  module.register_forward_pre_hook([this, place](const nn::Module&, Tensors& inputs) {
    if (!seen_[place].defined()) seen_[place] = inputs[0].detach();
  });
}

void Taps::output_of(nn::Module& module, std::size_t place) {
  module.register_forward_hook([this, place](const nn::Module&, const Tensors&, Tensors& outputs) {
    if (!seen_[place].defined()) seen_[place] = outputs[0].detach();
  });
}

}  // namespace attune::tests
