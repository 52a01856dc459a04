#include "autograd/trace/internal/replayed_node.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/operators.h"
#include "autograd/ops/random.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/modes.h"

namespace attune::differences {

namespace {

void put(const Tensor& x, std::size_t e, double v) {
  if (x.dtype() == float64)
    static_cast<double*>(x.unsafe_data())[e] = v;
  else
    static_cast<float*>(x.unsafe_data())[e] = static_cast<float>(v);
}

}  // namespace

Replayed::Replayed(const Node& node, const Precision& p, std::uint64_t seed) : trace_(*node.trace()), precision(p) {
  for (const Tensor& x : trace_.inputs) {
    const bool moves = x.defined() && is_floating(x.dtype());
    inputs_.push_back(moves ? to(clone(x), p.dtype) : x);
  }
  const EnableGrad on;
  Tensors args = inputs_, leaves, outputs, cotangents;
  for (std::size_t i = 0; i < node.edges().size(); ++i)
    if (node.edges()[i].node && args[i].defined() && is_floating(args[i].dtype())) {
      args[i] = args[i].detach().requires_grad_();
      leaves.push_back(args[i]);
      moving.push_back(i);
    }
  Generator random(seed + 1);
  bool blind = false;
  for (const Tensor& y : trace_.replay(args)) {
    cotangents_.emplace_back();
    if (!y.defined() || !y.requires_grad()) continue;
    outputs.push_back(y);
    // Where an output is not finite there is no derivative to compare.
    const Tensor everywhere = randn(y.shape(), y.dtype(), random);
    const Tensor finite = abs(y.detach()) < INFINITY;
    cotangents.push_back(where(finite, everywhere, 0.0));
    blind |= !all(finite);
    cotangents_.back() = cotangents.back().to_vector<double>();
  }
  if (outputs.empty()) return;
  recorded = true;
  for (const Tensor& g : grad(outputs, leaves, {.cotangents = cotangents, .allow_unused = true}))
    slopes.push_back(g.defined() ? g.to_vector<double>() : Values());
  if (blind)
    for (Values& of_input : slopes)
      for (double& s : of_input) s = std::isnan(s) ? 0 : s;
  for (std::size_t i = 0; i < moving.size(); ++i) {
    values.push_back(inputs_[moving[i]].to_vector<double>());
    slopes[i].resize(values[i].size(), 0.0);
  }
  here_ = run();
}

Replayed::Change Replayed::between(const std::vector<Values>& a, const std::vector<Values>& b) const {
  Change c{0, 0};
  for (std::size_t o = 0; o < a.size(); ++o)
    for (std::size_t j = 0; j < cotangents_[o].size(); ++j) {
      if (a[o][j] == b[o][j] || (std::isnan(a[o][j]) && std::isnan(b[o][j]))) continue;
      c.value += (b[o][j] - a[o][j]) * cotangents_[o][j];
      c.noise += precision.epsilon * std::abs(cotangents_[o][j]) * std::max(std::abs(a[o][j]), std::abs(b[o][j]));
    }
  return c;
}

std::vector<Values> Replayed::moved(std::size_t which, const Direction& direction, double h) {
  const Tensor& x = inputs_[moving[which]];
  for (const auto& [e, length] : direction) put(x, e, values[which][e] + h * length);
  std::vector<Values> result = run();
  for (const auto& [e, length] : direction) put(x, e, values[which][e]);
  return result;
}

double Replayed::sole_cotangent(const std::vector<Values>& a, const std::vector<Values>& b) const {
  double sole = 1;
  std::size_t count = 0;
  for (std::size_t o = 0; o < a.size(); ++o)
    for (std::size_t j = 0; j < cotangents_[o].size(); ++j)
      if (a[o][j] != b[o][j]) sole = cotangents_[o][j], ++count;
  return count == 1 ? sole : 1;
}

double Replayed::rounding(double size) const {
  double sum = 0, most = 0;
  for (std::size_t o = 0; o < here_.size(); ++o)
    for (std::size_t j = 0; j < cotangents_[o].size(); ++j) {
      if (std::isfinite(here_[o][j])) sum += std::abs(cotangents_[o][j] * here_[o][j]);
      most = std::max(most, std::abs(cotangents_[o][j]));
    }
  return precision.epsilon * (16 * sum / size + 8 * most);
}

std::vector<Values> Replayed::run() const {
  const NoGrad off;
  std::vector<Values> result;
  for (const Tensor& y : trace_.replay(inputs_)) {
    result.emplace_back();
    if (!cotangents_[result.size() - 1].empty()) result.back() = y.to_vector<double>();
  }
  return result;
}

}  // namespace attune::differences
