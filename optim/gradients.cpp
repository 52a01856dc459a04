#include "optim/internal/gradients.h"

#include <algorithm>
#include <cmath>

namespace attune::optim::detail {

std::size_t first_nonfinite(const std::vector<Tensor>& tensors) {
  std::size_t first = tensors.size();
  const auto look = [&](auto zero) {
    using T = decltype(zero);
    std::size_t left = kernels::first_nonfinite(pieces_of<T>(tensors));
    for (std::size_t i = 0; i < first; ++i)
      if (tensors[i].dtype() == dtype_of<T> && left-- == 0) first = i;
  };
  look(float{});
  look(double{});
  return first;
}

std::string first_nonfinite_element(const Tensor& x) {
  const std::vector<double> values = x.to_vector<double>();
  const auto at = std::find_if(values.begin(), values.end(), [](double v) { return !std::isfinite(v); });
  return "element " + std::to_string(at - values.begin()) + " is " + std::to_string(*at);
}

std::string described(const std::string& name, const Tensor& parameter) {
  return name.empty() ? parameter.shape().str() : name + " " + parameter.shape().str();
}

}  // namespace attune::optim::detail
