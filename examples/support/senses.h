// Words whose sense only their sentence tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace examples {

/// Senses of all words together, two each.
inline constexpr std::int64_t sense_count = 12;

struct Questions {
  std::vector<std::vector<std::string>> sentences;
  std::vector<std::int64_t> places, answers;  ///< where the ambiguous words stand, and which sense they have
};

/// n sentences by the default generator: in each an ambiguous word between two hints at its sense.
Questions ask(std::int64_t n);

}  // namespace examples
