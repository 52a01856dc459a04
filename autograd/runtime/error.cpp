#include "autograd/runtime/error.h"

#include <cstring>

namespace attune {

std::string Here::str() const {
  if (line == 0) return "";
  const char* slash = std::strrchr(file, '/');
  return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
}

namespace {
std::string with_site(const std::string& message, Here here) {
  return here.line == 0 ? message : message + "\n  at " + here.str();
}
}  // namespace

Error::Error(const std::string& message, Here here) : std::runtime_error(with_site(message, here)), here_(here) {}

}  // namespace attune
