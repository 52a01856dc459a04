// Samples of ops/movement.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

/// Long: a table, one row an operation.
inline Rows movement_rows() {
  const std::vector<Shape> large{{1024, 1024}};
  return {
      {.name = "reshape",
       .call = [](const Tensors& x) -> Tensors {
         return {reshape(x[0], {-1, 2})};
       },
       .shapes = {{{3, 4}}, {{2}}, {{1, 2, 1}}, {{2, 2, 3}}, {{0, 4}}},
       .bad =
           [] {
             reshape(zeros({2, 3}), {4});
           },
       .message = "reshape: cannot reshape [2, 3] into [4]",
       .bench = large},
      {.name = "flatten",
       .call = [](const Tensors& x) -> Tensors { return {flatten(x[0])}; },
       .shapes = {{{3, 4}}, {{}}, {{1}}, {{0, 2}}, {{2, 1, 3}}},
       .bad =
           [] {
             flatten(zeros({2, 3}), 1, 0);
           },
       .message = "flatten: axes 1 to 0 of [2, 3] run backwards",
       .bench = large},
      {.name = "permute",
       .call = [](const Tensors& x) -> Tensors {
         Dims axes;
         for (int i = 0; i < x[0].rank(); ++i) axes.push_back((i + 1) % x[0].rank());
         return {permute(x[0], axes)};
       },
       .shapes = {{{2, 3, 4}}, {{}}, {{3}}, {{0, 2}}, {{1, 3}}},
       .bad =
           [] {
             permute(zeros({2, 3}), {1, 1});
           },
       .message = "permute: axes [1, 1] do not name each axis of [2, 3] once",
       .bench = large},
      {.name = "transpose",
       .call = [](const Tensors& x) -> Tensors { return {transpose(x[0])}; },
       .shapes = {{{3, 4}}, {{2, 1, 3}}, {{0, 2}}},
       .bad = [] { transpose(zeros({3})); },
       .message = "transpose: axis -2 is out of range for [3]",
       .bench = large},
      {.name = "expand",
       .call = [](const Tensors& x) -> Tensors {
         Shape shape = x[0].shape();
         for (std::int64_t& size : shape)
           if (size == 1) size = 3;
         shape.insert(0, 2);
         return {expand(x[0], shape)};
       },
       .shapes = {{{3, 1}}, {{}}, {{1}}, {{0, 1}}, {{1, 2, 1}}},
       .bad =
           [] {
             expand(zeros({2, 3}), {3, 3});
           },
       .message = "expand: cannot expand [2, 3] to [3, 3]",
       .bench = {{1024, 1}}},
      {.name = "squeeze",
       .call = [](const Tensors& x) -> Tensors { return {squeeze(x[0], -1)}; },
       .shapes = {{{3, 1}}, {{1}}, {{0, 1}}, {{1, 1}}},
       .bad =
           [] {
             squeeze(zeros({2, 3}), 0);
           },
       .message = "squeeze: axis 0 of [2, 3] has size 2, not 1",
       .bench = {{1024, 1}}},
      {.name = "unsqueeze",
       .call = [](const Tensors& x) -> Tensors {
         return {unsqueeze(x[0], 0), unsqueeze(x[0], -1)};
       },
       .shapes = {{{3, 4}}, {{}}, {{1}}, {{0, 2}}},
       .bad = [] { unsqueeze(zeros({2}), 3); },
       .message = "unsqueeze: axis 3 is out of range for [2] and a new axis",
       .bench = large},
      {.name = "slice",
       .call = [](const Tensors& x) -> Tensors {
         return {slice(x[0], -1, 1, -1, 2), slice(x[0], 0, 0, 1)};
       },
       .shapes = {{{3, 6}}, {{1}}, {{5}}, {{0, 4}}, {{2, 0}}, {{2, 3, 4}}},
       .bad = [] { slice(zeros({2}), 0, 0, 2, 0); },
       .message = "slice: step = 0 must be at least 1",
       .bench = large},
      {.name = "slice_scatter",
       .call = [](const Tensors& x) -> Tensors {
         const std::int64_t n = x[0].size(-1);  // refuses rank 0
         Shape shape = x[0].shape();
         shape.back() = 2 * n + 1;
         return {slice_scatter(x[0], shape, -1, 1, 2)};
       },
       .shapes = {{{3, 4}}, {{1}}, {{0, 2}}, {{2, 0}}, {{2, 1, 3}}},
       .bad = [] { slice_scatter(zeros({2}), {3}, 0, 1, 2); },
       .message = "slice_scatter: [2] does not fit into [3] from 1 in steps of 2 along axis 0",
       .bench = large},
      {.name = "select",
       .call = [](const Tensors& x) -> Tensors {
         return {select(x[0], -1, 0), select(x[0], -1, -1)};
       },
       .shapes = {{{3, 4}}, {{1}}, {{5}}, {{0, 2}}, {{2, 1, 3}}},
       .bad =
           [] {
             select(zeros({2, 3}), 1, 3);
           },
       .message = "select: index 3 is out of range for axis 1 of [2, 3]",
       .bench = large},
      {.name = "contiguous",
       .call = [](const Tensors& x) -> Tensors { return {contiguous(transpose(x[0]))}; },
       .shapes = {{{3, 4}}, {{2, 3, 2}}, {{2, 2}}, {{0, 4}}, {{1, 4}}},
       .bad = [] { contiguous(Tensor()); },
       .message = "contiguous: an input is undefined",
       .bench = large},
      {.name = "clone",
       .call = [](const Tensors& x) -> Tensors { return {clone(x[0])}; },
       .shapes = {{{3, 4}}, {{}}, {{1}}, {{0, 2}}},
       .bad = [] { clone(Tensor()); },
       .message = "clone: an input is undefined",
       .bench = large},
      {.name = "cat",
       .call = [](const Tensors& x) -> Tensors {
         return {cat({x[0], x[1], x[0]}, -1)};
       },
       .shapes = {{{2, 3}, {2, 4}}, {{1}, {0}}, {{0, 2}, {0, 1}}, {{2, 3, 1}, {2, 3, 2}}, {{2, 3}, {2, 3}}},
       .bad =
           [] {
             cat({zeros({2, 3}), zeros({3, 3})}, 1);
           },
       .message = "cat: sizes differ outside of axis 1: [2, 3] and [3, 3]",
       .bench = {{1024, 512}, {1024, 512}}},
      {.name = "stack",
       .call = [](const Tensors& x) -> Tensors {
         return {stack({x[0], x[1], x[0]}, -1)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{1}, {1}}, {{0, 2}, {0, 2}}},
       .bad =
           [] {
             stack({zeros({2, 3}), zeros({3, 2})});
           },
       .message = "stack: shapes differ: [2, 3] and [3, 2]",
       .bench = {{1024, 512}, {1024, 512}}},
      {.name = "split",
       .call = [](const Tensors& x) -> Tensors {
         const std::int64_t n = x[0].size(-1);
         return split(x[0], {n / 3, 0, n - n / 3}, -1);
       },
       .shapes = {{{3, 4}}, {{1}}, {{5}}, {{0, 3}}, {{2, 0}}},
       .bad =
           [] {
             split(zeros({2, 3}), {1, 1}, 1);
           },
       .message = "split: sizes [1, 1] do not add up to axis 1 of [2, 3]",
       .bench = large},
      {.name = "chunk",
       .call = [](const Tensors& x) -> Tensors { return chunk(x[0], 3, -1); },
       .shapes = {{{3, 4}}, {{1}}, {{6}}, {{0, 3}}, {{2, 0}}},
       .bad = [] { chunk(zeros({2}), 0); },
       .message = "chunk: n = 0 must be at least 1",
       .bench = large},
      {.name = "unbind",
       .call = [](const Tensors& x) -> Tensors { return unbind(x[0], -1); },
       .shapes = {{{3, 4}}, {{1}}, {{5}}, {{0, 3}}},
       .bad = [] { unbind(zeros({}), 0); },
       .message = "unbind: axis 0 is out of range for []",
       .bench = {{1024, 64}}},
      {.name = "flip",
       .call = [](const Tensors& x) -> Tensors {
         return {x[0].rank() == 0 ? flip(x[0], {}) : flip(x[0], {-1}), x[0].rank() < 2 ? x[0] : flip(x[0], {0, 1})};
       },
       .shapes = {{{3, 4}}, {{}}, {{1}}, {{0, 2}}, {{2, 3, 2}}},
       .bad =
           [] {
             flip(zeros({2, 3}), {0, -2});
           },
       .message = "flip: axes [0, -2] repeat an axis",
       .bench = large},
      {.name = "roll",
       .call = [](const Tensors& x) -> Tensors { return {roll(x[0], 2, -1)}; },
       .shapes = {{{3, 4}}, {{1}}, {{5}}, {{0, 2}}, {{2, 0}}},
       .bad = [] { roll(zeros({2}), 1, 1); },
       .message = "roll: axis 1 is out of range for [2]",
       .bench = large},
      {.name = "pad",
       .call = [](const Tensors& x) -> Tensors {
         return {pad(x[0], -1, 2, -1, 0.5), pad(x[0], 0, 0, 1)};
       },
       .shapes = {{{3, 4}}, {{1}}, {{5}}, {{0, 2}}, {{2, 1, 3}}},
       .bad = [] { pad(zeros({2}), 0, -3, 1); },
       .message = "pad: before = -3 and after = 1 do not fit axis 0 of [2]",
       .bench = large},
      {.name = "repeat",
       .call = [](const Tensors& x) -> Tensors {
         Dims counts{2};
         for (int i = 0; i < x[0].rank(); ++i) counts.push_back(i + 1);
         return {repeat(x[0], counts)};
       },
       .shapes = {{{3, 2}}, {{}}, {{1}}, {{0, 2}}},
       .bad =
           [] {
             repeat(zeros({2, 2}), {2});
           },
       .message = "repeat: counts [2] have fewer axes than [2, 2]",
       .bench = {{512, 512}}},
      {.name = "tril",
       .call = [](const Tensors& x) -> Tensors {
         return {tril(x[0]), tril(x[0], -1)};
       },
       .shapes = {{{3, 4}}, {{2, 3, 3}}, {{1, 1}}, {{0, 2}}},
       .bad = [] { tril(zeros({3})); },
       .message = "tril: needs at least 2 axes, got [3]",
       .bench = large},
      {.name = "triu",
       .call = [](const Tensors& x) -> Tensors {
         return {triu(x[0]), triu(x[0], 1)};
       },
       .shapes = {{{3, 4}}, {{2, 3, 3}}, {{1, 1}}, {{0, 2}}},
       .bad = [] { triu(zeros({3})); },
       .message = "triu: needs at least 2 axes, got [3]",
       .bench = large},
      {.name = "diagonal",
       .call = [](const Tensors& x) -> Tensors {
         return {diagonal(x[0]), diagonal(x[0], 1, -1, 0), diagonal(x[0], -9)};
       },
       .shapes = {{{3, 4}}, {{2, 3, 2}}, {{1, 1}}, {{0, 2}}},
       .bad =
           [] {
             diagonal(zeros({2, 2}), 0, 1, -1);
           },
       .message = "diagonal: axes 1 and -1 of [2, 2] are the same",
       .bench = {{1024, 1024}}},
      {.name = "diagonal_scatter",
       .call = [](const Tensors& x) -> Tensors {
         return {diagonal_scatter(x[0], {3, 2, 4}, 1, 0, 2)};
       },
       .shapes = {{{2, 3}}},
       .bad =
           [] {
             diagonal_scatter(zeros({2}), {3, 3});
           },
       .message = "diagonal_scatter: [2] does not fit the diagonal [3] of [3, 3]",
       .bench = {{2, 3}}},
      {.name = "diag_embed",
       .call = [](const Tensors& x) -> Tensors {
         return {diag_embed(x[0]), diag_embed(x[0], -2, 0, -1)};
       },
       .shapes = {{{2, 3}}, {{3}}, {{0}}, {{2, 0}}, {{1, 3}}},
       .bad = [] { diag_embed(zeros({})); },
       .message = "diag_embed: needs at least one axis, got []",
       .bench = {{1024}}},
      {.name = "movedim",
       .call = [](const Tensors& x) -> Tensors {
         return {movedim(x[0], {0, -1}, {1, 0})};
       },
       .shapes = {{{2, 3, 4}}, {{2, 3}}, {{0, 2}}, {{1, 3, 4}}},
       .bad =
           [] {
             movedim(zeros({2, 3}), {0, 0}, {0, 1});
           },
       .message = "movedim: axes [0, 0] to [0, 1] repeat an axis of [2, 3]",
       .bench = {{1024, 1024}}},
      {.name = "unfold",
       .call = [](const Tensors& x) -> Tensors {
         return {unfold(x[0], 0, 2), unfold(x[0], 0, 3, 2), unfold(x[0], 0, 2, 1, 3)};
       },
       .shapes = {{{6, 2}}, {{5}}, {{4, 0}}, {{6, 1}}},
       .bad = [] { unfold(zeros({2}), 0, 3); },
       .message = "unfold: windows of size 3, step 1 and dilation 1 do not fit axis 0 of [2]",
       .bench = {{1024, 64}}},
      {.name = "narrow",
       .call = [](const Tensors& x) -> Tensors {
         return {narrow(x[0], -1, 1, 2), narrow(x[0], -1, -1, 1)};
       },
       .shapes = {{{2, 3}}, {{4}}, {{0, 3}}, {{1, 3}}},
       .bad = [] { narrow(zeros({2}), 0, 1, 2); },
       .message = "narrow: start = 1 and length = 2 are out of range for axis 0 of [2]",
       .bench = {{1024, 1024}}},
      {.name = "constant_pad",
       .call = [](const Tensors& x) -> Tensors {
         return {constant_pad(x[0], {1, 2, -1, 1}, 3)};
       },
       .shapes = {{{2, 3}}, {{2, 1, 1}}, {{3, 0}}},
       .bad = [] { constant_pad(zeros({2}), {1}); },
       .message = "constant_pad: 1 sizes are not (before, after) pairs of the last axes of [2]",
       .bench = {{1024, 1024}}},
      {.name = "repeat_interleave",
       .call = [](const Tensors& x) -> Tensors {
         return {repeat_interleave(x[0], 2, 0), repeat_interleave(x[0], index_tensor({2, 0, 1}), 0)};
       },
       .shapes = {{{3, 2}}, {{3}}, {{3, 0}}, {{3, 1}}},
       .bad = [] { repeat_interleave(zeros({2}), -1, 0); },
       .message = "repeat_interleave: count = -1 is negative",
       .bench = {{3, 1024}}},
  };
}

}  // namespace attune::tests
