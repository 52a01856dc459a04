#include "examples/support/mechanisms.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "examples/support/curves.h"
#include "nn/nn.h"

namespace examples {

using namespace attune;

namespace {

constexpr std::int64_t features = 64, projected = 64;
using Size = std::int64_t;
using Any = nn::AttentionMechanism;
const Mechanism mechanisms[] = {
    {"exact", [](Size, bool, Size) { return Any(); }},
    {"window", [](Size, bool, Size chunk) -> Any { return AttentionPattern::sliding_window(2 * chunk); }},
    {"local",
     [](Size, bool causal, Size chunk) -> Any { return LocalOptions{.chunk = chunk, .chunks_after = causal ? 0 : 1}; }},
    {"lsh",
     [](Size, bool causal, Size chunk) -> Any {
       constexpr auto power = BucketCount::power_of_two;
       return LshOptions{.hashes = 2, .chunk = chunk, .chunks_after = causal ? 0 : 1, .bucket_count = power};
     }},
    {"linear", [](Size, bool, Size) -> Any { return LinearAttentionOptions{}; }},
    {"performer", [](Size, bool, Size) -> Any { return nn::PerformerOptions{.features = features}; }},
    {"linformer",
     [](Size n, bool, Size) -> Any {
       constexpr auto shared = nn::LinformerSharing::key_value;
       return nn::LinformerOptions{.length = n, .projected = std::min(projected, n), .sharing = shared};
     },
     false},
};

std::vector<std::string> parts_of(const std::string& list) {
  std::vector<std::string> all;
  std::istringstream in(list);
  for (std::string part; std::getline(in, part, ',');) all.push_back(part);
  return all;
}

/// Those of `all` that are named, in the order of `names`; all if it is empty.
template <class T>
std::vector<const T*> named(const CommandLine& line, const std::string& option, const std::string& names,
                            const std::vector<const T*>& all) {
  std::string known;
  for (const T* x : all) known += std::string(known.empty() ? "" : ", ") + x->name;
  std::vector<const T*> some;
  for (const std::string& name : parts_of(names)) {
    const auto at = std::ranges::find_if(all, [&](const T* x) { return x->name == name; });
    if (at == all.end()) line.refuse(fmt::format("{} {}: there is no {} among {}", option, names, name, known));
    some.push_back(*at);
  }
  return names.empty() ? all : some;
}

template <class T, class List>
std::vector<const T*> addresses(const List& list) {
  std::vector<const T*> all;
  for (const T& x : list) all.push_back(&x);
  return all;
}

}  // namespace

std::vector<const Mechanism*> mechanisms_of(const CommandLine& line, const std::string& option,
                                            const std::string& names) {
  return named(line, option, names, addresses<Mechanism>(mechanisms));
}

std::vector<const LongTask*> tasks_of(const CommandLine& line, const std::string& option, const std::string& names) {
  return named(line, option, names, addresses<LongTask>(long_tasks()));
}

std::vector<std::int64_t> lengths_of(const CommandLine& line, const std::string& option, const std::string& list) {
  std::vector<std::int64_t> all;
  for (const std::string& part : parts_of(list)) {
    const bool is_number = !part.empty() && part.size() < 8 && part.find_first_not_of("0123456789") == part.npos;
    const std::int64_t n = is_number ? std::stoll(part) : 0;
    if (n < 16 || n % 2 != 0 || (!all.empty() && n <= all.back()))
      line.refuse(
          fmt::format("{} {}: \"{}\" is no even number of 16 or more, above the one before", option, list, part));
    all.push_back(n);
  }
  if (all.empty()) line.refuse(option + " is empty");
  return all;
}

void draw_pattern(const std::string& path, const Mechanism& m) {
  constexpr std::int64_t n = 64, small_chunk = 8;
  Generator g(5);
  manual_seed(1);
  const NoGrad off;
  const nn::HeadsAttention attention(1, n, m.make(n, m.can_be_causal, small_chunk));
  const Tensor q = 0.5 * randn({1, n, 1, n}, float32, g), k = randn({1, n, 1, n}, float32, g),
               v = reshape(eye(n), q.shape());
  const Tensor weights = reshape(attention(q, k, v, {.causal = m.can_be_causal}), {n, n});
  const Tensor shares = abs(weights) / amax(abs(weights), {1}, true);
  draw_images(path, "key", "query", {{m.name, shares}});
}

}  // namespace examples
