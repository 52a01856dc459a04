#include "autograd/ops/scan.h"

#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"

namespace attune {

ScanResult scan(const ScanStep& step, const Tensors& init, const Tensors& xs, bool reverse, Here here) {
  const Op op{"scan", here};
  if (xs.empty()) op.fail_value("needs at least one input");
  std::vector<Tensors> inputs;  // of each argument, by step
  for (const Tensor& x : xs) {
    op.check_defined(x);
    if (x.rank() == 0) op.fail_shape("an input of rank 0 has no steps");
    if (x.size(0) != xs[0].size(0))
      op.fail_shape("the inputs " + xs[0].shape().str() + " and " + x.shape().str() + " differ in their steps");
    inputs.push_back(unbind(x, 0));
  }
  const std::size_t steps = inputs[0].size();
  Tensors state = init;
  std::vector<Tensors> ys;  // of each output, by step
  for (std::size_t i = 0; i < steps; ++i) {
    const std::size_t t = reverse ? steps - 1 - i : i;
    Tensors now;
    for (const Tensors& x : inputs) now.push_back(x[t]);
    ScanResult next = step(state, now);
    if (i == 0) ys.assign(next.ys.size(), Tensors(steps));
    if (next.state.size() != init.size() || next.ys.size() != ys.size())
      op.fail_value("step " + std::to_string(t) + " gave " + std::to_string(next.state.size()) + " states and " +
                    std::to_string(next.ys.size()) + " outputs, not " + std::to_string(init.size()) + " and " +
                    std::to_string(ys.size()));
    state = std::move(next.state);
    for (std::size_t k = 0; k < ys.size(); ++k) ys[k][t] = std::move(next.ys[k]);
  }
  ScanResult out{std::move(state), {}};
  for (const Tensors& y : ys) out.ys.push_back(stack(y));
  return out;
}

}  // namespace attune
