#include "nn/convolution.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/index.h"
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

/// x [.., L] with `before` and `after` of its own elements at its ends.
Tensor padded(const Tensor& x, PaddingMode mode, std::int64_t before, std::int64_t after, Here here) {
  const std::int64_t n = x.rank() == 0 ? 0 : x.size(-1), most = std::max(before, after);
  if (n < 1 || (mode == PaddingMode::reflect && most >= n) || (mode == PaddingMode::circular && most > n))
    throw ShapeError("Conv1d: x " + x.shape().str() + " is too short to be padded by " + std::to_string(most), here);
  std::vector<std::int64_t> places;
  for (std::int64_t i = -before; i < n + after; ++i) {
    std::int64_t at = std::clamp<std::int64_t>(i, 0, n - 1);
    if (mode == PaddingMode::reflect) at = i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    if (mode == PaddingMode::circular) at = (i + n) % n;
    places.push_back(at);
  }
  return index_select(x, -1, index_tensor(places));
}

}  // namespace

Conv1d::Conv1d(std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv1dLayerOptions& o, Here here)
    : weight(parameter("weight", weight_of(in, out, kernel, o, here), here)),
      options_{.stride = o.stride, .padding = o.padding, .dilation = o.dilation, .groups = o.groups},
      mode_(o.padding_mode) {
  if (mode_ != PaddingMode::zeros) {
    const std::int64_t reach = o.dilation * (kernel - 1);
    before_ = o.padding == same_padding ? reach / 2 : o.padding;
    after_ = o.padding == same_padding ? reach - before_ : o.padding;
    options_.padding = valid_padding;
  }
  const std::int64_t fan_in = in / o.groups * kernel;
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  init::uniform_(weight, -bound, bound);
  if (!o.bias) return;
  bias_ = &parameter("bias", zeros({out}), here);
  init::uniform_(*bias_, -bound, bound);
}

Tensor Conv1d::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "Conv1d", here);
  return conv1d(before_ + after_ == 0 ? x : padded(x, mode_, before_, after_, here), weight, bias(), options_);
}

Tensor MaxOverTime::operator()(const Tensor& x, Here here) const {
  const Scope scope(*this, "MaxOverTime", here);
  return amax(x, {-1});
}

}  // namespace attune::nn
