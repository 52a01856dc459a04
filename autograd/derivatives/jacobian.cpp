#include "autograd/derivatives/jacobian.h"

#include "autograd/ops/create.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/modes.h"

namespace attune {

namespace {

/// x as a leaf of its own, or on its own tape if it has one.
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
