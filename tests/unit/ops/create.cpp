// Tensors from numbers, lists and containers, and back.

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <list>
#include <span>

#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

enum { padding, beginning, end_mark };

template <class T>
void check_container(DType expected) {
  CAPTURE(name_of(expected));
  CAPTURE(sizeof(T));
  const std::vector<T> v{static_cast<T>(1), static_cast<T>(0), static_cast<T>(1), static_cast<T>(1)};
  CHECK(tensor(v).dtype() == expected);
  CHECK(same(tensor(v), {4}, {1, 0, 1, 1}));
  CHECK(same(tensor(v, {2, 2}), {2, 2}, {1, 0, 1, 1}));
  CHECK(tensor(v, {2, 2}).dtype() == expected);
  for (const DType t : {float32, float64, int64, int32, boolean}) {
    CHECK(tensor(v, t).dtype() == t);
    CHECK(same(tensor(v, Shape{4, 1}, t), {4, 1}, {1, 0, 1, 1}));
  }
  CHECK(tensor(std::vector<T>{}).dtype() == expected);
  CHECK(tensor(std::vector<T>{}).shape() == Shape{0});
  CHECK(tensor(std::vector<std::vector<T>>{v, v}).dtype() == expected);
  CHECK(same(tensor(std::vector<std::vector<T>>{v, v}), {2, 4}, {1, 0, 1, 1, 1, 0, 1, 1}));
  CHECK(tensor(v).template to_vector<T>() == v);
  CHECK(tensor(v, float64).template to_vector<T>() == v);
  CHECK(tensor(v, boolean).template to_vector<T>() == v);
  CHECK(tensor(v)[0].template item<T>() == v[0]);
}

}  // namespace

TEST_CASE("create: containers of every arithmetic type") {
  check_container<bool>(boolean);
  check_container<char>(int64);
  check_container<signed char>(int64);
  check_container<unsigned char>(int64);
  check_container<short>(int64);
  check_container<unsigned short>(int64);
  check_container<int>(int64);
  check_container<unsigned>(int64);
  check_container<long>(int64);
  check_container<unsigned long>(int64);
  check_container<long long>(int64);
  check_container<unsigned long long>(int64);
  check_container<float>(float32);
  check_container<double>(float32);
  check_container<long double>(float32);
}

TEST_CASE("create: braces, nested to any depth") {
  CHECK(same(tensor({1, 2, 3}), tensor(std::vector<float>{1, 2, 3})));
  CHECK(tensor({{1, 2}, {3, 4}}).dtype() == float32);
  CHECK(same(tensor({{1, 2}, {3, 4}}), {2, 2}, {1, 2, 3, 4}));
  CHECK(same(tensor({{1, 2.5}, {3, 4}}, float64), {2, 2}, {1, 2.5, 3, 4}));
  CHECK(same(tensor({{1, 2}, {3, 4}}, int64), index_tensor({1, 2, 3, 4}, {2, 2})));
  CHECK(same(tensor({{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}), {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}));
  CHECK(same(tensor({{{{1}, {2}}, {{3}, {4}}}}), {1, 2, 2, 1}, {1, 2, 3, 4}));
  CHECK(same(tensor({1}), {1}, {1}));
  CHECK(same(tensor({{1}}), {1, 1}, {1}));
  CHECK(same(tensor({{1}, {2}}), {2, 1}, {1, 2}));
  CHECK(same(tensor({{true, false}, {false, true}}, boolean), {2, 2}, {1, 0, 0, 1}));
  CHECK(same(tensor(7, int32), scalar(7, int32)));
  CHECK(tensor({}).shape() == Shape{0});
  CHECK(tensor({{}, {}}).shape() == Shape{2, 0});
  CHECK(same(tensor({5}, {}), {}, {5}));
  CHECK(same(tensor(std::vector<int>{5}, {}), {}, {5}));
  CHECK(same(tensor({{1, 2}, {3, 4}}, {4}), {4}, {1, 2, 3, 4}));
  CHECK(same(tensor({padding, beginning, end_mark}, int64), index_tensor({0, 1, 2})));
  // Numbers that are known only when the program runs, exactly.
  const std::int64_t big = (std::int64_t{1} << 53) + 1;
  const std::size_t count = 3;
  CHECK(tensor({big, -big}, int64).to_vector<std::int64_t>() == std::vector<std::int64_t>{big, -big});
  CHECK(same(tensor({count, count + 1}), {2}, {3, 4}));
  CHECK(index_tensor({{big}, {1}}).to_vector<std::int64_t>() == std::vector<std::int64_t>{big, 1});
}

TEST_CASE("create: arrays, spans, lists and what is made on the way") {
  const std::array<std::array<float, 2>, 2> square{{{1, 2}, {3, 4}}};
  CHECK(same(tensor(square), {2, 2}, {1, 2, 3, 4}));
  const int plain[2][3] = {{1, 2, 3}, {4, 5, 6}};
  CHECK(same(tensor(plain), {2, 3}, {1, 2, 3, 4, 5, 6}));
  CHECK(tensor(plain).dtype() == int64);
  std::vector<double> v{1, 2, 3, 4, 5, 6};
  CHECK(same(tensor(std::span<double>(v).subspan(2), {2, 2}), {2, 2}, {3, 4, 5, 6}));
  CHECK(same(tensor(std::span<const double>(v)), {6}, v));
  CHECK(same(tensor(std::list<short>{1, 2}), {2}, {1, 2}));
  CHECK(same(tensor(std::deque<std::vector<bool>>{{true, false}, {false, false}}), {2, 2}, {1, 0, 0, 0}));
  CHECK(same(tensor({v, v}), stack({tensor(v), tensor(v)})));
  const std::vector<std::int64_t> tokens{3, 1};
  CHECK(same(tensor({tokens, tokens}), index_tensor({3, 1, 3, 1}, {2, 2})));
  CHECK(same(tensor(zeros({2, 3}).shape()), index_tensor({2, 3})));
  v[0] = 100;
  const Tensor copy = tensor(v);
  v[0] = 1;
  CHECK(copy[0].item() == 100);
  // A range whose elements exist only while it is walked.
  struct Rows {
    std::vector<int> numbers{0, 1};
    struct Iterator {
      int i;
      std::vector<float> operator*() const { return {static_cast<float>(i), static_cast<float>(10 * i)}; }
      Iterator& operator++() { return ++i, *this; }
      bool operator!=(const Iterator& o) const { return i != o.i; }
    };
    Iterator begin() const { return {0}; }
    Iterator end() const { return {3}; }
  };
  CHECK(same(tensor(Rows{}), {3, 2}, {0, 0, 1, 10, 2, 20}));
}

TEST_CASE("create: ragged lists and counts that do not fit are refused by their places") {
  const auto text = [](const auto& f) { return refusal<ShapeError>(f); };
  CHECK(text([] { tensor({{1, 2}, {3}}); }) == "tensor: ragged lists: [1] has 1 elements, but [0] has 2 elements");
  CHECK(text([] {
          tensor({{{1}, {2}}, {{3}, {4, 5}}});
        }) == "tensor: ragged lists: [1][1] has 2 elements, but [0][0] has 1 elements");
  CHECK(text([] { tensor({{1, 2}, 3}); }) == "tensor: ragged lists: [1] is a number, but [0] has 2 elements");
  CHECK(text([] { tensor({3, {1, 2}}); }) == "tensor: ragged lists: [1] has 2 elements, but [0] is a number");
  CHECK(text([] {
          tensor(std::vector<std::vector<int>>{{1, 2, 3}, {1, 2}});
        }) == "tensor: ragged lists: [1] has 2 elements, but [0] has 3 elements");
  CHECK(text([] { tensor({{1, 2}, {3}}, {3}); }).starts_with("tensor: ragged lists"));
  CHECK(text([] { tensor({1, 2, 3}, {2, 2}); }) == "tensor: 3 values do not fill [2, 2], which needs 4");
  CHECK(text([] { tensor(std::vector<long>{1}, {2}); }) == "tensor: 1 value does not fill [2], which needs 2");
  CHECK(text([] { index_tensor({1, 2, 3}, {2}); }) == "index_tensor: 3 values do not fill [2], which needs 2");
  CHECK(text([] { tensor({1, 2}, {-1}); }).starts_with("tensor: "));
  CHECK(text([] { tensor({{{{{{{{{{{1}}}}}}}}}}}); }) ==
        "tensor: lists are nested deeper than the 10 axes of a tensor");
  const int line = __LINE__ + 2;
  try {
    tensor({1, 2, 3}, {2});
  } catch (const ShapeError& e) {
    CHECK(e.where().line == line);
  }
}

TEST_CASE("create: a number that the dtype cannot hold is refused") {
  const auto text = [](const auto& f) { return refusal<DTypeError>(f); };
  CHECK(text([] {
          tensor(std::vector<std::uint64_t>{1, std::numeric_limits<std::uint64_t>::max()});
        }) == "tensor: element 1, 18446744073709551615, does not fit the dtype int64");
  CHECK(text([] { tensor(std::vector<long>{3'000'000'000}, int32); }) ==
        "tensor: element 0, 3000000000, does not fit the dtype int32");
  CHECK(text([] { tensor({1e20}, int64); }) == "tensor: element 0, 1e+20, does not fit the dtype int64");
  CHECK(text([] { tensor({{0.0, not_a_number}}, int32); }) == "tensor: element 1, nan, does not fit the dtype int32");
  CHECK(text([] { tensor(std::vector<float>{0x1p31F}, int32); }).find("2.14748e+09") != std::string::npos);
  CHECK(text([] { tensor({0x1p63}, int64); }).find("does not fit") != std::string::npos);
  CHECK(text([] { index_tensor({0.5}); }) == "index_tensor: needs integers, got real numbers");
  CHECK(text([] { index_tensor(std::vector<float>{1}); }) == "index_tensor: needs integers, got real numbers");
  // The ends of the ranges, and what rounds.
  CHECK(tensor({-0x1p63}, int64).item<std::int64_t>() == lowest);
  CHECK(tensor(std::vector<float>{-0x1p31F}, int32).item<int>() == std::numeric_limits<int>::min());
  CHECK(tensor({2147483647.9, -2147483648.9}, int32).to_vector<int>() ==
        std::vector<int>{2147483647, std::numeric_limits<int>::min()});
  CHECK(tensor(std::vector<std::uint64_t>{std::uint64_t{highest}}).item<std::int64_t>() == highest);
  CHECK(same(tensor(std::vector<std::uint64_t>{~std::uint64_t{0}}, float64), {1}, {0x1p64}));
  CHECK(same(tensor({1e300}), {1}, {inf}));
  CHECK(same(tensor({1.9, -1.9}, int64), {2}, {1, -1}));
}

TEST_CASE("create: back to vectors, with a check of shape and range") {
  const Tensor x = transpose(tensor({{1, 2}, {3, 4}, {5, 6}}, int64));
  using Rows = std::vector<std::vector<float>>;
  CHECK(x.to_vector<short>() == std::vector<short>{1, 3, 5, 2, 4, 6});
  CHECK(x.to_vector<float>({2, 3}) == std::vector<float>{1, 3, 5, 2, 4, 6});
  CHECK(x.to_vector<float>({-1, 3}).size() == 6);
  CHECK(x.to_nested<Rows>() == Rows{{1, 3, 5}, {2, 4, 6}});
  CHECK(x[1].to_nested<std::vector<std::uint8_t>>() == std::vector<std::uint8_t>{2, 4, 6});
  CHECK((x > 2).to_nested<std::vector<std::vector<bool>>>() ==
        std::vector<std::vector<bool>>{{false, true, true}, {false, true, true}});
  CHECK(x[0][1].to_nested<double>() == 3);
  CHECK(zeros({2, 0, 3}).to_nested<std::vector<Rows>>() == std::vector<Rows>{{}, {}});
  CHECK(same(tensor(x.to_nested<Rows>(), int64), x));
  CHECK(refusal<ShapeError>([&] { x.to_vector<float>({3, 2}); }) == "to_vector: expected [3, 2], the tensor is [2, 3]");
  CHECK(refusal<ShapeError>([&] { x.to_vector<float>({6}); }) == "to_vector: expected [6], the tensor is [2, 3]");
  CHECK(refusal<ShapeError>([&] { x[0].to_nested<Rows>(); }) ==
        "to_nested: vectors nested 2 deep need a tensor of rank 2, got [3]");
  CHECK(refusal<ShapeError>([&] { x.item<int>(); }) == "item: needs one element, got [2, 3]");
  CHECK(refusal<DTypeError>([&] {
          tensor({1, 300}).to_vector<std::uint8_t>();
        }) == "to_vector: element 1 of [2] float32, 300, is outside of the range of the type");
  CHECK(refusal<DTypeError>([&] { tensor({-1}, int64).to_vector<unsigned>(); }).find("-1, is outside") !=
        std::string::npos);
  CHECK(refusal<DTypeError>([&] { tensor({inf}).to_vector<std::int64_t>(); }).find("inf, is outside") !=
        std::string::npos);
  CHECK(refusal<DTypeError>([&] { tensor({not_a_number}).item<int>(); }).starts_with("item: element 0 of [1]"));
  CHECK(index_tensor({highest}).item<std::int64_t>() == highest);
  CHECK(tensor({2, 0.5, 0}).to_vector<bool>() == std::vector<bool>{true, true, false});
}

}  // namespace attune::tests
