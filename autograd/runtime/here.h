// The place in a user's source that called a function: the default last argument of every public operation.
//
// std::source_location would do, but clang 14 cannot use libstdc++ 12's; the two builtins below work in both compilers
// and are evaluated where the outermost default argument is used.
#pragma once

#include <string>

namespace attune {

struct Here {
  const char* file = "";
  int line = 0;

  static constexpr Here current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return Here{file, line};
  }

  /// "train.cpp:42": the file's last path component and the line; "" if the place is unknown.
  std::string str() const;
};

}  // namespace attune
