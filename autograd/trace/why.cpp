#include "autograd/trace/why.h"

#include <algorithm>
#include <cmath>

#include "autograd/tape/tracing.h"

namespace attune {

namespace {

template <class F>
void each_element(const Tensor& x, F&& f) {
  if (!x.defined() || !is_floating(x.dtype())) return;
  if (!x.is_contiguous()) {
    for (double v : x.to_vector<double>()) f(v);
  } else if (x.dtype() == DType::float32) {
    const auto* v = static_cast<const float*>(x.raw());
    for (std::int64_t i = 0, n = x.numel(); i < n; ++i) f(static_cast<double>(v[i]));
  } else {
    const auto* v = static_cast<const double*>(x.raw());
    for (std::int64_t i = 0, n = x.numel(); i < n; ++i) f(v[i]);
  }
}

}  // namespace

double norm_of(const Tensor& x) {
  double largest = 0, squares = 0;
  bool nan = false;
  each_element(x, [&](double v) {
    nan |= std::isnan(v);
    largest = std::max(largest, std::abs(v));
    squares += v * v;
  });
  if (nan) return NAN;
  if (std::isinf(largest) || largest == 0) return largest;
  if (std::isfinite(squares) && squares > 1e-280) return std::sqrt(squares);
  squares = 0;  // again, scaled: the squares left the range
  each_element(x, [&](double v) { squares += (v / largest) * (v / largest); });
  return largest * std::sqrt(squares);
}

NotFinite not_finite(const Tensor& x) {
  NotFinite found;
  each_element(x, [&](double v) {
    found.nan |= std::isnan(v);
    found.infinity |= std::isinf(v);
  });
  return found;
}

std::vector<Contribution> contributions(const Tape& tape, const Graph& graph, std::size_t position,
                                        std::uint32_t slot) {
  std::vector<Contribution> all;
  const Trace* trace = tape[position].trace();
  if (!trace) return all;
  double total = 0;
  for (const Arrival& a : trace->step.arrivals) {
    if (a.slot != slot) continue;
    const std::size_t from = a.from == 0 ? tape.size() : graph.position(a.from);
    all.push_back({from, a.input, all.size(), a.value, a.sum, norm_of(a.value), 0});
    total += all.back().norm;
  }
  for (Contribution& c : all)
    c.share = !std::isfinite(total) ? NAN : total > 0 ? c.norm / total : 1 / static_cast<double>(all.size());
  const auto key = [](const Contribution& c) { return std::isnan(c.norm) ? INFINITY : c.norm; };
  std::stable_sort(all.begin(), all.end(),
                   [&](const Contribution& a, const Contribution& b) { return key(a) > key(b); });
  return all;
}

}  // namespace attune
