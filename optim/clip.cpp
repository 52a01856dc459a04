#include "optim/clip.h"

#include <cmath>
#include <string>
#include <unordered_set>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tensor/named.h"
#include "optim/internal/gradients.h"

namespace attune::optim {

namespace {

void check(const char* name, double limit, Here here) {
  if (!(limit > 0))
    throw ValueError(std::string(name) + ": the limit " + std::to_string(limit) + " must be positive", here);
}

}  // namespace

double clip_grad_norm(const std::vector<Tensor>& parameters, double limit, const ClipNormOptions& options, Here here) {
  check("clip_grad_norm", limit, here);
  const NoGrad off;
  // Gradients that are strided, or that a caller gave to several parameters, are scaled as copies.
  std::vector<Tensor> dense, owners;
  std::vector<std::pair<Tensor, Tensor>> replaced;
  std::unordered_set<const void*> seen;
  for (const Tensor& p : parameters) {
    const Tensor g = p.grad();
    if (!g.defined() || !seen.insert(p.impl()).second) continue;
    Tensor own = contiguous(g.detach());
    if (own.same_storage(g) && !seen.insert(g.raw()).second) own = clone(own);
    if (!own.same_storage(g)) replaced.emplace_back(p, own);
    dense.push_back(own);
    owners.push_back(p);
  }
  const auto singles = detail::pieces_of<float>(dense);
  const auto doubles = detail::pieces_of<double>(dense);
  const double norm = std::hypot(kernels::norm(singles), kernels::norm(doubles));
  if (!std::isfinite(norm) && options.error_if_nonfinite) {
    const std::size_t at = detail::first_nonfinite(dense);
    throw ValueError(
        "clip_grad_norm: the norm is " + std::to_string(norm) +
            (at == dense.size() ? ""
                                : ": in the gradient of " + detail::described(tensor_name(owners[at]), owners[at]) +
                                      " " + detail::first_nonfinite_element(dense[at])),
        here);
  }
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
