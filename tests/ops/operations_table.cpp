// Prints the table of operations for docs/operations.md: a line each, fields separated by tabs: family (the file of its
// row), name, shapes of a typical call, rule (of a composed operation: what it is made of).

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "tests/ops/all.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor typical_input(const OpRow& row, std::size_t i) {
  const Domain d = i < row.domains.size() ? row.domains[i] : Domain{};
  Generator g(i + 1);
  return (d.low + (d.high - d.low) * rand(row.shapes[0][i], float64, g)).requires_grad_();
}

std::string rule_of(const OpRow& row, const Tensors& ys) {
  std::vector<std::string> parts;
  for (const Tensor& y : ys) {
    const Tape tape = Tape::of(y);
    for (std::size_t i = 0; i < tape.size(); ++i) {
      const Node& node = tape[i];
      if (node.is_leaf()) continue;
      if (node.name() == row.name) return node.rule();
      if (std::find(parts.begin(), parts.end(), node.name()) == parts.end()) parts.push_back(node.name());
    }
  }
  std::string text = "made of";
  for (const std::string& part : parts) text += (text == "made of" ? " " : ", ") + part;
  return parts.empty() ? "none: off the tape" : text;
}

/// "attention/lsh_attention" of ".../tests/ops/attention/lsh_attention.h".
std::string family_of(const OpRow& row) {
  const std::string_view file = row.file, folder = "tests/ops/";
  const std::string_view family = file.substr(file.rfind(folder) + folder.size());
  return std::string(family.substr(0, family.rfind(".h")));
}

}  // namespace

int main() {
  for (const OpRow& row : all_rows()) {
    Tensors xs;
    for (std::size_t i = 0; i < row.shapes[0].size(); ++i) xs.push_back(typical_input(row, i));
    const Tensors ys = row.call(xs);
    std::string shapes;
    for (const Tensor& x : xs) shapes += (shapes.empty() ? "" : ", ") + x.shape().str();
    shapes += " to " + ys[0].shape().str();
    Tensors recorded;
    for (const Tensor& y : ys)
      if (y.requires_grad()) recorded.push_back(y);
    std::printf("%s\t%s\t%s\t%s\n", family_of(row).c_str(), row.name.c_str(), shapes.c_str(),
                rule_of(row, recorded).c_str());
  }
}
