// Numbers beside tensors: exact if the tensor holds integers, refused if it cannot hold them.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/autograd.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

constexpr std::int64_t big = (std::int64_t{1} << 53) + 1;  // no double
constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t smallest = std::numeric_limits<std::int64_t>::min();

std::vector<std::int64_t> integers(const Tensor& x) { return x.to_vector<std::int64_t>(); }
using List = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("scalars: beside int64 an integer is exact") {
  const Tensor x = index_tensor({big, big - 1, largest, smallest});
  CHECK(integers(eq(x, big)) == List{1, 0, 0, 0});
  CHECK(integers(lt(big - 1, x)) == List{1, 0, 1, 0});
  CHECK(integers(ge(x, largest)) == List{0, 0, 1, 0});
  CHECK(integers(eq(x, smallest)) == List{0, 0, 0, 1});
  CHECK(integers(x + big) == List{2 * big, 2 * big - 1, smallest + big - 1, smallest + big});
  CHECK(integers(maximum(x, big)) == List{big, big, largest, big});
  CHECK(integers(where(lt(x, 0), big, x)) == List{big, big - 1, largest, big});
  CHECK(integers(masked_fill(x, lt(x, 0), big)) == List{big, big - 1, largest, big});
  CHECK(integers(full({2}, big, int64)) == List{big, big});
  CHECK(integers(full_like(x, largest)) == List{largest, largest, largest, largest});
  CHECK(integers(pad(x, 0, 1, 0, big)) == List{big, big, big - 1, largest, smallest});
  CHECK(integers(scatter(x, 0, index_tensor({3}), big)) == List{big, big - 1, largest, big});
  CHECK(integers(addcmul(index_tensor({1}), index_tensor({1}), index_tensor({1}), big)) == List{big + 1});
  Tensor y = index_tensor({0, 1});
  CHECK(integers(fill_(y, big)) == List{big, big});
  CHECK(integers(add_(y, index_tensor({1, 0}), big)) == List{2 * big, big});
  CHECK(integers(eq(x, std::uint64_t{largest})) == List{0, 0, 1, 0});
}

TEST_CASE("scalars: what an integer tensor cannot hold is refused by name") {
  const Tensor i = zeros({2}, int32), l = zeros({2}, int64), b = zeros({2}, boolean);
  const auto text = [](const auto& f) { return refusal<DTypeError>(f); };
  CHECK(text([&] { lt(i, 10'000'000'000); }) == "lt: the scalar 10000000000 does not fit the dtype int32 of [2]");
  CHECK(text([&] { lt(i, 1e10); }) == "lt: the scalar 1e+10 does not fit the dtype int32 of [2]");
  CHECK(text([&] { l + INFINITY; }) == "add: the scalar inf does not fit the dtype int64 of [2]");
  CHECK(text([&] { NAN* l; }) == "mul: the scalar nan does not fit the dtype int64 of [2]");
  CHECK(text([&] { eq(l, 0x1p63); }) == "eq: the scalar 9223372036854775808 does not fit the dtype int64 of [2]");
  CHECK(text([&] { eq(l, std::uint64_t{1} << 63); }) ==
        "eq: the scalar 9223372036854775808 does not fit the dtype int64 of [2]");
  CHECK(text([&] { l + 0.5; }) == "add: the scalar 0.5 does not fit the dtype int64 of [2]");
  CHECK(text([&] { eq(b, 2); }) == "eq: the scalar 2 does not fit the dtype bool of [2]");
  CHECK(text([&] { pad(l, 0, 1, 1, 0.5); }) == "pad: the scalar 0.5 does not fit the dtype int64 of [2]");
  CHECK(text([&] { scatter(l, 0, index_tensor({0}), NAN); }) ==
        "scatter: the scalar nan does not fit the dtype int64 of [2]");
  Tensor y = zeros({2}, int64);
  CHECK(text([&] { fill_(y, 1.5); }) == "fill_: the scalar 1.5 does not fit the dtype int64 of [2]");
  // The ends of the ranges, and whole numbers that come as floating ones.
  CHECK(integers(i + std::numeric_limits<std::int32_t>::min()) == List{-2147483648, -2147483648});
  CHECK(integers(l + -0x1p63) == List{smallest, smallest});
  CHECK(integers(l + 3.0) == List{3, 3});
  CHECK(integers(eq(b, false)) == List{1, 1});
}

TEST_CASE("scalars: full converts as a cast does") {
  const std::vector<double> reals{NAN, INFINITY, -INFINITY, 1e10, -1e30, 2.9, -2.9, -0.0};
  for (const DType t : {float32, float64, int64, int32, boolean})
    for (const double v : reals) {
      CAPTURE(v);
      const Tensor a = full({1}, v, t), b = to(tensor({v}, float64), t);
      CHECK((eq(a, b).item() == 1 || (std::isnan(a.item()) && std::isnan(b.item()))));
      CHECK(std::signbit(a.item()) == std::signbit(b.item()));
    }
  CHECK(integers(full({1}, big, int32)) == integers(to(index_tensor({big}), int32)));
  // Straight to float32, not twice rounded.
  const std::int64_t between = (std::int64_t{1} << 54) + (1 << 30) + 1;
  CHECK(full({1}, between).to_vector<float>()[0] == static_cast<float>(between));
}

}  // namespace attune::tests
