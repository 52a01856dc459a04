#include "autograd/ops/surrogate.h"

#include "autograd/ops/elementwise.h"
#include "autograd/tape/op.h"

namespace attune {

Tensor straight_through(const Tensor& hard, const Tensor& soft, Here here) {
  const Op op{"straight_through", here};
  op.check_floating(hard);
  op.check_same_dtype(hard, soft);
  if (hard.shape() != soft.shape())
    op.fail_shape("shapes differ: " + hard.shape().str() + " and " + soft.shape().str());
  return op.record(
      hard.detach(), of<straight_through>(hard, soft), "dhard = 0, dsoft = dy", [](const Tensor&) { return Tensor(); },
      [](const Tensor& dy) { return dy; });
}

Tensor gradient_reversal(const Tensor& x, double scale, Here here) {
  const Op op{"gradient_reversal", here};
  op.check_floating(x);
  return op.record(x.detach(), of<gradient_reversal>(x, scale), "dx = -scale dy",
                   [scale](const Tensor& dy) { return -scale * dy; });
}

}  // namespace attune
