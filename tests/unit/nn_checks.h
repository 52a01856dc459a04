// What tests of modules share.
#pragma once

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {

/// gradcheck of a module's call in its inputs and in all of its parameters, which become float64. "" if all agree.
inline std::string check_gradients(nn::Module& m, const Function& f, Tensors inputs, bool second_order = true) {
  m.to(float64);
  const auto count = static_cast<std::ptrdiff_t>(inputs.size());
  for (const Tensor& p : m.parameters()) inputs.push_back(p);
  return gradcheck(
      [&](const Tensors& all) {
        const Tensors xs(all.begin(), all.begin() + count), values(all.begin() + count, all.end());
        return m.with_parameters(values, [&] { return f(xs); });
      },
      inputs, {.second_order = second_order});
}

/// Normal float64 values, the same ones for a seed.
inline Tensor normal(const Shape& shape, std::uint64_t seed = 1) {
  Generator g(seed);
  return randn(shape, float64, g);
}
/// The same as a leaf that requires a gradient.
inline Tensor normal_leaf(const Shape& shape, std::uint64_t seed = 1) { return normal(shape, seed).requires_grad_(); }

/// Gives every parameter normal values in float64: fresh ones and zeros, of norms and biases, would hide mistakes.
inline void randomize(nn::Module& m) {
  m.to(float64);
  std::uint64_t seed = 70;
  for (Tensor& p : m.parameters()) {
    const NoGrad off;
    copy_(p, 0.5 * normal(p.shape(), seed++));
  }
}

/// A bool tensor of zeros and ones.
inline Tensor flags(const Values& v, const Shape& shape) { return to(tensor(v, shape, int64), boolean); }

}  // namespace attune::tests
