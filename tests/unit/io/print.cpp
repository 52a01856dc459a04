// Tensors as text, by exact strings.

#include <doctest/doctest.h>

#include <cmath>
#include <iostream>
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

TEST_CASE("print: shapes, dtypes, lists of tensors") {
  std::ostringstream out;
  out << zeros({2, 3}).shape() << Shape{} << float64 << zeros({1}, boolean).dtype();
  CHECK(out.str() == "[2, 3][]float64bool");
  out.str("");
  out << Tensors{tensor({1, 2}), tensor({{1, 2}, {3, 4}}), Tensor()} << Tensors{};
  CHECK(out.str() == "[tensor([1, 2]),\n tensor([[1, 2],\n         [3, 4]]),\n tensor(undefined)][]");
}

TEST_CASE("print: print() writes a line to std::cout") {
  std::ostringstream out;
  std::streambuf* before = std::cout.rdbuf(out.rdbuf());
  tensor({1, 2}).print();
  Tensor().print();
  tensor({1.5}).requires_grad_().grad().print();
  std::cout.rdbuf(before);
  CHECK(out.str() ==
        "tensor([1, 2])\ntensor(undefined)\n"
        "tensor(undefined: no backward pass has reached the tensor since its gradient was last cleared)\n");
}

TEST_CASE("print: an undefined gradient says why") {
  Tensor plain = tensor({1, 2}), x = tensor({3, 4}).requires_grad_(), unused = tensor({5}).requires_grad_();
  Tensor y = plain * x, kept = x * x;
  kept.retain_grad();
  sum(y + kept).backward();
  CHECK(to_string(plain.grad()) ==
        "tensor(undefined: the tensor requires no gradient; requires_grad_() asks for one before it is used)");
  CHECK(to_string(y.grad()) ==
        "tensor(undefined: the result of an operation keeps its gradient only if retain_grad() is called before "
        "backward())");
  CHECK(to_string(unused.grad()) ==
        "tensor(undefined: no backward pass has reached the tensor since its gradient was last cleared)");
  CHECK(to_string(x.grad()) == "tensor([ 7, 10])");
  CHECK(to_string(kept.grad()) == "tensor([1, 1])");
  CHECK(x.grad().why_undefined() == nullptr);
  x.zero_grad();
  CHECK_FALSE(x.grad().defined());
  const Tensor g = x.grad();  // an ordinary undefined tensor
  CHECK(to_string(g) == "tensor(undefined)");
}

}  // namespace attune::tests
