// Linformer: its formula with each way of sharing, shorter sequences, masks, what it refuses.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

using nn::LinformerSharing;

/// Head by head, with plain matrices.
Tensor by_formula(const nn::LinformerAttention& m, const Tensor& q, const Tensor& k, const Tensor& v) {
  Tensors rows;
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    Tensors heads;
    for (std::int64_t h = 0; h < q.size(2); ++h) {
      const auto matrix = [&](const Tensor& x) { return select(select(x, 0, b), 1, x.size(2) == 1 ? 0 : h); };
      const auto projection = [&](const Tensor& p) {
        return slice(p.rank() == 3 ? select(p, 0, h) : p, 0, 0, k.size(1));
      };
      const Tensor e = projection(m.proj_k), f = projection(m.proj_v.defined() ? m.proj_v : m.proj_k);
      const Tensor keys = matmul(transpose(e), matrix(k)), values = matmul(transpose(f), matrix(v));
      const Tensor scores = matmul(matrix(q), transpose(keys)) / std::sqrt(static_cast<double>(q.size(3)));
      heads.push_back(matmul(softmax(scores, -1), values));
    }
    rows.push_back(stack(heads, 1));
  }
  return stack(rows, 0);
}

}  // namespace

TEST_CASE("LinformerAttention: by its formula") {
  const Tensor q = normal({2, 5, 2, 3}, 1);
  for (const auto sharing : {LinformerSharing::none, LinformerSharing::heads, LinformerSharing::key_value})
    for (const std::int64_t s : {9, 6})
      for (const std::int64_t g : {2, 1}) {
        const Tensor k = normal({2, s, g, 3}, 2), v = normal({2, s, g, 3}, 3);
        nn::LinformerAttention m(2, {.length = 9, .projected = 4, .sharing = sharing});
        randomize(m);
        CHECK(m.proj_k.rank() == (sharing == LinformerSharing::none ? 3 : 2));
        CHECK(m.parameters().size() == (sharing == LinformerSharing::key_value ? 1 : 2));
        CHECK(close(m(q, k, v), Plain(by_formula(m, q, k, v)), 1e-12));
        CHECK(check_gradients(
                  m, [&](const Tensors& x) { return Tensors{m(x[0], x[1], x[2])}; },
                  {normal_leaf({1, 2, 2, 2}, 4), normal_leaf({1, 3, g, 2}, 5), normal_leaf({1, 3, g, 2}, 6)}) == "");
      }
}

TEST_CASE("LinformerAttention: hidden keys are as zeros before the projection") {
  const Tensor q = normal({2, 5, 2, 3}, 1), k = normal({2, 4, 2, 3}, 2), v = normal({2, 4, 2, 3}, 3);
  const Tensor hidden = flags({0, 0, 1, 1, 0, 0, 0, 1}, {2, 4}), at = reshape(hidden, {2, 4, 1, 1});
  nn::LinformerAttention m(2, {.length = 6, .projected = 3});
  randomize(m);
  CHECK(same(m(q, masked_fill(k, at, not_a_number), masked_fill(v, at, inf), hidden),
             m(q, masked_fill(k, at, 0), masked_fill(v, at, 0))));
}

TEST_CASE("LinformerAttention: errors") {
  CHECK(thrown([] { nn::LinformerAttention m(2, {}); }) ==
        "ValueError: LinformerAttention: length = 0 must be at least 1");
  CHECK(thrown([] { nn::LinformerAttention m(2, {.length = 8, .projected = 0}); }) ==
        "ValueError: LinformerAttention: projected = 0 must be at least 1");
  CHECK(thrown([] { nn::LinformerAttention m(2, {.length = 8, .projected = 2, .causal = true}); }) ==
        "ValueError: LinformerAttention: attention cannot be causal: each projected key and value is a mixture of all "
        "positions, the future among them");
  nn::LinformerAttention m(2, {.length = 8, .projected = 2});
  const Tensor x = zeros({1, 9, 2, 3});
  CHECK(thrown([&] { m(x, x, x); }) ==
        "ShapeError: linformer_attention: keys of 9 positions are longer than the projections' length 8");
  CHECK(thrown([&] { m(zeros({1, 2, 3, 3}), x, x); }).starts_with("ShapeError: linformer_attention: q [1, 2, 3, 3]"));
}
