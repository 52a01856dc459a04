// Tensors as text, by exact strings.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "autograd/autograd.h"

namespace attune::tests {

TEST_CASE("print: aligned columns, one format a tensor") {
  CHECK(to_string(tensor({1, 2.5, -3})) == "tensor([ 1.0,  2.5, -3.0])");
  CHECK(to_string(tensor({0.1, 1.0 / 3})) == "tensor([0.100000, 0.333333])");
  CHECK(to_string(tensor({1234.5678, 0.25}, float64)) == "tensor([1234.57,    0.25], float64)");
  CHECK(to_string(tensor({1, 2, 30, 4}, {2, 2}, int64)) == "tensor([[ 1,  2],\n        [30,  4]], int64)");
  CHECK(to_string(scalar(7, int32)) == "tensor(7, int32)");
  CHECK(to_string(scalar(-0.5)) == "tensor(-0.5)");
  CHECK(to_string(gt(tensor({1, -1}), 0)) == "tensor([ true, false], bool)");
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(to_string(tensor({std::nan(""), -inf, 1})) == "tensor([ nan, -inf,    1])");
  CHECK(to_string(tensor({inf, 0.5})) == "tensor([inf, 0.5])");
  CHECK(to_string(zeros({2})) == "tensor([0, 0])");
  CHECK(to_string(transpose(tensor({1, 2, 3, 4}, {2, 2}))) == "tensor([[1, 3],\n        [2, 4]])");
  CHECK(to_string(reshape(arange(4), {2, 1, 2})) == "tensor([[[0, 1]],\n\n        [[2, 3]]], int64)");
  CHECK(to_string(expand(scalar(2), {3})) == "tensor([2, 2, 2])");
}

TEST_CASE("print: scientific where fixed digits would show a number falsely; integers exactly") {
  CHECK(to_string(tensor({1e-9, 1})) == "tensor([1e-09, 1e+00])");
  CHECK(to_string(tensor({123456, 0.5})) == "tensor([1.23456e+05, 5.00000e-01])");
  CHECK(to_string(tensor({123456, 2})) == "tensor([123456,      2])");
  CHECK(to_string(tensor({1.5e10})) == "tensor([1.5e+10])");
  CHECK(to_string(tensor({0.00002, 0})) == "tensor([2e-05, 0e+00])");
  CHECK(to_string(tensor({0.00025, 1})) == "tensor([0.00025, 1.00000])");
  Tensor large = zeros({2}, int64);
  large.mutable_data<std::int64_t>()[0] = 9007199254740993;  // no double is this number
  large.mutable_data<std::int64_t>()[1] = std::numeric_limits<std::int64_t>::min();
  CHECK(to_string(large) == "tensor([    9007199254740993, -9223372036854775808], int64)");
}

TEST_CASE("print: large tensors are abridged, long rows go on in the next line") {
  CHECK(to_string(arange(2000)) == "tensor([   0,    1,    2, ..., 1997, 1998, 1999], shape [2000], int64)");
  CHECK(to_string(reshape(arange(1002), {501, 2})) ==
        "tensor([[   0,    1],\n        [   2,    3],\n        [   4,    5],\n        ...,\n"
        "        [ 996,  997],\n        [ 998,  999],\n        [1000, 1001]], shape [501, 2], int64)");
  CHECK(to_string(arange(20)) ==
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19], int64)");
  // Only what is shown is looked at.
  CHECK(to_string(expand(scalar(1), {1'000'000'000'000})) == "tensor([1, 1, 1, ..., 1, 1, 1], shape [1000000000000])");
}

TEST_CASE("print: what does not show is said") {
  CHECK(to_string(zeros({0, 3})) == "tensor([], shape [0, 3], float32)");
  CHECK(to_string(zeros({0}, int64)) == "tensor([], shape [0], int64)");
  CHECK(to_string(Tensor()) == "tensor(undefined)");
  const Tensor x = tensor({1}).requires_grad_();
  CHECK(to_string(x) == "tensor([1], requires_grad)");
  CHECK(to_string(exp(x - 1)) == "tensor([1], from exp)");
  CHECK(to_string(softmax(to(x, float64), 0)) == "tensor([1], float64, from softmax)");
  CHECK(to_string(x.detach()) == "tensor([1])");
  std::ostringstream out;
  out << scalar(2);
  CHECK(out.str() == "tensor(2)");
}

}  // namespace attune::tests
