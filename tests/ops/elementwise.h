// Samples of ops/elementwise.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

namespace detail {

inline const std::vector<std::vector<Shape>>& unary_shapes() {
  static const std::vector<std::vector<Shape>> shapes{{{2, 3}}, {{}}, {{1}}, {{0, 2}}, {{2, 1, 3}}};
  return shapes;
}
inline const std::vector<std::vector<Shape>>& binary_shapes() {
  static const std::vector<std::vector<Shape>> shapes{{{2, 3}, {2, 3}}, {{2, 3}, {3}}, {{2, 1}, {1, 3}},
                                                      {{}, {2}},        {{}, {}},      {{1}, {1}},
                                                      {{0, 3}, {3}},    {{2, 3}, {}},  {{0, 3}, {0, 3}}};
  return shapes;
}
inline OpRow unary_row(const char* name, Tensor (*f)(const Tensor&, Here), Domain domain = {}) {
  return {.name = name,
          .call = [f](const Tensors& x) -> Tensors { return {f(x[0], Here::current())}; },
          .shapes = unary_shapes(),
          .domains = {std::move(domain)},
          .bad = [f] { f(zeros({2}, int64), Here::current()); },
          .message = std::string(name) + ": needs float32 or float64, got int64 [2]",
          .bench = {{1 << 20}}};
}
inline OpRow binary_row(const char* name, Tensor (*f)(const Operand&, const Operand&, Here),
                        std::vector<Domain> domains = {}) {
  return {.name = name,
          .call = [f](const Tensors& x) -> Tensors { return {f(x[0], x[1], Here::current())}; },
          .shapes = binary_shapes(),
          .domains = std::move(domains),
          .bad =
              [f] {
                f(zeros({2, 3}), zeros({4}), Here::current());
              },
          .message = std::string(name) + ": shapes do not broadcast: [2, 3] and [4]",
          .bench = {{1 << 20}, {1 << 20}}};
}
inline OpRow fused_row(const char* name, Tensor (*f)(const Tensor&, const Tensor&, Here), Domain domain = {}) {
  return {.name = name,
          .call = [f](const Tensors& x) -> Tensors { return {f(x[0], x[1], Here::current())}; },
          .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{1}, {1}}, {{0, 3}, {0, 3}}, {{1, 3}, {2, 3}}, {{2, 3}, {1, 3}}},
          .domains = {std::move(domain)},
          .bad =
              [f] {
                f(zeros({2, 3}), zeros({4}), Here::current());
              },
          .message = std::string(name) + ": shapes do not broadcast: [2, 3] and [4]",
          .bench = {{1 << 20}, {1 << 20}}};
}

}  // namespace detail

/// Long: a table, one row an operation.
inline Rows elementwise_rows() {
  using detail::binary_row;
  using detail::fused_row;
  using detail::unary_row;
  const Domain positive{.low = 0.2, .high = 3}, away_from_zero{.kinks = {0}}, not_zero{.kinks = {0}, .margin = 0.3};
  return {
      binary_row("add", add),
      binary_row("sub", sub),
      binary_row("mul", mul),
      binary_row("div", div, {{}, not_zero}),
      binary_row("pow", pow, {positive, {}}),
      binary_row("div_trunc", div_trunc, {{.low = 2.1, .high = 2.9}, {.low = 0.6, .high = 0.7}}),
      binary_row("fmod", fmod, {{.low = 2.1, .high = 2.3}, {.low = 0.8, .high = 1}}),
      binary_row("atan2", atan2, {away_from_zero, not_zero}),
      binary_row("hypot", hypot, {not_zero, not_zero}),
      binary_row("logaddexp", logaddexp),
      binary_row("xlogy", xlogy, {not_zero, positive}),
      binary_row("clamp_min", clamp_min),
      binary_row("clamp_max", clamp_max),
      binary_row("maximum", maximum),
      binary_row("minimum", minimum),
      unary_row("neg", neg),
      unary_row("abs", abs, away_from_zero),
      unary_row("sign", sign, away_from_zero),
      unary_row("floor", floor, {.kinks = {-2, -1, 0, 1, 2}}),
      unary_row("ceil", ceil, {.kinks = {-2, -1, 0, 1, 2}}),
      unary_row("round", round, {.kinks = {-1.5, -0.5, 0.5, 1.5}}),
      unary_row("trunc", trunc, {.kinks = {-2, -1, 0, 1, 2}}),
      unary_row("square", square),
      unary_row("sqrt", sqrt, positive),
      unary_row("rsqrt", rsqrt, positive),
      unary_row("reciprocal", reciprocal, not_zero),
      unary_row("exp", exp),
      unary_row("exp2", exp2),
      unary_row("expm1", expm1),
      unary_row("log", log, positive),
      unary_row("log2", log2, positive),
      unary_row("log1p", log1p, positive),
      unary_row("sin", sin),
      unary_row("cos", cos),
      unary_row("tan", tan, {.low = -1.2, .high = 1.2}),
      unary_row("tanh", tanh),
      unary_row("sigmoid", sigmoid),
      unary_row("log_sigmoid", log_sigmoid),
      {.name = "softplus",
       .call = [](const Tensors& x) -> Tensors {
         return {softplus(x[0]), softplus(x[0], 3, 1.5)};
       },
       .shapes = detail::unary_shapes(),
       .domains = {{.kinks = {0.5}}},
       .bad = [] { softplus(zeros({2}), 0); },
       .message = "softplus: beta = 0 must be positive",
       .bench = {{1 << 20}}},
      {.name = "logit",
       .call = [](const Tensors& x) -> Tensors {
         return {logit(x[0]), logit(x[0], 0.25)};
       },
       .shapes = detail::unary_shapes(),
       .domains = {{.low = 0.1, .high = 0.9, .kinks = {0.25, 0.75}, .margin = 0.01}},
       .bad = [] { logit(zeros({2}), 0.6); },
       .message = "logit: eps = 0.6 is not in [0, 0.5]",
       .bench = {{1 << 20}}},
      {.name = "leaky_relu",
       .call = [](const Tensors& x) -> Tensors { return {leaky_relu(x[0], 0.2)}; },
       .shapes = detail::unary_shapes(),
       .domains = {away_from_zero},
       .bad = [] { leaky_relu(zeros({2}, int64)); },
       .message = "leaky_relu: needs float32 or float64, got int64 [2]",
       .bench = {{1 << 20}}},
      {.name = "elu",
       .call = [](const Tensors& x) -> Tensors { return {elu(x[0], 1.5)}; },
       .shapes = detail::unary_shapes(),
       .domains = {away_from_zero},
       .bad = [] { elu(zeros({2}, int64)); },
       .message = "elu: needs float32 or float64, got int64 [2]",
       .bench = {{1 << 20}}},
      {.name = "prelu",
       .call = [](const Tensors& x) -> Tensors { return {prelu(x[0], x[1])}; },
       .shapes = {{{2, 3}, {3}}, {{2, 3, 2}, {1}}, {{4}, {}}, {{}, {}}, {{0, 3}, {3}}, {{2, 0}, {0}}, {{1, 3}, {3}}},
       .domains = {away_from_zero},
       .bad =
           [] {
             prelu(zeros({2, 3}), zeros({2}));
           },
       .message = "prelu: slope [2] is neither one value nor one for each of the 3 channels of [2, 3]",
       .bench = {{1024, 1024}, {1024}}},
      {.name = "lerp",
       .call = [](const Tensors& x) -> Tensors {
         return {lerp(x[0], x[1], x[2]), lerp(x[0], x[1], 0.7)};
       },
       .shapes = {{{2, 3}, {2, 3}, {2, 3}},
                  {{2, 3}, {3}, {}},
                  {{}, {}, {}},
                  {{0}, {0}, {1}},
                  {{0, 3}, {0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}, {1, 3}},
                  {{1, 3}, {2, 3}, {2, 3}}},
       .domains = {{}, {}, {.kinks = {-0.5, 0.5}}},
       .bad = [] { lerp(zeros({2}), zeros({2}, float64), 1); },
       .message = "lerp: dtypes differ: float32 [2] and float64 [2]",
       .bench = {{1 << 20}, {1 << 20}, {1 << 20}}},
      {.name = "addcmul",
       .call = [](const Tensors& x) -> Tensors { return {addcmul(x[0], x[1], x[2], 0.5)}; },
       .shapes = {{{2, 3}, {2, 3}, {2, 3}},
                  {{2, 3}, {3}, {2, 1}},
                  {{}, {}, {}},
                  {{0}, {0}, {1}},
                  {{0, 3}, {0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}, {1, 3}},
                  {{1, 3}, {2, 3}, {2, 3}}},
       .bad = [] { addcmul(zeros({2}), zeros({2}), zeros({3})); },
       .message = "addcmul: shapes do not broadcast: [2] and [3]",
       .bench = {{1 << 20}, {1 << 20}, {1 << 20}}},
      unary_row("relu", relu, away_from_zero),
      unary_row("silu", silu),
      unary_row("gelu", gelu),
      unary_row("gelu_tanh", gelu_tanh),
      unary_row("erf", erf),
      fused_row("relu_grad", relu_grad, away_from_zero),
      fused_row("silu_grad", silu_grad),
      fused_row("gelu_grad", gelu_grad),
      fused_row("gelu_tanh_grad", gelu_tanh_grad),
      fused_row("tanh_grad", tanh_grad),
      fused_row("sigmoid_grad", sigmoid_grad),
      {.name = "clamp",
       .call = [](const Tensors& x) -> Tensors { return {clamp(x[0], -1, 0.5)}; },
       .shapes = detail::unary_shapes(),
       .domains = {{.kinks = {-1, 0.5}}},
       .bad = [] { clamp(zeros({2}), 1, 0); },
       .message = "clamp: low 1 is above high 0",
       .bench = {{1 << 20}}},
      {.name = "where",
       .call = [](const Tensors& x) -> Tensors { return {where(gt(x[0].detach() + x[1].detach(), 0), x[0], x[1])}; },
       .shapes = detail::binary_shapes(),
       .bad = [] { where(zeros({2}), zeros({2}), 1); },
       .message = "where: the condition needs bool, got float32 [2]",
       .bench = {{1 << 20}, {1 << 20}}},
      {.name = "masked_fill",
       .call = [](const Tensors& x) -> Tensors { return {masked_fill(x[0], gt(x[0].detach(), 0), 7)}; },
       .shapes = detail::unary_shapes(),
       .bad = [] { masked_fill(zeros({2}), zeros({3}, boolean), 1); },
       .message = "masked_fill: the mask [3] and x [2] do not broadcast",
       .bench = {{1 << 20}}},
  };
}

}  // namespace attune::tests
