// A number of any arithmetic type next to a tensor, kept exactly: an integer never passes through floating point on its
// way to an integer tensor.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include "autograd/runtime/dtype.h"

namespace attune {

class Scalar {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr Scalar(T v) {
    if constexpr (std::is_integral_v<T> && (std::is_signed_v<T> || sizeof(T) < 8)) {
      integral_ = true;
      integer_ = v;
    } else if constexpr (std::is_integral_v<T>) {
      integral_ = v <= static_cast<T>(std::numeric_limits<std::int64_t>::max());
      if (integral_)
        integer_ = static_cast<std::int64_t>(v);
      else
        real_ = static_cast<double>(v);
    } else {
      real_ = static_cast<double>(v);
    }
  }
  /// An unscoped enumerator, as `enum { padding, start };`, is its integer.
  template <class T>
  requires(std::is_enum_v<T>&& std::is_convertible_v<T, int>) constexpr Scalar(T v)
      : Scalar(static_cast<std::underlying_type_t<T>>(v)) {}

  /// An integer, or a double otherwise.
  bool integral() const { return integral_; }
  std::int64_t integer() const { return integer_; }
  double real() const { return integral_ ? static_cast<double>(integer_) : real_; }

  /// As an element type that fits() has said yes to, or as a floating one.
  template <class T>
  T to() const {
    return integral_ ? static_cast<T>(integer_) : static_cast<T>(real_);
  }
  /// Whether a tensor of this dtype can hold the number: integers within range, for bool 0 and 1.
  /// Floating dtypes round.
  bool fits(DType t) const {
    if (is_floating(t)) return true;
    if (t == DType::boolean) return real() == 0 || real() == 1;
    if (integral_) return t == DType::int64 || integer_ == static_cast<std::int32_t>(integer_);
    const double bound = t == DType::int64 ? 0x1p63 : 0x1p31;
    return real_ >= -bound && real_ < bound && real_ == static_cast<double>(static_cast<std::int64_t>(real_));
  }

 private:
  bool integral_ = false;
  union {
    double real_ = 0;
    std::int64_t integer_;
  };
};

}  // namespace attune
