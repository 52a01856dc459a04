#include "optim/clip.h"

#include <cmath>
#include <string>
#include <unordered_set>

#include "autograd/kernels/optimizer.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::optim {

namespace {

void check(const char* name, double limit, Here here) {
  if (!(limit > 0))
    throw ValueError(std::string(name) + ": the limit " + std::to_string(limit) + " must be positive", here);
}

/// The gradients of T's dtype, each dense.
template <class T>
std::vector<kernels::Piecewise<T>> gradients_of(const std::vector<Tensor>& gradients) {
  std::vector<kernels::Piecewise<T>> found;
  for (const Tensor& g : gradients)
    if (g.dtype() == dtype_of<T>) found.push_back({detail::elements<T>(g), g.numel()});
  return found;
}

}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, Here here) {
  check("clip_grad_norm", limit, here);
  const NoGrad off;
  // Gradients that are strided, or that a caller gave to several parameters, are scaled as copies.
  std::vector<Tensor> dense;
  std::vector<std::pair<Tensor, Tensor>> replaced;
  std::unordered_set<const void*> seen;
  for (const Tensor& p : parameters) {
    const Tensor g = p.grad();
    if (!g.defined() || !seen.insert(p.impl()).second) continue;
    Tensor own = contiguous(g.detach());
    if (own.same_storage(g) && !seen.insert(g.raw()).second) own = clone(own);
    if (!own.same_storage(g)) replaced.emplace_back(p, own);
    dense.push_back(own);
  }
  const auto singles = gradients_of<float>(dense);
  const auto doubles = gradients_of<double>(dense);
  const double norm = std::hypot(kernels::norm(singles), kernels::norm(doubles));
  if (!std::isfinite(norm) || norm <= limit) return norm;
  kernels::scale(singles, limit / norm);
  kernels::scale(doubles, limit / norm);
  for (const Tensor& g : dense) g.bump_version(here);
  for (auto& [p, g] : replaced) p.set_grad(g, here);
  return norm;
}

void clip_grad_value(const std::vector<Tensor>& parameters, double limit, Here here) {
  check("clip_grad_value", limit, here);
  const NoGrad off;
  for (Tensor p : parameters)
    if (p.grad().defined()) p.set_grad(clamp(p.grad().detach(), -limit, limit));
}

}  // namespace attune::optim
