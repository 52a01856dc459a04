// What an optimiser takes: parameters, and their names.
#pragma once

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::optim {

/// As Module::named_parameters() gives them.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Parameters that share settings; what is not set here is as the optimiser's options say.
struct Group {
  std::vector<Tensor> parameters;
  std::optional<double> lr{};
  std::optional<double> weight_decay{};
  std::vector<std::string> names{};  ///< one a parameter; default: those that their module gives them
};

/// An optimiser's first argument: tensors, names with tensors, or groups. A parameter's state is kept and loaded under
/// its name: the given one, or else its path from the root of the module that registered it, "encoder.0.weight"; a
/// tensor of no module goes by its number in the list. Of equal names the second is "weight#2".
class Parameters {
 public:
  Parameters(std::vector<Tensor> parameters);
  Parameters(std::initializer_list<Tensor> parameters) : Parameters(std::vector<Tensor>(parameters)) {}
  Parameters(const NamedTensors& parameters);
  Parameters(std::initializer_list<std::pair<std::string, Tensor>> parameters) : Parameters(NamedTensors(parameters)) {}
  Parameters(std::vector<Group> parameter_groups) : groups(std::move(parameter_groups)) {}
  Parameters(std::initializer_list<Group> parameter_groups) : groups(parameter_groups) {}

  std::vector<Group> groups;
};

/// Which parameters a rule is about: those in whose name a regular expression (ECMAScript) is found, "bias$|norm", or
/// those for which a function says so.
class NameTest {
 public:
  NameTest(const char* expression) : NameTest(std::string(expression)) {}
  NameTest(const std::string& expression);  ///< Throws ValueError for one that is malformed.
  template <class F>
  requires std::is_invocable_r_v<bool, F, const std::string&, const Tensor&> NameTest(F test)
      : test_(std::move(test)) {}
  bool operator()(const std::string& name, const Tensor& parameter) const { return test_(name, parameter); }
  const std::string& str() const { return text_; }  ///< the expression; "" of a function

 private:
  std::function<bool(const std::string&, const Tensor&)> test_;
  std::string text_;
};

/// What holds for the parameters that a test picks.
struct GroupRule {
  NameTest which;
  std::optional<double> lr{};
  std::optional<double> weight_decay{};
};

/// A group for each rule, with the parameters that it is the first to pick, and one for the rest, if there is any:
///
///     optim::AdamW opt(optim::groups_by_name(model.named_parameters(),
///                                            {{.which = "bias$|norm", .weight_decay = 0.0}}),
///                      {.lr = 3e-4, .weight_decay = 0.1});
///
/// Throws ValueError for a rule that picks nothing.
std::vector<Group> groups_by_name(const NamedTensors& parameters, const std::vector<GroupRule>& rules,
                                  Here here = Here::current());

namespace detail {

/// Takes what is no set of options, so that the compiler's message begins with the name of the option that is wrong.
template <class Options>
struct NotAnOption {
  template <class T>
  NotAnOption(const T&) {}
};
template <class Options, std::size_t n>
Options not_options() {
  static_assert(n == 0, "there is no such option, or its value has another type: see the struct of the options");
  return {};
}

}  // namespace detail

}  // namespace attune::optim
