// Checks of constructors' arguments, shared by the layers. Internal to nn/.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>

#include "autograd/runtime/error.h"
#include "nn/module.h"

namespace attune::nn::detail {

/// Gives back what it is asked about, or throws ValueError, "Linear: out = -3 must be at least 1", at the line that
/// made the module.
class Check {
 public:
  Check(const char* type, Here here) : type_(type), here_(here) {}
  Check(const char* type, const Module& m) : Check(type, m.site()) {}

  [[noreturn]] void fail(const std::string& what) const { throw ValueError(type_ + (": " + what), here_); }
  std::int64_t at_least(std::int64_t least, std::int64_t n, const char* what) const {
    if (n < least) fail(what + (" = " + std::to_string(n)) + " must be at least " + std::to_string(least));
    return n;
  }
  /// In [0, 1].
  double probability(double p, const char* what) const {
    if (!(p >= 0 && p <= 1)) fail(what + (" = " + std::to_string(p)) + " is not in [0, 1]");
    return p;
  }
  /// Finite and not negative.
  double finite(double x, const char* what) const {
    if (!(x >= 0 && std::isfinite(x))) fail(what + (" = " + std::to_string(x)) + " must be finite and not negative");
    return x;
  }
  double epsilon(double eps) const { return finite(eps, "eps"); }
  /// Of attention within chunks.
  void window(std::int64_t chunk, std::int64_t before, std::int64_t after, double dropout) const {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    for (const auto& [least, n, what] :
         {std::tuple{1, chunk, "chunk"}, {0, before, "chunks_before"}, {0, after, "chunks_after"}})
      if (n < least || n > most)
        fail(what + (" = " + std::to_string(n)) + " is not in [" + std::to_string(least) + ", " + std::to_string(most) +
             "]");
    probability(dropout, "dropout");  // 1 is for the operation to refuse, in training
  }
  /// The size of a head: d_model / heads, which must then be whole.
  std::int64_t head_dim(std::int64_t d_model, std::int64_t heads) const {
    if (d_model % heads != 0)
      fail("heads = " + std::to_string(heads) + " does not divide d_model = " + std::to_string(d_model));
    return d_model / heads;
  }

 private:
  const char* type_;
  Here here_;
};

}  // namespace attune::nn::detail
