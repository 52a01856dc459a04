#include "autograd/ops/loss.h"

#include "autograd/kernels/rows.h"
#include "autograd/ops/apply.h"
#include "autograd/ops/composed.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/index.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"

namespace attune {

using detail::elements;
using detail::with_floating;

namespace {

Tensor dense(const Tensor& x) {
  const NoGrad off;
  return contiguous(x.detach());
}

const std::int64_t* indices(const Tensor& t) { return static_cast<const std::int64_t*>(t.raw()); }

/// The loss of each row by its definition: logits [rows, classes], target [rows].
Tensor cross_entropy_rows_composed(const Tensor& x, const Tensor& target, std::int64_t ignore, double smoothing,
                                   Here here) {
  const Op op{"cross_entropy_rows_composed", here};
  const Tensor ignored = eq(target, static_cast<double>(ignore));
  const Tensor at = unsqueeze(where(ignored, 0, target), 1);
  const Tensor logs = log_softmax(x, 1);
  Tensor loss = -squeeze(gather(logs, 1, at), 1);
  if (smoothing != 0) loss = (1 - smoothing) * loss - smoothing * mean(logs, {1});
  return where(ignored, 0, loss);
}

Tensor cross_entropy_grad(const Tensor& x, const Tensor& target, const Tensor& dloss, const Tensor& lse,
                          std::int64_t ignore, double smoothing, Here here) {
  const Op op{"cross_entropy_grad", here};
  const Tensor xd = dense(x), gd = dense(dloss);
  Tensor dx = op.empty_like(x);
  with_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::cross_entropy_grad<T>(static_cast<const T*>(xd.raw()), static_cast<const T*>(lse.raw()), indices(target),
                                   ignore, smoothing, static_cast<const T*>(gd.raw()), elements<T>(dx), x.size(0),
                                   x.size(1));
  });
  return op.record_joint(
      std::move(dx), of<cross_entropy_grad>(x, target, dloss, lse, ignore, smoothing),
      "differentiates the composed form",
      [x = Saved(x), target = Saved(target), dloss = Saved(dloss), ignore, smoothing](const Tensors& gs, const Needs&) {
        const Tensors found = detail::differentiate_composition(
            [&](const Tensors& in) {
              const Tensor loss = cross_entropy_rows_composed(in[0], target, ignore, smoothing, {});
              return grad({loss}, {in[0]}, {.cotangents = {in[1]}, .create_graph = true, .allow_unused = true});
            },
            {x.get(), dloss.get()}, gs);
        return Tensors{found[0], Tensor(), found[1]};
      });
}

Tensor cross_entropy_rows(const Tensor& x, const Tensor& target, std::int64_t ignore, double smoothing, Here here) {
  const Op op{"cross_entropy", here};
  const Tensor xd = dense(x);
  Tensor loss = op.empty({x.size(0)}, x.dtype()), lse = op.empty({x.size(0)}, x.dtype());
  with_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::cross_entropy<T>(static_cast<const T*>(xd.raw()), indices(target), ignore, smoothing, elements<T>(loss),
                              elements<T>(lse), x.size(0), x.size(1));
  });
  return op.record(
      std::move(loss), of<cross_entropy_rows, cross_entropy_rows_composed>(x, target, ignore, smoothing),
      "dx = (softmax(x) - (1 - s) onehot - s / classes) dy",
      [x = Saved(x), target = Saved(target), lse, ignore, smoothing](const Tensor& dy) {
        return cross_entropy_grad(x, target, dy, lse, ignore, smoothing, {});
      },
      [](const Tensor&) { return Tensor(); });
}

Tensor reduced(const Tensor& x, Reduction r) {
  if (r == Reduction::none) return x;
  return r == Reduction::sum ? sum(x) : mean(x);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& o, Here here) {
  const Op op{"cross_entropy", here};
  op.check_floating(logits);
  op.check_defined(target);
  if (!is_integer(target.dtype()))
    op.fail_dtype(std::string("targets must be integers, got ") + name_of(target.dtype()));
  if (!(o.label_smoothing >= 0 && o.label_smoothing <= 1))
    op.fail_value("label_smoothing = " + detail::text(o.label_smoothing) + " is not in [0, 1]");
  Shape expected = logits.shape();
  if (logits.rank() != 0) expected.resize(logits.rank() - 1);
  if (logits.rank() == 0 || target.shape() != expected)
    op.fail_shape("target " + target.shape().str() + " does not fit logits " + logits.shape().str() +
                  ", which are [..., classes]");
  const std::int64_t classes = logits.shape().back();
  const Tensor flat = dense(reshape(to(target.detach(), DType::int64), {target.numel()}));
  std::int64_t counted = 0;
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    const std::int64_t t = indices(flat)[i];
    if (t == o.ignore_index) continue;
    if (t < 0 || t >= classes)
      op.fail_index("target " + std::to_string(t) + " is out of range for " + std::to_string(classes) + " classes");
    ++counted;
  }
  const Tensor rows =
      cross_entropy_rows(reshape(logits, {flat.numel(), classes}), flat, o.ignore_index, o.label_smoothing, {});
  switch (o.reduction) {
    case Reduction::none: return reshape(rows, target.shape());
    case Reduction::sum: return sum(rows);
    default: return sum(rows) / static_cast<double>(std::max<std::int64_t>(counted, 1));
  }
}

namespace {

void check_pair(const Op& op, const Tensor& x, const Tensor& y) {
  op.check_floating(x);
  op.check_same_dtype(x, y);
  if (x.shape() != y.shape()) op.fail_shape("shapes differ: " + x.shape().str() + " and " + y.shape().str());
}

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& y, Reduction reduction, Here here) {
  const Op op{"mse_loss", here};
  check_pair(op, x, y);
  return reduced(square(x - y), reduction);
}

Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target, Reduction reduction, Here here) {
  const Op op{"binary_cross_entropy_with_logits", here};
  check_pair(op, x, target);
  // -t log sigmoid(x) - (1 - t) log sigmoid(-x): two terms of one sign, so nothing cancels where the logit is
  // confident.
  return reduced(target * softplus(-x) + (1 - target) * softplus(x), reduction);
}

}  // namespace attune
