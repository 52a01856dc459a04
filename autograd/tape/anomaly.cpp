#include "autograd/tape/internal/anomaly.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "autograd/runtime/error.h"
#include "autograd/tape/recorder.h"
#include "autograd/tape/tape.h"
#include "autograd/tape/tracing.h"
#include "autograd/tensor/named.h"

namespace attune {

namespace {

std::string number(double v) {
  char s[32];
  std::snprintf(s, sizeof s, "%.6g", v);
  return s;
}
const char* kind(double v) { return std::isnan(v) ? "NaN" : "infinity"; }

/// The element of x that broadcasting to `shape` puts at place `i` of it; nothing if x does not broadcast to it.
std::optional<std::size_t> place_in(const Tensor& x, const Shape& shape, std::size_t i) {
  Shape joint;
  if (!broadcast(x.shape(), shape, joint) || joint != shape) return std::nullopt;
  std::int64_t rest = static_cast<std::int64_t>(i), place = 0, step = 1;
  for (int a = shape.rank(), b = x.rank(); a-- > 0 && b-- > 0; rest /= shape[a]) {
    if (x.shape()[b] != 1) place += rest % shape[a] * step;
    step *= x.shape()[b];
  }
  return static_cast<std::size_t>(place);
}

/// What an operand is at the place of the fault, or between which values it lies.
std::string described(const Tensor& x, const Shape& shape, std::size_t at) {
  const std::vector<double> v = x.to_vector<double>();
  if (v.empty()) return x.shape().str() + " is empty";
  if (const auto place = place_in(x, shape, at)) return x.shape().str() + " is " + number(v[*place]) + " there";
  std::size_t nans = 0, infinities = 0;
  double least = INFINITY, most = -INFINITY;
  for (double each : v) {
    nans += std::isnan(each);
    infinities += std::isinf(each);
    if (std::isfinite(each)) least = std::min(least, each), most = std::max(most, each);
  }
  std::string text = x.shape().str();
  text += least <= most ? " lies between " + number(least) + " and " + number(most) : " has no finite element";
  if (nans > 0) text += ", " + std::to_string(nans) + " NaN";
  if (infinities > 0) text += ", " + std::to_string(infinities) + " infinite";
  return text;
}

/// name_of(i): that of operand i, "" if it has none.
template <class NameOf>
std::string operands(const Tensors& xs, const Shape& shape, std::size_t at, NameOf&& name_of) {
  std::string text;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    if (!xs[i].defined()) continue;
    const std::string name = name_of(i);
    text +=
        "; operand " + std::to_string(i) + (name.empty() ? "" : " (" + name + ")") + " " + described(xs[i], shape, at);
  }
  return text;
}

std::string where(const char* pass, double v, const std::string& in, std::size_t i, const Shape& shape) {
  return std::string(": ") + kind(v) + " in the " + pass + " pass, " + in + "at element " + std::to_string(i) + " of " +
         shape.str();
}

/// "encoder.layers.0: ", the innermost module with a path that the node was recorded in: as errors of the forward pass
/// have it.
std::string module_prefix(const Trace* trace) {
  if (trace)
    for (auto site = trace->stack.rbegin(); site != trace->stack.rend(); ++site)
      if (!site->module.empty()) return site->module + ": ";
  return {};
}

}  // namespace

namespace detail {

bool Recorder::searched(const Tensor& y) {
  // Inside a backward rule the sweep checks the result, in the name of the operation that the user called.
  return thread_state.anomaly && !thread_state.running && is_floating(y.dtype());
}

void Recorder::fail_unless_finite(const Tensor& y, const Tensors& xs) const {
  const std::vector<double> v = y.to_vector<double>();
  const auto at = std::find_if(v.begin(), v.end(), [](double each) { return !std::isfinite(each); });
  if (at == v.end()) return;
  const auto holds_infinity = [](const Tensor& x) {
    if (!x.defined() || !is_floating(x.dtype())) return false;
    const std::vector<double> elements = x.to_vector<double>();
    return std::any_of(elements.begin(), elements.end(), [](double each) { return std::isinf(each); });
  };
  const bool infinite_input = std::any_of(xs.begin(), xs.end(), holds_infinity);
  for (auto each = at; each != v.end(); ++each)
    if (std::isnan(*each) || (std::isinf(*each) && !infinite_input)) {
      const auto i = static_cast<std::size_t>(each - v.begin());
      throw AnomalyError(full_name() + where("forward", *each, "", i, y.shape()) +
                             operands(xs, y.shape(), i, [&](std::size_t k) { return tensor_name(xs[k]); }),
                         site());
    }
}

}  // namespace detail

void search_gradient(const Node& node, const std::string& what, const Tensor& g, std::optional<double> loss) {
  const std::vector<double> v = g.to_vector<double>();
  for (std::size_t i = 0; i < v.size(); ++i) {
    if (std::isfinite(v[i])) continue;
    const auto name_of = [&node](std::size_t k) {
      const Node* from = node.edges()[k].node.get();
      return from ? name_of_output(*from, 0) : std::string();
    };
    const std::string own = name_of_output(node, 0);
    std::string message = module_prefix(node.trace()) + node.name() + (own.empty() ? "" : " " + own) +
                          where("backward", v[i], "in " + what + ", ", i, g.shape());
    if (node.trace()) message += operands(node.trace()->inputs, g.shape(), i, name_of);
    if (loss)
      message += std::isfinite(*loss) ? "; the loss is " + number(*loss)
                                      : std::string("; the loss is ") + kind(*loss) + " itself";
    throw AnomalyError(message, node.site());
  }
}

}  // namespace attune
