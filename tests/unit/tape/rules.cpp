// What rules say: of the case that was recorded, and of the arguments that they depend on.

#include <doctest/doctest.h>

#include "autograd/tape/op.h"
#include "autograd/tape/tape.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

std::string rule(const Tensor& y) { return y.node()->rule(); }
std::string text(const Tensor& y) { return y.node()->rule_text(); }

struct Doubled {
  Tensor operator()(const Tensor& dy) const { return 2 * dy; }
  std::string text(const Node& node) const { return "dx = 2 dy of " + node.output(0).shape.str(); }
};

Tensor twice(const Tensor& x, Here here = Here::current()) {
  const Op op{"twice", here};
  const auto value = [&] {
    const NoGrad off;
    return 2 * x;
  };
  return op.record(value(), of<twice>(x), "dx = 2 dy", Doubled{});
}

}  // namespace

TEST_CASE("rules: of the case that was recorded") {
  const Tensor x = ones({2, 3}).requires_grad_(), w = ones({4, 3}).requires_grad_(), b = ones({4}).requires_grad_();
  CHECK(rule(linear(x, w)) == "dx = dy w, dw = dy^T x");
  CHECK(rule(linear(x, w, b)) == "dx = dy w, dw = dy^T x, dbias = sum of dy");
  CHECK(rule(linear(x, w, b, Activation::relu)) == "dx = dz w, dw = dz^T x, dbias = sum of dz, dz = dy where y > 0");
  CHECK(rule(linear(x, w, {}, Activation::gelu)) == "dx = dz w, dw = dz^T x, dz = (Phi(z) + z phi(z)) dy, z = x w^T");
  CHECK(rule(layer_norm(x)).find("weight") == std::string::npos);
  CHECK(rule(layer_norm(x, ones({3}), ones({3}))).find(", dbias = sum of dy, ") != std::string::npos);
  CHECK(rule(rms_norm(x)) == "dx = r (dy - n mean(n dy)), n = r x, r = 1 / sqrt(mean(x^2) + eps)");
  CHECK(rule(clamp(x, 0, inf)) == "dx = dy where x >= low");
  CHECK(rule(clamp(x, -inf, 0)) == "dx = dy where x <= high");
  CHECK(rule(clamp(x, 0, 1)) == "dx = dy where low <= x <= high");
  CHECK(rule(softplus(x)) == "dx = sigmoid(x) dy");
  CHECK(rule(softplus(x, 2)) == "dx = sigmoid(beta x) dy");
  CHECK(rule(matmul(ones({5, 2, 3}), transpose(w))) == "da = dy b^T, db = a^T dy summed over the leading axes");
  CHECK(rule(matmul(x, transpose(w))) == "da = dy b^T, db = a^T dy");
}

TEST_CASE("rules: attention, convolution and recurrences with what they were given") {
  const Tensor q = ones({2, 3, 4}).requires_grad_();
  CHECK(rule(scaled_dot_product_attention(q, q, q).output) ==
        "dq = scale ds k, dk = scale ds^T q, dv = p^T dy, ds = p (dy v^T - row sums of y dy), p = softmax(scale q "
        "k^T)");
  const std::string all =
      rule(scaled_dot_product_attention(q, q, q, {.bias = zeros({3, 3}), .causal = true, .dropout = 0.5}).output);
  CHECK(all ==
        "dq = scale ds k, dk = scale ds^T q, dv = (m p)^T dy, dbias = ds, ds = p (m dy v^T - row sums of y dy), p = "
        "softmax(scale q k^T + bias where not masked), m = 1 / (1 - dropout) where kept");
  const Tensor x = ones({1, 2, 5}).requires_grad_(), w = ones({3, 2, 2});
  CHECK(rule(conv1d(x, w)).find("dbias") == std::string::npos);
  CHECK(rule(conv1d(x, w, zeros({3}))).find(", dbias = sum of dy") != std::string::npos);
  const Tensor steps = ones({3, 1, 8}).requires_grad_();
  const std::string plain = rule(lstm(steps, {}, {}, ones({8, 2})).output);
  CHECK(plain.find("b_hh") == std::string::npos);
  CHECK(plain.find("w_hr") == std::string::npos);
  CHECK(rule(lstm(steps, {}, {}, ones({8, 2}), ones({8})).output).find(", db_hh = sum of dx, ") != std::string::npos);
  CHECK(rule(lstm(steps, {}, {}, ones({8, 1}), {}, ones({1, 2})).output).find(", dw_hr = ") != std::string::npos);
}

TEST_CASE("rules: with the arguments they depend on") {
  const Tensor x = ones({2, 3, 1}).requires_grad_();
  CHECK(text(permute(x, {1, 2, 0})) == "dx = dy permuted by [2, 0, 1]");
  CHECK(rule(permute(x, {1, 2, 0})) == "dx = dy with its axes back in place");
  CHECK(text(transpose(x, 0, -1)) == "dx = dy with axes 0 and 2 exchanged");
  CHECK(text(reshape(x, {6})) == "dx = dy reshaped to [2, 3, 1]");
  CHECK(text(expand(x, {5, 2, 3, 4})) == "dx = dy summed over axes [0, 3]");
  CHECK(text(squeeze(x, -1)) == "dx = dy with axis 2 back");
  CHECK(text(unsqueeze(x, 0)) == "dx = dy without axis 0");
  CHECK(text(x[1]) == "dx = dy at 1 of axis 0, zeros elsewhere");
  CHECK(text(slice(x, 1, 1, 3)) == "dx = dy at 1:3 of axis 1, zeros elsewhere");
  CHECK(text(slice(x, 1, 0, 3, 2)) == "dx = dy at 0:3:2 of axis 1, zeros elsewhere");
  CHECK(text(sum(x)) == "dx = dy, spread over [2, 3, 1]");
  CHECK(text(sum(x, {1})) == "dx = dy, spread over axes [1] of [2, 3, 1]");
  CHECK(text(mean(x, {0})) == "dx = dy / 2, spread over axes [0] of [2, 3, 1]");
  CHECK(text(softmax(x, 1)) == "dx = y (dy - sum(y dy)), summed along axis 1");
  CHECK(text(flip(x, {0})) == "dx = dy flipped along axes [0]");
  CHECK(text(pad(x, 0, 1, -1)) == "dx = dy with 1 element less at the beginning and 1 zero more at the end of axis 0");
  CHECK(text(cat({x, x}, 1)) == "each dxs[i] = its slice of dy along axis 1, of sizes [3, 3]");
  CHECK(text(unbind(x, 1)[0]) == "dx = the dys stacked along axis 1");
  CHECK(text(index_select(x, 1, index_tensor({0, 2}))) == "dx = dy added at the index along axis 1");
  CHECK(text(tanh(x)) == rule(tanh(x)));
}

TEST_CASE("rules: a user's own may say more, and a freed one says what it always does") {
  const Tensor x = ones({2}).requires_grad_(), y = twice(x);
  CHECK(text(y) == "dx = 2 dy of [2]");
  const Tensor z = permute(ones({2, 3}).requires_grad_(), {1, 0});
  sum(z).backward();
  CHECK(text(z) == "dx = dy with its axes back in place");
}

}  // namespace attune::tests
