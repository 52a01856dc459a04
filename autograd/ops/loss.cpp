#include "autograd/ops/loss.h"

#include <algorithm>

#include "autograd/kernels/rows.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/loss_reduction.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::finite_where_weightless;
using detail::has_non_finite;
using detail::reduce_loss;
using detail::with_floating;

namespace {

/// The loss of each row by its definition: logits [rows, classes], target [rows].
Tensor cross_entropy_rows_composed(const Tensor& x, const Tensor& target, std::int64_t ignore, double smoothing,
                                   Here here) {
  const Op op{"cross_entropy_rows_composed", here};
  const Tensor ignored = eq(target, static_cast<double>(ignore));
  const Tensor at = unsqueeze(where(ignored, 0, target), 1);
  const Tensor logs = log_softmax(where(unsqueeze(ignored, 1), 0, x), 1);  // whatever an ignored row holds
  Tensor loss = -squeeze(gather(logs, 1, at), 1);
  if (smoothing != 0) loss = (1 - smoothing) * loss - smoothing * mean(logs, {1});
  return where(ignored, 0, loss);
}

/// `sums` [2, rows] are what the forward kernel found.
Tensor cross_entropy_grad(const Tensor& x, const Tensor& target, const Tensor& dloss, const Tensor& sums,
                          std::int64_t ignore, double smoothing, Here here) {
  const Op op{"cross_entropy_grad", here};
  const Tensor xd = dense(x), gd = dense(dloss);
  Tensor dx = op.empty_like(x);
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::cross_entropy_grad<T>(elements<const T>(xd), elements<const T>(sums), elements<const T>(sums) + x.size(0),
                                   elements<const std::int64_t>(target), ignore, smoothing, elements<const T>(gd),
                                   elements<T>(dx), x.size(0), x.size(1));
  });
  return detail::record_fused_grad(op, {dx, {}}, of<cross_entropy_grad>(x, target, dloss, sums, ignore, smoothing),
                                   {x, target}, {dloss}, [ignore, smoothing](const Tensors& xs) {
                                     return Tensors{cross_entropy_rows_composed(xs[0], xs[1], ignore, smoothing, {})};
                                   })[0];
}

Tensor cross_entropy_rows(const Tensor& x, const Tensor& target, std::int64_t ignore, double smoothing, Here here) {
  const Op op{"cross_entropy", here};
  const Tensor xd = dense(x);
  Tensor loss = op.empty({x.size(0)}, x.dtype()), sums = op.empty({2, x.size(0)}, x.dtype());
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::cross_entropy<T>(elements<const T>(xd), elements<const std::int64_t>(target), ignore, smoothing,
                              elements<T>(loss), elements<T>(sums), elements<T>(sums) + x.size(0), x.size(0),
                              x.size(1));
  });
  return op.record(
      std::move(loss), of<cross_entropy_rows, cross_entropy_rows_composed>(x, target, ignore, smoothing),
      smoothing == 0 ? "dlogits = (softmax(logits) - onehot(target)) dy"
                     : "dlogits = (softmax(logits) - (1 - s) onehot(target) - s / classes) dy, s = label_smoothing",
      [x = Saved(x), target = Saved(target), sums, ignore, smoothing](const Tensor& dy) {
        return cross_entropy_grad(x, target, dy, sums, ignore, smoothing, {});
      },
      [](const Tensor&) { return Tensor(); });
}

/// Class targets against rows of scores, checked.
struct Targets {
  Tensor flat;               // int64, dense [rows]
  std::int64_t counted = 0;  // those that are not ignored
};

void check_weight(const Op& op, const Tensor& x, const Tensor& weight) {
  if (!weight.defined()) return;
  op.check_same_dtype(x, weight);
  if (weight.shape() != Shape{x.shape().back()})
    op.fail_shape("the weight " + weight.shape().str() + " does not fit " + x.shape().str() +
                  ", which are [..., classes]");
}

Targets class_targets(const Op& op, const Tensor& x, const Tensor& target, std::int64_t ignore) {
  op.check_defined(target);
  if (!is_integer(target.dtype()))
    op.fail_dtype(std::string("targets must be integers, got ") + name_of(target.dtype()));
  Shape expected = x.shape();
  if (x.rank() != 0) expected.resize(x.rank() - 1);
  if (x.rank() == 0 || target.shape() != expected)
    op.fail_shape("target " + target.shape().str() + " does not fit logits " + x.shape().str() +
                  ", which are [..., classes]");
  const std::int64_t classes = x.shape().back();
  Targets t{dense(reshape(to(target.detach(), DType::int64), {target.numel()}))};
  for (std::int64_t i = 0; i < t.flat.numel(); ++i) {
    const std::int64_t c = elements<const std::int64_t>(t.flat)[i];
    if (c == ignore) continue;
    if (c < 0 || c >= classes)
      op.fail_index("target " + std::to_string(c) + " is out of range for " + std::to_string(classes) + " classes");
    ++t.counted;
  }
  return t;
}

/// The losses of the rows as asked for; `total` is what a mean divides by.
Tensor reduce_row_losses(const Tensor& rows, const Shape& shape, Reduction r, const Tensor& total) {
  switch (r) {
    case Reduction::none: return reshape(rows, shape);
    case Reduction::mean: return sum(rows) / total;
    default: return reduce_loss(reshape(rows, shape), r);
  }
}

/// Cross-entropy with weighted classes, from log-probabilities [rows, classes]. What weighs nothing may hold anything.
Tensor weighted_rows(const Tensor& given, const Targets& t, const CrossEntropyOptions& o, Tensor* total) {
  const Tensor ignored = eq(t.flat, o.ignore_index), at = where(ignored, 0, t.flat);
  const Tensor w = o.weight.defined() ? index_select(o.weight, 0, at) : ones(t.flat.shape(), given.dtype());
  const Tensor counted = where(ignored, 0, w);
  *total = all(eq(counted, 0)) ? ones({}, given.dtype()) : sum(counted);  // if nothing counts, the mean is 0
  const Tensor logs = has_non_finite(given) ? where(unsqueeze(ignored, 1), 0, given) : given;
  const auto of_target = [&] {
    return -counted * finite_where_weightless(squeeze(gather(logs, 1, unsqueeze(at, 1)), 1), counted);
  };
  if (o.label_smoothing == 0) return of_target();
  const Tensor every = o.weight.defined() ? finite_where_weightless(logs, o.weight) * o.weight : logs;
  const Tensor smooth = -o.label_smoothing * where(ignored, 0, mean(every, {1}));
  return o.label_smoothing == 1 ? smooth : (1 - o.label_smoothing) * of_target() + smooth;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& o, Here here) {
  const Op op{"cross_entropy", here};
  op.check_floating(logits);
  op.check_defined(target);
  if (!(o.label_smoothing >= 0 && o.label_smoothing <= 1))
    op.fail_value("label_smoothing = " + detail::text(o.label_smoothing) + " is not in [0, 1]");
  if (logits.rank() == 0) op.fail_shape("logits [] are not [..., classes]");
  check_weight(op, logits, o.weight);
  const std::int64_t classes = logits.shape().back();
  if (is_floating(target.dtype())) {
    op.check_same_dtype(logits, target);
    if (target.shape() != logits.shape() && target.rank() == logits.rank() - 1)
      op.fail_shape("target " + target.shape().str() + " is " + name_of(target.dtype()) +
                    ", and so the probability of each class, which has the shape of the logits " +
                    logits.shape().str() + "; classes are int64");
    if (target.shape() != logits.shape())
      op.fail_shape("target " + target.shape().str() + " differs from logits " + logits.shape().str());
    const Tensor smooth = o.label_smoothing == 0
                              ? target
                              : (1 - o.label_smoothing) * target + o.label_smoothing / static_cast<double>(classes);
    const Tensor share = o.weight.defined() ? smooth * o.weight : smooth;
    return reduce_loss(-sum(share * finite_where_weightless(log_softmax(logits), share), {-1}), o.reduction);
  }
  const Targets t = class_targets(op, logits, target, o.ignore_index);
  const Tensor flat = reshape(logits, {t.flat.numel(), classes});
  if (o.weight.defined()) {
    Tensor total;
    const Tensor rows = weighted_rows(log_softmax(flat), t, o, &total);
    return reduce_row_losses(rows, target.shape(), o.reduction, total);
  }
  const Tensor rows = cross_entropy_rows(flat, t.flat, o.ignore_index, o.label_smoothing, {});
  const double total = static_cast<double>(std::max<std::int64_t>(t.counted, 1));
  return reduce_row_losses(rows, target.shape(), o.reduction, scalar(total, logits.dtype()));
}

Tensor nll_loss(const Tensor& x, const Tensor& target, const CrossEntropyOptions& o, Here here) {
  const Op op{"nll_loss", here};
  op.check_floating(x);
  if (o.label_smoothing != 0) op.fail_value("label_smoothing needs cross_entropy");
  const Targets t = class_targets(op, x, target, o.ignore_index);
  check_weight(op, x, o.weight);
  Tensor total;
  const Tensor rows = weighted_rows(reshape(x, {t.flat.numel(), x.shape().back()}), t, o, &total);
  return reduce_row_losses(rows, target.shape(), o.reduction, total);
}

}  // namespace attune
