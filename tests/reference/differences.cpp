#include "tests/reference/differences.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace attune::tests {

using nlohmann::json;
using Numbers = std::vector<double>;

namespace {

// Each takes the difference out of PyTorch's numbers if it may explain it: `expected` becomes `got`.
using Excuse = void (*)(const Question& q, const Numbers& got, Numbers& expected);

/// 0 times an infinity or 0/0 in PyTorch's rule, where the derivative has a value (or is 0 by convention).
void number_for_nan(const Question&, const Numbers& got, Numbers& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::isnan(expected[i])) expected[i] = got[i];
}

void number_for_infinite(const Question&, const Numbers& got, Numbers& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::isinf(expected[i])) expected[i] = got[i];
}

/// NaN comes from NaN.
void nan_for_number(const Question&, const Numbers& got, Numbers& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::isnan(got[i])) expected[i] = got[i];
}

/// Whatever is the derivative where the value is NaN.
void any_derivative_of_nan(const Question& q, const Numbers& got, Numbers& expected) {
  const Numbers y = q.expected(0);
  for (std::size_t i = 0; i < got.size() && y.size() == got.size() && !q.is_output(); ++i)
    if (std::isnan(y[i])) expected[i] = got[i];
}

/// Values that a later one overwrote: 0 in the first gradient, and the second one follows it.
void nothing_for_overwritten(const Question& q, const Numbers& got, Numbers& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (q.is_second_gradient() || (q.is_first_gradient() && got[i] == 0)) expected[i] = got[i];
}

void same_numbers_elsewhere(const Question& q, const Numbers& got, Numbers& expected) {
  Numbers a = got, b = expected;
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  if (q.is_first_gradient() && a == b) expected = got;
}

/// The same cotangents in other places of an input that is not laid out in rows; if the mask broadcasts, sums
/// of them.
void cotangents_elsewhere(const Question& q, const Numbers& got, Numbers& expected) {
  const json& args = q.call["args"];
  if (!q.is_first_gradient() || !args[0].contains("strides")) return;
  if (q.tensors.at(args[0]["t"]).shape() == q.tensors.at(args[1]["t"]).shape())
    return same_numbers_elsewhere(q, got, expected);
  const double a = std::accumulate(got.begin(), got.end(), 0.0),
               b = std::accumulate(expected.begin(), expected.end(), 0.0);
  if (std::abs(a - b) <= 1e-12 * q.scale * static_cast<double>(got.size())) expected = got;
}

/// Other places of the same values, gradients that went to those places, and second gradients that came from there.
void other_place_among_equals(const Question& q, const Numbers& got, Numbers& expected) {
  if (q.result().what == "output 1") {
    const Tensor& x = q.tensors.at(q.call["args"][0]["t"]);
    if (x.rank() != 0) {
      // The axis is the one along which the values at these places are output 0.
      const Tensor values = q.tensors.at(q.results[0].expected);
      for (int axis = 0; axis < x.rank(); ++axis) {
        bool fits = true;
        for (int i = 0; i < x.rank(); ++i) fits &= i == axis || x.size(i) == values.size(i);
        if (fits && difference(gather(x, axis, q.result().got), values, 0).worst == 0) expected = got;
      }
    }
  } else if (q.is_first_gradient()) {
    same_numbers_elsewhere(q, got, expected);
  } else if (q.is_second_gradient() && q.results[1].got.defined() &&
             difference(q.results[1].got, q.tensors.at(q.results[1].expected), 0).worst > 0) {
    expected = got;
  }
}

/// Where the bounds (arguments 1 and 2, tensors) are equal.
void bound_where_both_are_equal(const Question& q, const Numbers& got, Numbers& expected) {
  const json& args = q.call["args"];
  if (q.is_output() || args.size() < 3 || !args[1].contains("t") || !args[2].contains("t")) return;
  const Numbers low = q.tensors.at(args[1]["t"]).to_vector<double>(),
                high = q.tensors.at(args[2]["t"]).to_vector<double>();
  const bool equal_somewhere =
      low.size() == high.size() &&
      std::mismatch(low.begin(), low.end(), high.begin(), std::not_equal_to<>()).first != low.end();
  for (std::size_t i = 0; i < got.size() && equal_somewhere; ++i)
    if (expected[i] == 0 && (got.size() != low.size() || low[i] == high[i])) expected[i] = got[i];
}

/// Digits beyond those of an order that is not a float.
void order_as_float(const Question& q, const Numbers& got, Numbers& expected) {
  const json &args = q.call["args"], &named = q.call["kwargs"];
  const json order = args.size() > 1 ? args[1]["v"] : named.contains("ord") ? named["ord"]["v"] : json(2);
  if (!order.is_number() || order.get<double>() == static_cast<double>(order.get<float>())) return;
  double largest = q.scale;
  for (double v : expected)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < got.size(); ++i)
    if (std::abs(got[i] - expected[i]) <= 1e-6 * largest) expected[i] = got[i];
}

/// Derivatives of a deviation that is 0 here and rounding noise there.
void noise_for_zero(const Question& q, const Numbers& got, Numbers& expected) {
  const Numbers ours = q.results[0].got.detach().to_vector<double>(), theirs = q.expected(0);
  bool noise = false;
  for (std::size_t i = 0; i < ours.size(); ++i) noise |= ours[i] == 0 && theirs[i] > 0;
  if (noise && !q.is_output()) expected = got;
}

/// The call's argument of this name or place, or `otherwise`.
double argument(const json& call, const char* name, std::size_t place, double otherwise) {
  if (call["kwargs"].contains(name)) return call["kwargs"][name]["v"];
  return call["args"].size() > place ? call["args"][place]["v"].get<double>() : otherwise;
}

/// Derivatives of pairs of vectors along an axis of which one is shorter than eps.
void derivative_below_eps(const Question& q, const Numbers& got, Numbers& expected) {
  if (q.is_output()) return;
  const int axis = static_cast<int>(argument(q.call, "dim", 2, 1));
  const double eps = argument(q.call, "eps", 3, 1e-8);
  const auto below = [&](std::size_t i) {
    return lt(vector_norm(q.tensors.at(q.call["args"][i]["t"]), 2, {axis}, true), eps);
  };
  Tensor pairs = logical_or(below(0), below(1));
  const Shape& shape = q.result().got.shape();
  if (shape.rank() < pairs.rank()) pairs = squeeze(pairs, axis);  // of the output's cotangent
  Shape both;
  if (!broadcast(pairs.shape(), shape, both) || both != shape) return;
  const Numbers at = contiguous(expand(pairs, shape)).to_vector<double>();
  for (std::size_t i = 0; i < got.size(); ++i)
    if (at[i] != 0) expected[i] = got[i];
}

/// Each entry is needed by the project's own copy of the cases, which a full run on it checks.
struct Kept {
  std::string op;
  Excuse excuse;
  std::string reason;
  bool used = false;
};

std::vector<Kept>& kept() {
  static const std::string zero_times_infinity = "PyTorch multiplies 0 with an infinity on the way";
  static std::vector<Kept> all{
      {"abs", nan_for_number, "the derivative at NaN is NaN, not 0"},
      {"atan2", number_for_nan, "PyTorch divides 0 by 0 at the origin"},
      {"clamp", bound_where_both_are_equal, "PyTorch gives neither of two equal bounds the gradient"},
      {"index_put", nothing_for_overwritten, "PyTorch gives a gradient to a value that a later one overwrites"},
      {"linalg.vector_norm", number_for_nan, "PyTorch divides 0 by 0 in the second derivative at 0"},
      {"linalg.vector_norm", order_as_float, "PyTorch rounds the order to a float"},
      {"logaddexp", number_for_nan, "PyTorch's second derivative is inf/inf where the arguments lie far apart"},
      {"logit", any_derivative_of_nan, "outside [0, 1] PyTorch's derivative is NaN, its second one 0"},
      {"logit", number_for_nan, zero_times_infinity},
      {"masked_select", cotangents_elsewhere, "PyTorch fills the gradient of a transposed input in memory's order"},
      {"nn.functional.cosine_similarity", derivative_below_eps, "PyTorch's derivative is not that of its clamped norm"},
      {"nn.functional.elu", nan_for_number, "the derivative at NaN is NaN where alpha e^x is"},
      {"nn.functional.kl_div", number_for_nan, zero_times_infinity + ", where a target is 0"},
      {"nn.functional.nll_loss", number_for_nan, "a mean whose weights are all 0 is 0, not 0/0"},
      {"nn.functional.normalize", number_for_nan, "PyTorch divides 0 by 0 in the second derivative at 0"},
      {"nn.functional.prelu", number_for_nan, zero_times_infinity},
      {"nn.functional.silu", number_for_nan, zero_times_infinity},
      {"pow", number_for_nan, zero_times_infinity + ", where the base is 0"},
      {"sign", nan_for_number, "the sign of NaN is NaN, not 0"},
      {"sort", other_place_among_equals, "PyTorch promises no order among equal elements"},
      {"std", noise_for_zero, "a constant deviates by 0, not by a rounding error"},
      {"std", number_for_nan, "PyTorch divides 0 by 0 in the second derivative at 0"},
      {"topk", other_place_among_equals, "PyTorch promises no order among equal elements"},
      {"xlogy", number_for_infinite, "at (0, 0) all derivatives are 0"},
      {"xlogy", number_for_nan, zero_times_infinity + " at (0, 0)"},
  };
  return all;
}

}  // namespace

std::string Differing::in(const std::string& what) const {
  if (got == expected) return what;  // not of the same shape
  char text[96];
  std::snprintf(text, sizeof text, " [%zu]: %.9g, not %.9g", at, got, expected);
  return what + text;
}

Differing difference(const Numbers& got, const Numbers& expected, double scale) {
  Differing d;
  double largest = std::max(scale, 1e-300);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double a = got[i], b = expected[i];
    if (std::isfinite(b)) largest = std::max(largest, std::abs(b));
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double by = std::isfinite(a) && std::isfinite(b) ? std::abs(a - b) : INFINITY;
    if (by > d.worst) d = {by, i, a, b};
  }
  d.worst /= largest;
  return d;
}

Differing difference(const Tensor& got, const Tensor& expected, double scale) {
  if (!got.defined() || got.shape() != expected.shape()) return {INFINITY};
  return difference(got.detach().to_vector<double>(), expected.to_vector<double>(), scale);
}

Numbers Question::expected(std::size_t i) const { return tensors.at(results[i].expected).to_vector<double>(); }

Differing beyond_kept_differences(const std::string& op, const Question& q) {
  const Tensor& got = q.result().got;
  const Tensor& reference = q.tensors.at(q.result().expected);
  Differing left = difference(got, reference, q.scale);
  if (!got.defined() || got.shape() != reference.shape()) return left;
  const Numbers ours = got.detach().to_vector<double>();
  Numbers theirs = reference.to_vector<double>();
  for (Kept& k : kept()) {
    if (left.worst <= 1e-10) break;
    if (k.op != op) continue;
    Numbers before = theirs;
    k.excuse(q, ours, theirs);
    k.used |= !(difference(before, theirs, 0).worst <= 0);
    left = difference(ours, theirs, q.scale);
  }
  return left;
}

std::vector<std::string> unused_differences() {
  std::vector<std::string> names;
  for (const Kept& k : kept())
    if (!k.used) names.push_back(k.op + ": " + k.reason);
  return names;
}

}  // namespace attune::tests
