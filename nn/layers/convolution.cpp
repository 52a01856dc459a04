#include "nn/layers/convolution.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops/create.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/reduce.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

Shape weight_shape(const detail::Check& check, std::int64_t in, std::int64_t out, std::int64_t kernel,
                   const Conv1dOptions& o) {
  check.at_least(1, in, "in");
  check.at_least(1, out, "out");
  check.at_least(1, kernel, "kernel");
  check.at_least(1, o.stride, "stride");
  check.at_least(same_padding, o.padding, "padding");
  check.at_least(1, o.dilation, "dilation");
  check.at_least(1, o.groups, "groups");
  if (in % o.groups != 0 || out % o.groups != 0)
    check.fail("groups = " + std::to_string(o.groups) + " does not divide in = " + std::to_string(in) +
               " and out = " + std::to_string(out));
  if (o.padding == same_padding && o.stride != 1)
    check.fail("same_padding needs a stride of 1, not " + std::to_string(o.stride));
  return {out, in / o.groups, kernel};
}

/// x [.., L] with `before` and `after` of its own elements at its ends.
Tensor padded(const Op& op, const Tensor& x, PaddingMode mode, std::int64_t before, std::int64_t after) {
  const std::int64_t n = x.size(-1), most = std::max(before, after);
  if (n < 1 || (mode == PaddingMode::reflect && most >= n) || (mode == PaddingMode::circular && most > n))
    op.fail_shape("x " + x.shape().str() + " is too short to be padded by " + std::to_string(most));
  const Tensor places = zeros({before + n + after}, int64);
  auto* to = attune::detail::elements<std::int64_t>(places);
  for (std::int64_t i = -before; i < n + after; ++i, ++to) {
    *to = std::clamp<std::int64_t>(i, 0, n - 1);
    if (mode == PaddingMode::reflect) *to = i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    if (mode == PaddingMode::circular) *to = (i + n) % n;
  }
  return index_select(x, -1, places);
}

}  // namespace

Conv1d::Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv1dOptions& o, Here here)
    : Module(here),
      weight(parameter("weight", zeros(weight_shape({"Conv1d", *this}, in, out, kernel, o)))),
      bias_(o.bias ? parameter("bias", zeros({out})) : absent("bias")),
      call_{.stride = o.stride, .padding = o.padding, .dilation = o.dilation, .groups = o.groups},
      mode_(o.padding_mode) {
  const detail::Check check{"Conv1d", *this};
  if (mode_ != PaddingMode::zeros) {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    if (o.padding > most) check.fail("padding = " + std::to_string(o.padding) + " is beyond 32 bits");
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(o.dilation, kernel - 1, &reach) || reach > most)
      check.fail("dilation = " + std::to_string(o.dilation) + " and kernel = " + std::to_string(kernel) +
                 " reach beyond 32 bits");
    before_ = o.padding == same_padding ? reach / 2 : o.padding;
    after_ = o.padding == same_padding ? reach - before_ : o.padding;
    call_.padding = valid_padding;
  }
  const std::int64_t fan_in = in / o.groups * kernel;
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  init::uniform_(weight, -bound, bound);
  if (o.bias) init::uniform_(bias_, -bound, bound);
}

Tensor Conv1d::operator()(const Tensor& input, Here here) const {
  const Scope scope(*this, "Conv1d", here);
  const Tensor& x = scope.in(input);
  if (before_ + after_ == 0) return scope.out(conv1d(x, weight, bias_, call_));
  const Op op{"Conv1d", here};
  op.check_floating(x);
  op.check_same_dtype(x, weight);
  const std::int64_t in = weight.size(1) * call_.groups;
  if ((x.rank() != 2 && x.rank() != 3) || x.size(-2) != in)
    op.fail_shape("x " + x.shape().str() + " must be [N, " + std::to_string(in) + ", L] or [" + std::to_string(in) +
                  ", L]");
  const std::int64_t window = call_.dilation * (weight.size(2) - 1) + 1;
  if (x.size(-1) + before_ + after_ < window)
    op.fail_shape("a window of " + std::to_string(window) + " is longer than x " + x.shape().str() + " padded by " +
                  std::to_string(before_) + " and " + std::to_string(after_));
  return scope.out(conv1d(padded(op, x, mode_, before_, after_), weight, bias_, call_));
}

Tensor MaxOverTime::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "MaxOverTime", here);
  return scope.out(amax(scope.in(x), {-1}));
}

}  // namespace attune::nn
