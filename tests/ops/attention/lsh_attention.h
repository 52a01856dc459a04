// Samples of ops/attention/lsh_attention.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

namespace detail {

/// Buckets [b, h, R, n] that follow from nothing but the shape, so that finite differences cross no hash boundary.
inline Tensor fixed_buckets(const Tensor& qk, const LshOptions& o) {
  if (qk.rank() != 4) return {};
  const std::int64_t b = qk.size(0), n = qk.size(1), h = qk.size(2), count = 4;
  std::vector<double> v;
  for (std::int64_t i = 0; i < b * h; ++i)
    for (std::int64_t r = 0; r < o.hashes; ++r)
      for (std::int64_t p = 0; p < n; ++p)
        v.push_back(static_cast<double>((p * (2 * r + 3) + i + p / 3) % count + r * count));
  return tensor(v, {b, h, o.hashes, n}, int32);
}

inline OpRow lsh_row(const char* name, LshOptions o, std::int64_t chunk) {
  o.hashes = 2;
  o.chunk = chunk;
  o.self_penalty = 12;  // small enough for its digits to survive finite differences
  return {.name = name,
          .call = [o](const Tensors& x) -> Tensors { return {lsh_attention(x[0], x[1], fixed_buckets(x[0], o), o)}; },
          .shapes = {{{1, 8, 1, 2}, {1, 8, 1, 2}},
                     {{2, 6, 2, 1}, {2, 6, 2, 1}},
                     {{1, 3, 1, 2}, {1, 3, 1, 2}},
                     {{0, 8, 1, 2}, {0, 8, 1, 2}}},
          .domains = {{.low = 0.3, .high = 2}},
          .bad =
              [o] {
                lsh_attention(zeros({1, 8, 1, 2}), zeros({1, 7, 1, 2}), {}, o);
              },
          .message = chunk < 8 ? "lsh_attention: buckets are undefined; only a length up to the chunk of " +
                                     std::to_string(chunk) + " needs none, got [1, 8, 1, 2]"
                               : "lsh_attention: v [1, 7, 1, 2] differs from [1, 8, 1, 2]",
          .bench = {{2, 256, 4, 32}, {2, 256, 4, 32}}};
}

}  // namespace detail

inline Rows lsh_attention_rows() {
  using detail::lsh_row;
  return {
      lsh_row("lsh_attention, as in the paper", LshOptions::paper(), 2),
      lsh_row("lsh_attention, as in Hugging Face's code", LshOptions::hugging_face(), 2),
      lsh_row("lsh_attention, as in lucidrains' code", LshOptions::lucidrains(), 2),
      lsh_row("lsh_attention, short sequence", LshOptions::paper(), 16),
  };
}

}  // namespace attune::tests
