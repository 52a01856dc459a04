// What tests of attention share: the formula by loops over queries and keys.
#pragma once

#include "tests/unit/nn_checks.h"

namespace attune::tests {

/// softmax over the visible keys of scores[i, j] = bias + scale q_i . k_j, for one matrix each. Rows that see nothing
/// are zeros.
struct PlainAttention {
  Plain weights, output;
};

inline PlainAttention attend(const Plain& q, const Plain& k, const Plain& v, double scale,
                             const std::function<bool(std::int64_t, std::int64_t)>& visible,
                             const std::function<double(std::int64_t, std::int64_t)>& bias) {
  const std::int64_t t = q.shape[0], s = k.shape[0], d = q.shape[1], e = v.shape[1];
  PlainAttention r{Plain({t, s}), Plain({t, e})};
  for (std::int64_t i = 0; i < t; ++i) {
    double total = 0;
    for (std::int64_t j = 0; j < s; ++j) {
      double dot = 0;
      for (std::int64_t c = 0; c < d; ++c) dot += q[{i, c}] * k[{j, c}];
      r.weights[{i, j}] = visible(i, j) ? std::exp(scale * dot + bias(i, j)) : 0;
      total += r.weights[{i, j}];
    }
    for (std::int64_t j = 0; j < s; ++j) {
      if (total > 0) r.weights[{i, j}] /= total;
      for (std::int64_t c = 0; c < e; ++c) r.output[{i, c}] += r.weights[{i, j}] * v[{j, c}];
    }
  }
  return r;
}

/// True where a causal attention of t queries over s keys hides the key.
inline Tensor upper_triangle(std::int64_t t, std::int64_t s) {
  Values v;
  for (std::int64_t i = 0; i < t; ++i)
    for (std::int64_t j = 0; j < s; ++j) v.push_back(j > i + s - t);
  return flags(v, {t, s});
}

/// Of attention: y, first gradients, and gradients of a function of these.
inline Tensors all_orders(const Tensors& xs, const AttentionOptions& o, const Tensor& dy) {
  Tensors in;
  for (const Tensor& x : xs) in.push_back(clone(x).requires_grad_());
  const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], o).output;
  Tensors first = grad({y}, in, {.cotangents = {dy}, .create_graph = true}), all{y.detach()};
  Tensor penalty = zeros({}, float64);
  for (std::size_t i = 0; i < first.size(); ++i) {
    penalty = penalty + sum(first[i] * normal(first[i].shape(), 90 + i));
    all.push_back(first[i].detach());
  }
  for (const Tensor& g : grad({penalty}, in)) all.push_back(g);
  return all;
}

}  // namespace attune::tests
