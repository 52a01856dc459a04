#include "optim/parameters.h"

#include <regex>

#include "autograd/runtime/error.h"

namespace attune::optim {

Parameters::Parameters(std::vector<Tensor> parameters) : groups(1) { groups[0].parameters = std::move(parameters); }

Parameters::Parameters(const NamedTensors& parameters) : groups(1) {
  for (const auto& [name, value] : parameters) {
    groups[0].names.push_back(name);
    groups[0].parameters.push_back(value);
  }
}

NameTest::NameTest(const std::string& expression) : text_(expression) {
  try {
    test_ = [pattern = std::regex(expression)](const std::string& name, const Tensor&) {
      return std::regex_search(name, pattern);
    };
  } catch (const std::regex_error& e) {
    throw ValueError("groups_by_name: \"" + expression + "\" is no regular expression: " + e.what());
  }
}

std::vector<Group> groups_by_name(const NamedTensors& parameters, const std::vector<GroupRule>& rules, Here here) {
  std::vector<Group> groups;
  groups.reserve(rules.size() + 1);
  for (const GroupRule& rule : rules) groups.push_back({{}, rule.lr, rule.weight_decay, {}});
  groups.emplace_back();
  for (const auto& [name, value] : parameters) {
    std::size_t picked = 0;
    while (picked < rules.size() && !rules[picked].which(name, value)) ++picked;
    groups[picked].parameters.push_back(value);
    groups[picked].names.push_back(name);
  }
  for (std::size_t i = 0; i < rules.size(); ++i)
    if (groups[i].parameters.empty())
      throw ValueError("groups_by_name: rule " + std::to_string(i) +
                           (rules[i].which.str().empty() ? "" : " (\"" + rules[i].which.str() + "\")") +
                           " picks none of the parameters that are left",
                       here);
  if (groups.back().parameters.empty()) groups.pop_back();
  return groups;
}

}  // namespace attune::optim
