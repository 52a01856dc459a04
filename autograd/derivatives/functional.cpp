#include "autograd/derivatives/functional.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
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

/// <f(inputs), cotangents> over the floating outputs, in a fixed order.
double projected(const Function& f, const Tensors& inputs, const Tensors& cotangents) {
  const NoGrad off;
  const Tensors ys = f(inputs);
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
        Tensors args;
        for (const Tensor& x : inputs) args.push_back(x.defined() ? x.detach() : x);
        args[which[w]] = tensor(moved, base.shape(), DType::float64);
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
    const bool record = grad_enabled();
    const EnableGrad inner;
    Tensors xs(args.begin(), args.begin() + static_cast<std::ptrdiff_t>(n));
    if (!record)
      for (std::size_t i = 0; i < n; ++i)
        if (inputs[i].defined() && inputs[i].requires_grad()) xs[i] = xs[i].detach().requires_grad_();
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
         grad(outputs, wanted, {.cotangents = cotangents, .create_graph = record, .allow_unused = true}, here))
      if (g.defined()) result.push_back(g);
    return result;
  };
  const std::string failure = gradcheck(gradients, arguments, once, here);
  return failure.empty() ? "" : "second order, " + failure;
}

Tensors jvp(const Function& f, const Tensors& inputs, const Tensors& tangents, Here here) {
  if (inputs.size() != tangents.size())
    throw ValueError(
        "jvp: " + std::to_string(tangents.size()) + " tangents for " + std::to_string(inputs.size()) + " inputs", here);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor &x = inputs[i], &v = tangents[i];
    if (!x.defined()) throw ValueError("jvp: input " + std::to_string(i) + " is undefined", here);
    if (!is_floating(x.dtype()) || (v.defined() && v.shape() == x.shape() && v.dtype() == x.dtype())) continue;
    throw ShapeError("jvp: tangent " + std::to_string(i) + " " +
                         (v.defined() ? v.shape().str() + " " + name_of(v.dtype()) : std::string("is undefined and")) +
                         " does not fit input " + std::to_string(i) + " " + x.shape().str() + " " + name_of(x.dtype()),
                     here);
  }
  // The reverse sweep is linear in its cotangents u: differentiating <J^T u, v> with respect to u gives J v.
  const EnableGrad on;
  Tensors xs;
  for (const Tensor& x : inputs) xs.push_back(x.detach().requires_grad_(is_floating(x.dtype())));
  const Tensors ys = f(xs);
  Tensors outputs, us, result(ys.size());
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < ys.size(); ++i) {
    if (!ys[i].defined() || !is_floating(ys[i].dtype())) continue;
    result[i] = zeros_like(ys[i]);
    if (!ys[i].requires_grad()) continue;
    outputs.push_back(ys[i]);
    us.push_back(zeros_like(ys[i]).requires_grad_());
    which.push_back(i);
  }
  if (outputs.empty()) return result;
  Tensors wanted, directions;
  for (std::size_t i = 0; i < xs.size(); ++i)
    if (xs[i].requires_grad()) {
      wanted.push_back(xs[i]);
      directions.push_back(tangents[i]);
    }
  const Tensors gradients = grad(outputs, wanted, {.cotangents = us, .create_graph = true, .allow_unused = true}, here);
  Tensors on_tape, along;
  for (std::size_t i = 0; i < gradients.size(); ++i)
    if (gradients[i].defined() && gradients[i].requires_grad()) {
      on_tape.push_back(gradients[i]);
      along.push_back(directions[i]);
    }
  if (on_tape.empty()) return result;
  const Tensors tangent_ys = grad(on_tape, us, {.cotangents = along, .allow_unused = true}, here);
  for (std::size_t i = 0; i < which.size(); ++i)
    if (tangent_ys[i].defined()) result[which[i]] = tangent_ys[i];
  return result;
}

namespace {

/// x as a leaf of its own, or on its own tape where it has one.
Tensor variable(const Tensor& x, const char* name, Here here) {
  if (!x.defined() || !is_floating(x.dtype()))
    throw DTypeError(std::string(name) + ": needs float32 or float64, got " +
                         (x.defined() ? name_of(x.dtype()) + (" " + x.shape().str()) : std::string("nothing")),
                     here);
  return x.requires_grad() ? x : x.detach().requires_grad_();
}

/// The gradient of f's one element at x, on the tape.
Tensor recorded_gradient(const TensorFunction& f, const Tensor& x, const char* name, Here here) {
  const Tensor y = f(x);
  if (y.numel() != 1)
    throw ShapeError(std::string(name) + ": the function's value must have one element, got " + y.shape().str(), here);
  if (!y.requires_grad()) return zeros_like(x);
  const Tensor g = grad({y}, {x}, {.create_graph = true, .allow_unused = true}, here)[0];
  return g.defined() ? g : zeros_like(x);
}

}  // namespace

Tensor jacobian(const TensorFunction& f, const Tensor& at, Here here) {
  const EnableGrad on;
  const Tensor x = variable(at, "jacobian", here), y = f(x);
  Tensors rows;
  if (y.requires_grad()) {
    const Tensor flat = reshape(y, {-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      const Tensor row =
          grad({select(flat, 0, i)}, {x},
               {.retain_graph = true, .create_graph = at.requires_grad(), .allow_unused = true}, here)[0];
      rows.push_back(row.defined() ? row : zeros_like(x));
    }
  }
  Shape shape = y.shape();
  for (std::int64_t n : x.shape()) shape.push_back(n);
  return rows.empty() ? zeros(shape, x.dtype()) : reshape(stack(rows), shape);
}

Tensor hessian(const TensorFunction& f, const Tensor& x, Here here) {
  variable(x, "hessian", here);
  return jacobian([&](const Tensor& in) { return recorded_gradient(f, in, "hessian", here); }, x, here);
}

Tensor hvp(const TensorFunction& f, const Tensor& at, const Tensor& v, Here here) {
  const EnableGrad on;
  const Tensor x = variable(at, "hvp", here);
  if (!v.defined() || v.shape() != x.shape())
    throw ShapeError("hvp: the vector " + (v.defined() ? v.shape().str() : std::string("nothing")) +
                         " differs from x " + x.shape().str(),
                     here);
  const Tensor g = recorded_gradient(f, x, "hvp", here);
  if (!g.requires_grad()) return zeros_like(x);
  const Tensor product =
      grad({g}, {x}, {.cotangents = {v}, .create_graph = at.requires_grad(), .allow_unused = true}, here)[0];
  return product.defined() ? product : zeros_like(x);
}

}  // namespace attune
