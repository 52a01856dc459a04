// Dates as people write them, and as ISO 8601 does: a task of translation that needs no file.
#pragma once

#include <cstdint>

#include "examples/support/parallel_text.h"

namespace examples {

/// `n` pairs: a sentence with 1 to `most_dates` dates of 1900 to 2099, in words or figures, between other words ("they
/// met on wednesday the twenty first of march , nineteen eighty four , preceded by 5 / 30 / 1981"), and the dates in
/// the order of time that it tells: "1981 -05 -30 1984 -03 -21". The same ones for a seed.
ParallelText written_dates(std::int64_t n, std::int64_t most_dates, std::uint64_t seed);

}  // namespace examples
