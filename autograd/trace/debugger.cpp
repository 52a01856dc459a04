// What gdb's printers (gdb/printers.py) call in a stopped program: text of tensors and nodes, whose insides a user's
// program does not know. Modules have theirs in nn/print.cpp. Each returns a text that stays until the next call by the
// same thread, and nothing throws.

#include <string>

#include "autograd/io/print.h"
#include "autograd/tape/tape.h"
#include "autograd/tape/tracing.h"
#include "autograd/tensor/named.h"

namespace attune {

namespace {

/// Longer ones are cut: a screen is what is looked at.
constexpr std::size_t most = 20'000;

template <class F>
const char* kept(F&& make) noexcept {
  thread_local std::string text;
  try {
    text = make();
    if (text.size() > most) text = text.substr(0, most) + "...";
    return text.c_str();
  } catch (...) {
    return "(no memory to show it)";
  }
}

std::string input_text(const Edge& e) {
  if (!e.node) return "-";
  const std::string name = name_of_output(*e.node, e.slot), slot = e.slot == 0 ? "" : "." + std::to_string(e.slot);
  return (name.empty() ? std::string(e.node->name()) : name) + slot + " " + e.node->output(e.slot).shape.str() +
         " (node " + std::to_string(e.node->sequence()) + ")";
}

std::string node_text(const Node& n) {
  const std::string name = name_of_output(n, 0);
  std::string s = "node " + std::to_string(n.sequence()) + ": " + n.name() + (name.empty() ? "" : " " + name);
  for (std::uint32_t o = 0; o < n.output_count(); ++o) s += (o ? ", " : " ") + n.output(o).shape.str();
  if (n.freed()) s += ", freed";
  if (const std::string rule = n.rule_text(); !rule.empty()) s += "\n  rule    " + rule;
  if (n.site().line != 0) s += "\n  line    " + n.site().str();
  for (std::size_t i = 0; i < n.edges().size(); ++i) s += (i ? ", " : "\n  inputs  ") + input_text(n.edges()[i]);
  return s;
}

}  // namespace

extern "C" {
// Declared here for the compiler's sake: their only callers are gdb's printers.
const char* attune_debugger_tensor(TensorImpl* impl);
const char* attune_debugger_node(Node* node);
const char* attune_debugger_tape(const Tape* tape);

const char* attune_debugger_tensor(TensorImpl* impl) {
  return kept([impl] {
    const Tensor x{Ref<TensorImpl>(impl)};
    const std::string name = tensor_name(x);
    return (name.empty() ? "" : name + " = ") + to_string(x);
  });
}

const char* attune_debugger_node(Node* node) {
  return kept([node] { return node ? node_text(*node) : std::string("no node"); });
}

const char* attune_debugger_tape(const Tape* tape) {
  return kept([tape] { return std::to_string(tape->size()) + " nodes\n" + tape->str(); });
}
}

}  // namespace attune
