#include "autograd/runtime/philox.h"

#include <utility>

namespace attune {

namespace {
thread_local constinit KeySource* key_source = nullptr;
}  // namespace

RandomKey Generator::next() { return key_source ? key_source->draw(*this) : advance(); }

KeySource* KeySource::replace(KeySource* source) noexcept { return std::exchange(key_source, source); }

std::array<std::uint32_t, 4> philox(RandomKey key, std::uint64_t block) {
  constexpr std::uint64_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  std::uint32_t c0 = low(block), c1 = high(block), c2 = low(key.counter), c3 = high(key.counter);
  std::uint32_t k0 = low(key.seed), k1 = high(key.seed);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = multiplier0 * c0, p1 = multiplier1 * c2;
    c0 = high(p1) ^ c1 ^ k0;
    c1 = low(p1);
    c2 = high(p0) ^ c3 ^ k1;
    c3 = low(p0);
    k0 += weyl0;
    k1 += weyl1;
  }
  return {c0, c1, c2, c3};
}

Generator& default_generator() {
  static Generator g;
  return g;
}

void manual_seed(std::uint64_t seed) { default_generator().seed(seed); }

}  // namespace attune
