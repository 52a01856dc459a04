#include "autograd/trace/graph_walk.h"

#include <algorithm>

namespace attune {

Graph::Graph(const Tape& tape) {
  const std::size_t n = tape.size();
  sequences_.reserve(n);
  for (std::size_t i = 0; i < n; ++i) sequences_.push_back(tape[i].sequence());
  first_input_.assign(n + 1, 0);
  first_use_.assign(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (const Edge& e : tape[i].edges()) {
      const std::size_t at = e.node ? position(e.node->sequence()) : n;
      inputs_.push_back(static_cast<std::uint32_t>(at));
      if (at < n) ++first_use_[at + 1];
    }
    first_input_[i + 1] = static_cast<std::uint32_t>(inputs_.size());
  }
  for (std::size_t i = 0; i < n; ++i) first_use_[i + 1] += first_use_[i];
  uses_.resize(first_use_[n]);
  std::vector<std::uint32_t> next(first_use_.begin(), first_use_.end() - 1);
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t input = 0;
    for (const Edge& e : tape[i].edges()) {
      const std::uint32_t at = inputs_[first_input_[i] + input];
      if (at < n) uses_[next[at]++] = {static_cast<std::uint32_t>(i), input, e.slot};
      ++input;
    }
  }
}

std::size_t Graph::position(std::uint64_t sequence) const {
  const auto at = std::lower_bound(sequences_.begin(), sequences_.end(), sequence);
  return at != sequences_.end() && *at == sequence ? static_cast<std::size_t>(at - sequences_.begin()) : size();
}

std::size_t Graph::fan_out(std::size_t position, std::uint32_t slot) const {
  const auto all = users(position);
  return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [=](const Use& u) { return u.slot == slot; }));
}

std::vector<std::size_t> Graph::between(std::size_t a, std::size_t b) const {
  std::vector<std::size_t> nodes;
  if (a > b) return nodes;
  // Execution order is a topological order, so one pass up marks what depends on a, and one down what b depends on.
  std::vector<bool> after(b - a + 1), before(b - a + 1);
  after[0] = true;
  for (std::size_t i = a + 1; i <= b; ++i)
    for (std::uint32_t in : inputs(i))
      if (in >= a && in < i && after[in - a]) after[i - a] = true;
  if (!after[b - a]) return nodes;
  before[b - a] = true;
  for (std::size_t i = b + 1; i-- > a;) {
    if (!before[i - a] || !after[i - a]) continue;
    nodes.push_back(i);
    for (std::uint32_t in : inputs(i))
      if (in >= a && in < i) before[in - a] = true;
  }
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace attune
