// A published model's reference case: its files, and the comparison of what the model computes with them, in the order
// in which it computes.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "nn/nn.h"
#include "tests/reference/io.h"

namespace attune::tests {

/// config.json, model.safetensors and case.safetensors of a folder. An input or output that nobody asks for fails the
/// case. Agreement asked for: loss 1e-5, other outputs 1e-4, each gradient 1e-4 relative to its own norm.
class ModelCase {
 public:
  explicit ModelCase(const std::filesystem::path& directory);

  std::string config_path() const { return (directory_ / "config.json").string(); }
  std::string weights_path() const { return (directory_ / "model.safetensors").string(); }
  /// A second run of the same case ("ordinary: ") begins.
  void begin(const std::string& how) { how_ = how; }

  /// input.<name>, undefined if it is not there.
  Tensor input(const std::string& name) { return tensor("input." + name); }
  /// Any tensor of the case, undefined if it is not there.
  Tensor tensor(const std::string& name);
  Tensor required(const std::string& name);
  /// input.<name> [b, n] as a mask in which true hides; undefined if there is none.
  Tensor padding(const std::string& name = "attention_mask");

  /// output.<name> against what the model gave. Rows at padding (that of the input `mask`), which mean nothing, are
  /// left out of [b, n, ...].
  void check_output(const std::string& name, const Tensor& got, const std::string& mask = "attention_mask");
  /// output.hidden_states.N, as far as they are given.
  void check_hidden_states(const std::vector<Tensor>& got, const std::string& name = "hidden_states",
                           const std::string& mask = "attention_mask");
  /// The loss, and the gradients of all parameters from the last to the first; without a loss in the case those of the
  /// outputs' cotangents, if it has them. `prefix` stands before the parameters' names in the module alone.
  void check_backward(const nn::Module& module, const Tensor& loss, const std::map<std::string, Tensor>& outputs,
                      const std::string& prefix = "");
  void fail(const std::string& what) { checks_.fail(how_ + what); }

  /// What failed, the first to diverge first; with what was not understood.
  const CaseChecks& finish();

 private:
  Tensor at_tokens(const Tensor& x, const std::string& mask);
  void check_gradients(const nn::Module& module, const std::string& prefix);

  std::filesystem::path directory_;
  std::map<std::string, Tensor> tensors_;
  std::set<std::string> read_;
  std::string how_;
  CaseChecks checks_;
};

/// What goes into modules at their first calls, detached: the hidden states of a model with hooks.
class Taps {
 public:
  explicit Taps(std::size_t count) : seen_(count) {}
  void input_of(nn::Module& module, std::size_t place);
  void output_of(nn::Module& module, std::size_t place);
  const std::vector<Tensor>& seen() const { return seen_; }

 private:
  std::vector<Tensor> seen_;
};

// A model each, by config.json's model_type.
void check_bert(ModelCase& c);
void check_bigbird(ModelCase& c);
void check_gpt2(ModelCase& c);
void check_longformer(ModelCase& c);
void check_reformer(ModelCase& c);
void check_t5(ModelCase& c);

}  // namespace attune::tests
