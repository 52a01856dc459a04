#include "autograd/tape/internal/anomaly.h"

#include <cmath>

#include "autograd/runtime/error.h"
#include "autograd/tape/recorder.h"

namespace attune {

namespace detail {

bool Recorder::searched(const Tensor& y) {
  // Inside a backward rule the sweep checks the result, in the name of the operation that the user called.
  return thread_state.anomaly && !thread_state.running && is_floating(y.dtype());
}

bool Recorder::holds_infinity(const Tensor& x) {
  if (!x.defined() || !is_floating(x.dtype())) return false;
  for (double v : x.to_vector<double>())
    if (std::isinf(v)) return true;
  return false;
}

void Recorder::fail_unless_finite(const Tensor& y, bool infinite_input) const {
  const std::vector<double> v = y.to_vector<double>();
  for (std::size_t i = 0; i < v.size(); ++i)
    if (std::isnan(v[i]) || (std::isinf(v[i]) && !infinite_input))
      throw AnomalyError(std::string(name()) + ": " + (std::isnan(v[i]) ? "NaN" : "infinity") +
                             " in the forward pass, at element " + std::to_string(i) + " of " + y.shape().str(),
                         site());
}

}  // namespace detail

void search_gradient(const Node& node, const std::string& what, const Tensor& g) {
  const std::vector<double> v = g.to_vector<double>();
  for (std::size_t i = 0; i < v.size(); ++i)
    if (!std::isfinite(v[i]))
      throw AnomalyError(std::string(node.name()) + ": " + (std::isnan(v[i]) ? "NaN" : "infinity") +
                             " in the backward pass, in " + what + ", at element " + std::to_string(i) + " of " +
                             g.shape().str(),
                         node.site());
}

}  // namespace attune
