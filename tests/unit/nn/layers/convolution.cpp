// Convolution over time as a layer.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Conv1d") {
  nn::Conv1d m(4, 6, 3, {.stride = 2, .padding = 1, .groups = 2}), plain(2, 3, 2, {.bias = false});
  CHECK(m.weight.shape() == Shape{6, 2, 3});
  CHECK(plain.parameters().size() == 1);
  for (const Tensor& p : m.parameters())
    for (double v : p.to_vector<double>()) CHECK(std::abs(v) <= 1 / std::sqrt(6.0));
  CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({2, 4, 5})}) == "");
  CHECK(check_gradients(plain, [&](const Tensors& in) { return Tensors{plain(in[0])}; }, {normal_leaf({2, 4})}) == "");
  nn::Conv1d mirror(2, 3, 3, {.padding = 4, .padding_mode = nn::PaddingMode::reflect}),
      ring(2, 3, 3, {.padding = 4, .padding_mode = nn::PaddingMode::circular});
  CHECK(mirror(zeros({2, 5})).shape() == Shape{3, 11});
  CHECK(ring(zeros({2, 4})).shape() == Shape{3, 10});
  CHECK(thrown([&] { mirror(zeros({2, 4})); }) == "ShapeError: Conv1d: x [2, 4] is too short to be padded by 4");
  CHECK(thrown([&] { ring(zeros({2, 3})); }) == "ShapeError: Conv1d: x [2, 3] is too short to be padded by 4");
  // What is wrong with x is said of x, not of what padding makes of it.
  CHECK(thrown([&] { ring(zeros({1, 3, 8})); }) == "ShapeError: Conv1d: x [1, 3, 8] must be [N, 2, L] or [2, L]");
  CHECK(thrown([&] { ring(zeros({8})); }) == "ShapeError: Conv1d: x [8] must be [N, 2, L] or [2, L]");
  CHECK(thrown([&] { ring(Tensor()); }) == "ValueError: Conv1d: an input is undefined");
  CHECK(thrown([] {
          nn::Conv1d(2, 3, 3, {.padding = std::int64_t{1} << 40, .padding_mode = nn::PaddingMode::replicate});
        }) == "ValueError: Conv1d: padding = 1099511627776 is beyond 32 bits");
  CHECK(thrown([] {
          nn::Conv1d(
              2, 3, 3,
              {.padding = same_padding, .dilation = std::int64_t{1} << 62, .padding_mode = nn::PaddingMode::circular});
        }) == "ValueError: Conv1d: dilation = 4611686018427387904 and kernel = 3 reach beyond 32 bits");
  CHECK(thrown([] {
          nn::Conv1d(2, 3, 5, {.padding = 1, .padding_mode = nn::PaddingMode::replicate})(zeros({2, 1}));
        }) == "ShapeError: Conv1d: a window of 5 is longer than x [2, 1] padded by 1 and 1");
  CHECK(thrown([] { nn::Conv1d(3, 4, 0); }) == "ValueError: Conv1d: kernel = 0 must be at least 1");
  CHECK(thrown([] { nn::Conv1d(3, 4, 2, {.groups = 2}); }) ==
        "ValueError: Conv1d: groups = 2 does not divide in = 3 and out = 4");
  CHECK(thrown([] { nn::Conv1d(3, 4, 2, {.stride = 2, .padding = same_padding}); }) ==
        "ValueError: Conv1d: same_padding needs a stride of 1, not 2");
}
