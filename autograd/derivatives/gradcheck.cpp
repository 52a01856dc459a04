#include "autograd/derivatives/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/random.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/philox.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/node.h"

namespace attune {

namespace {

/// Dense leaves with the values of `inputs`; those that asked for a gradient ask again.
Tensors fresh_leaves(const Tensors& inputs) {
  Tensors leaves;
  for (const Tensor& x : inputs) leaves.push_back(x.defined() ? x.detach().requires_grad_(x.requires_grad()) : x);
  return leaves;
}

/// <f(inputs), cotangents> over the floating outputs, in a fixed order. f may ask for gradients itself, and so finds
/// the same leaves and the same tape as in the analytic pass.
double projected(const Function& f, const Tensors& inputs, const Tensors& cotangents) {
  const Tensors ys = f(fresh_leaves(inputs));
  const NoGrad off;
  double total = 0;
  for (std::size_t i = 0; i < ys.size(); ++i)
    if (cotangents[i].defined()) total += sum(ys[i] * cotangents[i]).item();
  return total;
}

std::string name_of_input(const GradcheckOptions& options, std::size_t i) {
  return i < options.names.size() ? options.names[i] : "input " + std::to_string(i);
}

std::string number(double v) {
  char s[32];
  std::snprintf(s, sizeof s, "%.10g", v);
  return s;
}

}  // namespace

std::string gradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options, Here here) {
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].defined() && inputs[i].requires_grad() && inputs[i].dtype() != DType::float64)
      throw DTypeError("gradcheck: input " + std::to_string(i) + " must be float64, not " + name_of(inputs[i].dtype()),
                       here);
  Generator random(options.seed);
  const Tensors leaves = fresh_leaves(inputs);
  const EnableGrad on;
  const Tensors ys = f(leaves);
  Tensors outputs, cotangents, all_cotangents;
  std::string site;
  for (const Tensor& y : ys) {
    all_cotangents.emplace_back();
    if (!y.defined() || !is_floating(y.dtype())) continue;
    all_cotangents.back() = randn(y.shape(), y.dtype(), random);
    if (!y.requires_grad()) continue;
    if (site.empty())
      site = std::string(y.node()->name()) + (y.node()->site().line ? " at " + y.node()->site().str() : "");
    outputs.push_back(y);
    cotangents.push_back(all_cotangents.back());
  }
  Tensors wanted;
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < leaves.size(); ++i)
    if (leaves[i].defined() && leaves[i].requires_grad()) {
      wanted.push_back(leaves[i]);
      which.push_back(i);
    }
  Tensors analytic(wanted.size());
  if (!outputs.empty()) analytic = grad(outputs, wanted, {.cotangents = cotangents, .allow_unused = true}, here);

  for (std::size_t w = 0; w < wanted.size(); ++w) {
    const Tensor base = inputs[which[w]].detach();
    const std::vector<double> values = base.to_vector<double>();
    const std::vector<double> slopes =
        analytic[w].defined() ? analytic[w].to_vector<double>() : std::vector<double>(values.size(), 0.0);
    for (std::size_t e = 0; e < values.size(); ++e) {
      const double h = options.step * std::max(1.0, std::abs(values[e]));
      const auto at = [&](double v) {
        std::vector<double> moved = values;
        moved[e] = v;
        Tensors args = inputs;
        args[which[w]] = tensor(moved, base.shape(), DType::float64).requires_grad_();
        return projected(f, args, all_cotangents);
      };
      const double numeric = (at(values[e] + h) - at(values[e] - h)) / (2 * h);
      const double tolerance = options.atol + options.rtol * std::abs(numeric);
      if (!(std::abs(numeric - slopes[e]) <= tolerance))
        return "gradcheck: " + name_of_input(options, which[w]) + " " + base.shape().str() + ", element " +
               std::to_string(e) + ": the gradient is " + number(slopes[e]) + ", finite differences give " +
               number(numeric) + " (" + (site.empty() ? "no output requires a gradient" : site) + ")";
    }
  }
  if (!options.second_order) return "";
  GradcheckOptions first = options;
  first.second_order = false;
  return gradgradcheck(f, inputs, first, here);
}

std::string gradgradcheck(const Function& f, const Tensors& inputs, const GradcheckOptions& options, Here here) {
  GradcheckOptions once = options;
  once.second_order = false;
  // The gradients as a function of the inputs and of the cotangents; first one forward pass to know the outputs.
  Tensors arguments = fresh_leaves(inputs);
  std::vector<bool> differentiable;
  Generator random(options.seed + 1);
  const EnableGrad on;
  for (const Tensor& y : f(arguments)) {
    differentiable.push_back(y.defined() && y.requires_grad());
    if (differentiable.back()) arguments.push_back(randn(y.shape(), y.dtype(), random).requires_grad_());
  }
  const std::size_t n = inputs.size();
  const Function gradients = [&, n](const Tensors& args) {
    const Tensors xs(args.begin(), args.begin() + static_cast<std::ptrdiff_t>(n));
    const Tensors ys = f(xs);
    Tensors outputs, cotangents, wanted;
    for (std::size_t i = 0, at = n; i < ys.size(); ++i)
      if (differentiable[i]) {
        outputs.push_back(ys[i]);
        cotangents.push_back(args[at++]);
      }
    for (const Tensor& x : xs)
      if (x.defined() && x.requires_grad()) wanted.push_back(x);
    if (outputs.empty()) return Tensors{};
    Tensors result;
    for (const Tensor& g :
         grad(outputs, wanted, {.cotangents = cotangents, .create_graph = true, .allow_unused = true}, here))
      if (g.defined()) result.push_back(g);
    return result;
  };
  const std::string failure = gradcheck(gradients, arguments, once, here);
  return failure.empty() ? "" : "second order, " + failure;
}

}  // namespace attune
