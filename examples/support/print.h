// Formatted text on standard output, of which nobody need be listening (nn/training/output.h).
#pragma once

#include <fmt/format.h>

#include <utility>

#include "nn/training/output.h"

namespace examples {

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  attune::nn::print_text(fmt::format(format, std::forward<Args>(args)...));
  attune::nn::flush_output();
}

}  // namespace examples
