// Samples of ops/recurrent.h.
#pragma once

#include <algorithm>

#include "tests/ops/op_table.h"

namespace attune::tests {

namespace detail {

/// Lengths that follow from the shape: T, 0, T - 1, 1, ...
inline Tensor lengths_for(const Tensor& x) {
  const std::int64_t t = x.size(0), some[] = {t, 0, t - 1, 1};
  std::vector<std::int64_t> v;
  for (std::int64_t b = 0; b < x.size(1); ++b) v.push_back(std::clamp<std::int64_t>(some[b % 4], 0, t));
  return index_tensor(v);
}

inline Tensors parts(const RecurrentResult& r) {
  return r.c.defined() ? Tensors{r.output, r.h, r.c} : Tensors{r.output, r.h};
}

}  // namespace detail

inline Rows recurrent_rows() {
  const std::vector<Domain> small(6, Domain{-1, 1});
  return {
      {.name = "lstm",
       .call = [](const Tensors& x) -> Tensors { return detail::parts(lstm(x[0], x[1], x[2], x[3], x[4])); },
       .shapes = {{{3, 2, 8}, {2, 2}, {2, 2}, {8, 2}, {8}},
                  {{1, 1, 4}, {1, 1}, {1, 1}, {4, 1}, {4}},
                  {{0, 2, 8}, {2, 2}, {2, 2}, {8, 2}, {8}},
                  {{2, 0, 8}, {0, 2}, {0, 2}, {8, 2}, {8}}},
       .domains = small,
       .bad =
           [] {
             lstm(zeros({3, 2, 8}), {}, {}, zeros({8, 3}));
           },
       .message = "lstm: w_hh [8, 3] must be [8, 2] where there is no w_hr",
       .bench = {{64, 32, 1024}, {32, 256}, {32, 256}, {1024, 256}, {1024}}},
      {.name = "lstm, projected and clipped, reversed over padding",
       .call = [](const Tensors& x) -> Tensors {
         return detail::parts(
             lstm(x[0], x[1], x[2], x[3], {}, x[4],
                  {.reverse = true, .lengths = detail::lengths_for(x[0]), .cell_clip = 0.6, .projection_clip = 0.9}));
       },
       .shapes = {{{3, 3, 8}, {3, 3}, {3, 2}, {8, 3}, {3, 2}},
                  {{2, 4, 4}, {4, 2}, {4, 1}, {4, 2}, {2, 1}},
                  {{1, 1, 8}, {1, 1}, {1, 2}, {8, 1}, {1, 2}}},
       .domains = small,
       .bad =
           [] {
             lstm(zeros({3, 2, 8}), {}, {}, zeros({8, 2}), {}, {}, {.projection_clip = 1});
           },
       .message = "lstm: projection_clip needs w_hr",
       .bench = {{32, 16, 512}, {16, 64}, {16, 128}, {512, 64}, {64, 128}}},
      {.name = "gru",
       .call = [](const Tensors& x) -> Tensors { return detail::parts(gru(x[0], x[1], x[2], x[3])); },
       .shapes = {{{3, 2, 6}, {2, 2}, {6, 2}, {6}},
                  {{1, 1, 3}, {1, 1}, {3, 1}, {3}},
                  {{0, 2, 6}, {2, 2}, {6, 2}, {6}},
                  {{2, 0, 6}, {0, 2}, {6, 2}, {6}}},
       .domains = small,
       .bad =
           [] {
             gru(zeros({3, 2, 8}), {}, zeros({9, 3}));
           },
       .message = "gru: x [3, 2, 8] must be [T, B, 9] for w_hh [9, 3]",
       .bench = {{64, 32, 768}, {32, 256}, {768, 256}, {768}}},
      {.name = "gru, reversed over padding",
       .call = [](const Tensors& x) -> Tensors {
         return detail::parts(gru(x[0], x[1], x[2], x[3], {.reverse = true, .lengths = detail::lengths_for(x[0])}));
       },
       .shapes = {{{3, 3, 6}, {3, 2}, {6, 2}, {6}},
                  {{2, 4, 3}, {4, 1}, {3, 1}, {3}},
                  {{0, 0, 6}, {0, 2}, {6, 2}, {6}},
                  {{1, 1, 6}, {1, 2}, {6, 2}, {6}}},
       .domains = small,
       .bad =
           [] {
             gru(zeros({3, 2, 6}), {}, zeros({6, 2}), {}, {.lengths = index_tensor({3, 4})});
           },
       .message = "gru: the length 4 is not in [0, 3]",
       .bench = {{32, 16, 384}, {16, 128}, {384, 128}, {384}}},
      {.name = "rnn",
       .call = [](const Tensors& x) -> Tensors {
         const RecurrentResult a = rnn(x[0], x[1], x[2], x[3], Activation::tanh,
                                       {.lengths = detail::lengths_for(x[0])}),
                               b = rnn(x[0], x[1], x[2]);
         return {a.output, a.h, b.output, b.h};
       },
       .shapes = {{{3, 2, 2}, {2, 2}, {2, 2}, {2}},
                  {{1, 1, 1}, {1, 1}, {1, 1}, {1}},
                  {{0, 2, 2}, {2, 2}, {2, 2}, {2}},
                  {{2, 0, 2}, {0, 2}, {2, 2}, {2}}},
       .domains = small,
       .bad =
           [] {
             rnn(zeros({3, 2, 2}), zeros({1, 2}), zeros({2, 2}));
           },
       .message = "rnn: h0 [1, 2] must be [2, 2] for x [3, 2, 2]",
       .bench = {{64, 32, 256}, {32, 256}, {256, 256}, {256}}},
  };
}

}  // namespace attune::tests
