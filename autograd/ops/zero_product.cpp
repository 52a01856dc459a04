#include "autograd/ops/internal/zero_product.h"

#include <limits>

#include "autograd/kernels/elementwise.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/dispatch.h"
#include "autograd/tape/modes.h"

namespace attune::detail {

bool has_non_finite(const Tensor& x) {
  const NoGrad off;
  const Tensor d = dense(x);
  bool found = false;
  with_floating(x.dtype(),
                [&]<class T>(T) { found = kernels::first_non_finite(elements<const T>(d), d.numel()) >= 0; });
  return found;
}

Tensor finite_where_weightless(const Tensor& x, const Tensor& weight) {
  if (!has_non_finite(x)) return x;
  const Tensor finite = lt(abs(x.detach()), std::numeric_limits<double>::infinity());
  return where(logical_and(eq(weight, 0), logical_not(finite)), 0, x);
}

Tensor unasked_rows(const Tensor& dy, const Tensors& xs) {
  const NoGrad off;
  for (const Tensor& x : xs)
    if (has_non_finite(x)) return eq(sum(to(ne(dy.detach(), 0), DType::int64), {-1}, true), 0);
  return {};
}

}  // namespace attune::detail
