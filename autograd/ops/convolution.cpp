#include "autograd/ops/convolution.h"

#include <algorithm>
#include <limits>

#include "autograd/kernels/convolution.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::with_floating;
using kernels::Convolution;

namespace {

// <conv(x, w), dy> is linear in each of x, w and dy; the three operations are its derivatives with respect to each, so
// they are each other's derivatives as well, to any order.

Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& bias, const Convolution& c, Here here);
Tensor weight_grad(const Tensor& x, const Tensor& dy, const Convolution& c, Here here);

Tensor input_grad(const Tensor& dy, const Tensor& w, const Convolution& c, Here here) {
  const Op op{"conv1d_input_grad", here};
  const Tensor g = dense(dy), weight = dense(w);
  Tensor dx = op.empty({c.batch, c.in, c.length}, dy.dtype());
  with_floating(dy.dtype(), [&]<class T>(T) {
    kernels::convolution_input_grad(c, elements<const T>(g), elements<const T>(weight), elements<T>(dx));
  });
  return op.record(
      std::move(dx), of<input_grad>(dy, w, c), "ddy = conv(g, w), dw = sum of dy windows(g)",
      [w = Saved(w), c](const Tensor& u) { return convolve(u, w, {}, c, {}); },
      [dy = Saved(dy), c](const Tensor& u) { return weight_grad(u, dy, c, {}); });
}

Tensor weight_grad(const Tensor& x, const Tensor& dy, const Convolution& c, Here here) {
  const Op op{"conv1d_weight_grad", here};
  const Tensor input = dense(x), g = dense(dy);
  Tensor dw = op.empty({c.out, c.in / c.groups, c.kernel}, dy.dtype());
  with_floating(dy.dtype(), [&]<class T>(T) {
    kernels::convolution_weight_grad(c, elements<const T>(input), elements<const T>(g), elements<T>(dw));
  });
  return op.record(
      std::move(dw), of<weight_grad>(x, dy, c), "dx = windows of g dy added up, ddy = conv(x, g)",
      [dy = Saved(dy), c](const Tensor& u) { return input_grad(dy, u, c, {}); },
      [x = Saved(x), c](const Tensor& u) { return convolve(x, u, {}, c, {}); });
}

Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& bias, const Convolution& c, Here here) {
  const Op op{"conv1d", here};
  const Tensor input = dense(x), weight = dense(w), b = dense(bias);
  Tensor y = op.empty({c.batch, c.out, c.out_length}, x.dtype());
  with_floating(x.dtype(), [&]<class T>(T) {
    kernels::convolution(c, elements<const T>(input), elements<const T>(weight), elements<const T>(b), elements<T>(y));
  });
  return op.record(
      std::move(y), of<convolve>(x, w, bias, c),
      bias.defined() ? "dx = windows of w dy added up, dw = sum of dy windows(x), dbias = sum of dy"
                     : "dx = windows of w dy added up, dw = sum of dy windows(x)",
      [w = Saved(w), c](const Tensor& dy) { return input_grad(dy, w, c, {}); },
      [x = Saved(x), c](const Tensor& dy) { return weight_grad(x, dy, c, {}); },
      [](const Tensor& dy) {
        return sum(dy, {0, 2});
      });
}

void check_option(const Op& op, const char* what, std::int64_t value, std::int64_t least) {
  if (value < least)
    op.fail_value(std::string(what) + " = " + std::to_string(value) + " must be at least " + std::to_string(least));
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& w, const Tensor& bias, const Conv1dCall& o, Here here) {
  const Op op{"conv1d", here};
  op.check_floating(x);
  op.check_same_dtype(x, w);
  check_option(op, "stride", o.stride, 1);
  check_option(op, "padding", o.padding, same_padding);
  check_option(op, "dilation", o.dilation, 1);
  check_option(op, "groups", o.groups, 1);
  if (x.rank() != 2 && x.rank() != 3) op.fail_shape("x " + x.shape().str() + " must be [N, C, L] or [C, L]");
  if (w.rank() != 3 || w.size(2) < 1 || x.size(-2) % o.groups != 0 || w.size(1) != x.size(-2) / o.groups ||
      w.size(0) % o.groups != 0)
    op.fail_shape("x " + x.shape().str() + " does not fit the weight " + w.shape().str() +
                  ", which is [O, C / groups, K], in " + std::to_string(o.groups) + " groups");
  if (bias.defined()) {
    op.check_same_dtype(x, bias);
    if (bias.shape() != Shape{w.size(0)})
      op.fail_shape("the bias " + bias.shape().str() + " does not fit the weight " + w.shape().str());
  }
  if (o.padding == same_padding && o.stride != 1)
    op.fail_value("same_padding needs a stride of 1, not " + std::to_string(o.stride));
  if (x.rank() == 2) return squeeze(conv1d(unsqueeze(x, 0), w, bias, o), 0);
  const std::int64_t length = x.size(2);
  std::int64_t reach = 0, padding = 0, padded = 0;  // padding: on both sides together
  if (__builtin_mul_overflow(o.dilation, w.size(2) - 1, &reach) || reach == std::numeric_limits<std::int64_t>::max() ||
      __builtin_mul_overflow(std::int64_t{2}, std::max<std::int64_t>(o.padding, 0), &padding) ||
      __builtin_add_overflow(length, o.padding == same_padding ? reach : padding, &padded))
    op.fail_value("padding = " + std::to_string(o.padding) + " and dilation = " + std::to_string(o.dilation) +
                  " reach beyond 64 bits");
  const std::int64_t before = o.padding == same_padding ? reach / 2 : o.padding;
  if (padded < reach + 1)
    op.fail_shape("a window of " + std::to_string(reach + 1) + " is longer than the padded length " +
                  std::to_string(padded) + " of x " + x.shape().str());
  const Convolution c{.batch = x.size(0),
                      .in = x.size(1),
                      .length = length,
                      .out = w.size(0),
                      .kernel = w.size(2),
                      .out_length = (padded - reach - 1) / o.stride + 1,
                      .stride = std::min(o.stride, padded),  // a longer one finds one window as well
                      .dilation = o.dilation,
                      .groups = o.groups,
                      .before = before};
  return convolve(x, w, bias, c, {});
}

}  // namespace attune
