#include "autograd/trace/internal/parameters.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "autograd/runtime/fork.h"

namespace attune {

namespace {

using detail::Parameter;
using detail::Signature;

/// The names for so many of each; nothing if the signature has another number. A list takes what is left over.
std::optional<OperationParameters> fitted(const Signature& s, std::size_t tensors, std::size_t arguments) {
  const auto count = [&](Parameter::Kind kind) {
    return static_cast<std::size_t>(
        std::count_if(s.parameters.begin(), s.parameters.end(), [kind](const Parameter& p) { return p.kind == kind; }));
  };
  const std::size_t single = count(Parameter::Kind::tensor), lists = count(Parameter::Kind::list);
  const bool fits = arguments == any_number || count(Parameter::Kind::argument) == arguments;
  if (!fits || lists > 1 || single > tensors) return std::nullopt;
  if (lists == 0 && single != tensors) return std::nullopt;
  OperationParameters names;
  for (const Parameter& p : s.parameters) {
    if (p.kind == Parameter::Kind::tensor) {
      names.tensors.emplace_back(p.name);
    } else if (p.kind == Parameter::Kind::argument) {
      names.arguments.emplace_back(p.name);
      names.defaults.emplace_back(p.default_text);
    } else {
      for (std::size_t i = 0; i < tensors - single; ++i)
        names.tensors.push_back(std::string(p.name) + "[" + std::to_string(i) + "]");
    }
  }
  return names;
}

}  // namespace

const OperationParameters* parameters_of(std::string_view operation, std::size_t tensor_count,
                                         std::size_t argument_count) {
  using Key = std::tuple<std::string, std::size_t, std::size_t>;
  static auto* const known = new std::map<Key, std::optional<OperationParameters>>;
  static auto* const mutex = new std::mutex;
  const ForkSafeLock lock(*mutex);
  auto [at, fresh] = known->try_emplace(Key{operation, tensor_count, argument_count});
  if (fresh)
    for (const Signature& s : detail::signatures())
      if (!at->second && operation == s.operation) at->second = fitted(s, tensor_count, argument_count);
  return at->second ? &*at->second : nullptr;
}

}  // namespace attune
