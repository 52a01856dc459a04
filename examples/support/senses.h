// Words whose sense only their sentence tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace examples {

/// Senses of all words together, two each.
inline constexpr std::int64_t sense_count = 12;
/// Words that hint at a sense, each as good as the others.
inline constexpr std::int64_t hint_count = 6;

struct Questions {
  std::vector<std::vector<std::string>> sentences;
  std::vector<std::int64_t> places, answers;  ///< where the ambiguous words stand, and which sense they have
};

/// n sentences by the default generator, with hints of the words' senses among `hints` ones from `first` on.
Questions ask(std::int64_t n, std::int64_t first = 0, std::int64_t hints = hint_count);

}  // namespace examples
