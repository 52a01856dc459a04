// Configuration files of published models (config.json), read and written through one table of keys and members.
// Internal to nn/models.
//
//     std::vector<ConfigEntry> table(XConfig& c) { return {{"model_type", Only{"\"x\""}}, {"d", Whole{&c.d}}, ...}; }
//     read_config(path, table(c), here);     // into c
//     write_config(path, table(c), here);    // from c
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "autograd/runtime/activation.h"
#include "autograd/runtime/here.h"

namespace attune::nn::detail {

enum class Key : std::uint8_t {
  required,
  optional  ///< one that is missing or null leaves its member as it is; 0 and what is empty are left out
};

inline constexpr std::int64_t most_layers = 10'000;
inline constexpr double most_std = 1e6;

/// A size: a whole number in a range that no product of a few of them leaves.
struct Whole {
  std::int64_t* member;
  std::int64_t least = 1;
  std::int64_t most = std::numeric_limits<std::int32_t>::max();
};
/// The number of a token; null and -1 are none.
struct Token {
  std::int64_t* member;
};
/// A list of sizes; a lone one may stand without brackets.
struct Wholes {
  std::vector<std::int64_t>* member;
};
/// A finite number in a range, a probability unless told otherwise.
struct Number {
  double* member;
  double least = 0;
  double most = 1;
};
/// A key with only one value that the model can do, as JSON: anything else is refused, not passed over.
struct Only {
  const char* value;
};
/// A second name for what another key, which stands before it in the table, says; both must say the same.
struct Same {
  std::variant<const std::int64_t*, const bool*, const Activation*> member;
  const char* other;
};
/// An activation, with "gated-" before it if it is that of a gate. By T5's way "gated-gelu" is the tanh form.
struct Gated {
  Activation* activation;
  bool* gated;
};
/// The names of classes, "id2label": an object from each class's number to its name. Written with "label2id" beside it.
struct Labels {
  std::vector<std::string>* member;
};
/// A key that changes nothing that the model computes, and what is written for it, as JSON, for programs that want it;
/// nothing if null.
struct NoEffect {
  const char* written = nullptr;
};

/// A key and what becomes of its value: a member takes it, or it is checked. Entries without a member are optional. A
/// key may stand in the table twice, for two members of one value.
struct ConfigEntry {
  const char* name;
  std::variant<Whole, Token, Wholes, Number, bool*, Activation*, std::string*, std::vector<std::string>*, Gated, Labels,
               Only, Same, NoEffect>
      value;
  Key key = Key::required;
};

/// Reads the JSON object in a file. Each of its keys is used, or known to be without effect (those that every published
/// configuration may have, such as the ones of text generation, besides the table's), or refused. Throws FileError,
/// which names the file and the key, for what is missing, unknown, there twice, out of range or of another type, and
/// for a file that is none, or larger than 4 MiB. What the table says goes before what holds for every model.
void read_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here);

/// Writes what the members hold as the JSON object that read_config() reads them from, keys sorted, all or nothing.
/// Second names (Same) are left out. Throws ValueError, which names the key, for a value that read_config() would
/// refuse and for two members of one key that differ; FileError if the file cannot be written.
void write_config(const std::string& path, const std::vector<ConfigEntry>& table, Here here);

}  // namespace attune::nn::detail
