#include "nn/convolution.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/reduce.h"
#include "nn/check.h"
#include "nn/init.h"

namespace attune::nn {

namespace {

Tensor weight_of(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv1dLayerOptions& o, Here here) {
  detail::at_least(1, in, "Conv1d", "in", here);
  detail::at_least(1, out, "Conv1d", "out", here);
  detail::at_least(1, kernel, "Conv1d", "kernel", here);
  detail::at_least(1, o.stride, "Conv1d", "stride", here);
  detail::at_least(same_padding, o.padding, "Conv1d", "padding", here);
  detail::at_least(1, o.dilation, "Conv1d", "dilation", here);
  detail::at_least(1, o.groups, "Conv1d", "groups", here);
  if (in % o.groups != 0 || out % o.groups != 0)
    throw ValueError("Conv1d: groups = " + std::to_string(o.groups) + " does not divide in = " + std::to_string(in) +
                         " and out = " + std::to_string(out),
                     here);
  if (o.padding == same_padding && o.stride != 1)
    throw ValueError("Conv1d: same_padding needs a stride of 1, not " + std::to_string(o.stride), here);
  return zeros({out, in / o.groups, kernel});
}

}  // namespace

Conv1d::Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv1dLayerOptions& o, Here here)
    : weight(parameter("weight", weight_of(in, out, kernel, o, here), here)),
      options_{.stride = o.stride, .padding = o.padding, .dilation = o.dilation, .groups = o.groups} {
  const std::int64_t fan_in = in / o.groups * kernel;
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  init::uniform_(weight, -bound, bound);
  if (!o.bias) return;
  bias_ = &parameter("bias", zeros({out}), here);
  init::uniform_(*bias_, -bound, bound);
}

Tensor Conv1d::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Conv1d", here);
  return conv1d(x, weight, bias(), options_);
}

Tensor MaxOverTime::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "MaxOverTime", here);
  return amax(x, {-1});
}

}  // namespace attune::nn
