#include "nn/metrics/classification.h"

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("accuracy: classes or scores, over batches, without ignored targets") {
  const Tensor targets = index_tensor({2, 0, -100, 1}, {2, 2});
  CHECK(nn::accuracy(index_tensor({2, 1, 5, 1}, {2, 2}), targets) == doctest::Approx(2.0 / 3));
  const Tensor scores = tensor({{0, 1, 3}, {2, 1, 0}, {9, 0, 0}, {1, 1, 0}});  // of equal ones the first
  CHECK(nn::accuracy(reshape(scores, {2, 2, 3}), targets) == doctest::Approx(2.0 / 3));
  nn::Accuracy a;
  CHECK(std::isnan(a.value()));
  a.add(index_tensor({1, 1}, {2}), index_tensor({1, 0}, {2}));
  a.add(index_tensor({3}, {1}), index_tensor({3}, {1}));
  CHECK(a.count() == 3);
  CHECK(a.right() == 2);
  a.add(index_tensor({3}, {1}), index_tensor({-100}, {1}));
  CHECK(a.value() == doctest::Approx(2.0 / 3));
  CHECK(thrown([&] { a.add(zeros({3}, int64), zeros({2}, int64)); }) ==
        "ShapeError: accuracy: predictions [3] do not fit targets [2]");
  CHECK(thrown([&] { a.add(zeros({2}), zeros({2}, int64)); }) ==
        "ShapeError: accuracy: predictions [2] do not fit targets [2], which want scores [..., classes]");
  CHECK(thrown([&] { a.add(zeros({2}, int64), zeros({2})); }) ==
        "DTypeError: accuracy: targets must be of int64, got float32");
  CHECK(thrown([&] { a.add(zeros({2}, boolean), zeros({2}, int64)); }).starts_with("DTypeError"));
  CHECK(thrown([&] { a.add({}, zeros({2}, int64)); }).starts_with("ValueError"));
  CHECK(a.count() == 3);
}

TEST_CASE("F1: binary, macro and micro, by hand") {
  //                  class 0: TP 1, FP 1, FN 1; class 1: TP 2, FP 1, FN 1; class 2: TP 0, FP 1, FN 1
  const Tensor targets = index_tensor({0, 0, 1, 1, 1, 2, -100}, {7});
  const Tensor predictions = index_tensor({0, 1, 1, 1, 2, 0, 1}, {7});
  CHECK(nn::f1(predictions, targets, {.average = nn::Average::binary}) == doctest::Approx(2.0 / 3));
  CHECK(nn::f1(predictions, targets, {.average = nn::Average::binary, .positive = 0}) == doctest::Approx(0.5));
  CHECK(nn::f1(predictions, targets, {.average = nn::Average::binary, .positive = 7}) == 0);
  CHECK(nn::f1(predictions, targets) == doctest::Approx((0.5 + 2.0 / 3 + 0) / 3));
  CHECK(nn::f1(predictions, targets, {.average = nn::Average::micro}) == doctest::Approx(0.5));
  CHECK(nn::accuracy(predictions, targets) == doctest::Approx(0.5));
  // Precision and recall apart; batch by batch is the same as at once.
  const Tensor t = index_tensor({1, 1, 1, 0, 0}, {5}), p = index_tensor({1, 0, 0, 1, 0}, {5});
  nn::F1 f({.average = nn::Average::binary});
  CHECK(f.value() == 0);
  f.add(slice(p, 0, 0, 2), slice(t, 0, 0, 2));
  f.add(slice(p, 0, 2, 5), slice(t, 0, 2, 5));
  CHECK(f.precision() == doctest::Approx(0.5));
  CHECK(f.recall() == doctest::Approx(1.0 / 3));
  CHECK(f.value() == doctest::Approx(0.4));
}

TEST_CASE("metrics: a target that is no class of the scores") {
  const Tensor scores = zeros({2, 4});
  CHECK_THROWS_AS(nn::accuracy(scores, index_tensor({1, 9}, {2})), IndexError);
  CHECK_THROWS_AS(nn::f1(scores, index_tensor({-1, 2}, {2})), IndexError);
  CHECK(nn::accuracy(scores, index_tensor({-100, 0}, {2})) == 1);
}

}  // namespace attune::tests
