// Configuration files of published models (config.json), read through a table of keys and members. Internal to
// nn/models.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "autograd/runtime/activation.h"
#include "autograd/runtime/here.h"

namespace attune::nn::detail {

enum class Key : std::uint8_t {
  required,
  optional  ///< one that is missing or null leaves its member as it is
};

/// A key and the member that takes its value: a whole number, a number, a boolean, an activation by its name, or a list
/// of whole numbers or of strings, of which a lone one may stand without brackets.
struct ConfigEntry {
  const char* name;
  std::variant<std::int64_t*, double*, bool*, Activation*, std::vector<std::int64_t>*, std::vector<std::string>*>
      member;
  Key key = Key::required;
};

/// Reads the JSON object in a file; keys that the table does not have are passed over. Throws FileError, which names
/// the file and the key, for what is missing or of another type.
void read_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here);

}  // namespace attune::nn::detail
