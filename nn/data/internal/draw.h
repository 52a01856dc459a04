// Numbers one by one from one drawing of a generator. Internal to nn/data.
#pragma once

#include "autograd/runtime/philox.h"

namespace attune::nn::detail {

class Draw {
 public:
  explicit Draw(Generator& g) : key_(g.next()) {}
  std::uint64_t word() {
    const auto w = philox(key_, block_++);
    return std::uint64_t{w[1]} << 32 | w[0];
  }
  /// In [0, n), each as likely as the others to 2^-64.
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(static_cast<unsigned __int128>(word()) * static_cast<std::uint64_t>(n) >> 64);
  }
  double real() { return static_cast<double>(word() >> 11) * 0x1p-53; }  ///< in [0, 1)

 private:
  RandomKey key_;
  std::uint64_t block_ = 0;
};

}  // namespace attune::nn::detail
