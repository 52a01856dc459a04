// Numbers from one arithmetic type to another, without leaving its range unnoticed.
#pragma once

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>

namespace attune::detail {

/// Whether To can hold v, a real number cut towards zero first. NaN fits no integer type; everything fits bool (as
/// v != 0) and the floating types (as infinity at worst).
template <class To, class From>
bool in_range_of(From v) {
  if constexpr (std::is_same_v<To, bool> || std::is_floating_point_v<To> || std::is_same_v<From, bool>) {
    return true;
  } else if constexpr (std::is_floating_point_v<From>) {
    using Wide = std::common_type_t<From, double>;
    const Wide cut = std::trunc(static_cast<Wide>(v)), bound = std::ldexp(Wide{1}, std::numeric_limits<To>::digits);
    return cut >= (std::is_signed_v<To> ? -bound : Wide{0}) && cut < bound;  // neither for NaN
  } else {
    const To t = static_cast<To>(v);
    return static_cast<From>(t) == v && (t < To{}) == (v < From{});
  }
}

/// v as To; the caller has asked in_range_of.
template <class To, class From>
To cut_to(From v) {
  if constexpr (std::is_same_v<To, bool>)
    return v != From{};
  else
    return static_cast<To>(v);
}

/// For messages: integers exactly, reals in six digits.
template <class T>
std::string number_text(T v) {
  if constexpr (std::is_integral_v<T>) {
    return std::to_string(v);
  } else {
    std::ostringstream out;
    out << v;
    return out.str();
  }
}

}  // namespace attune::detail
