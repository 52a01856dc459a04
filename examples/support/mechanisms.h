// Attention's mechanisms for programs that compare them: by name, with sizes that suit each other.
#pragma once

#include <string>
#include <vector>

#include "examples/support/command_line.h"
#include "examples/support/long_tasks.h"
#include "nn/attention/mechanism.h"

namespace examples {

struct Mechanism {
  const char* name;
  attune::nn::AttentionMechanism (*make)(std::int64_t n, bool causal, std::int64_t chunk);
  bool can_be_causal = true;
};

/// Those of the comma-separated `names`, all if it is empty. Refuses names that are none.
std::vector<const Mechanism*> mechanisms_of(const CommandLine& line, const std::string& option,
                                            const std::string& names);

/// Tasks by name, likewise.
std::vector<const LongTask*> tasks_of(const CommandLine& line, const std::string& option, const std::string& names);

/// The numbers of a comma-separated list, each even, at least 16 and larger than the one before. Refuses others.
std::vector<std::int64_t> lengths_of(const CommandLine& line, const std::string& option, const std::string& list);

/// Draws what each of 64 queries takes from each key: the output for values that are the keys' own unit vectors.
void draw_pattern(const std::string& path, const Mechanism& m);

}  // namespace examples
