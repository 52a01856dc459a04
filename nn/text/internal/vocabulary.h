// Tokens by number and by spelling, and files of them. Internal to nn/text/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune::nn::detail {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class V>
using TextMap = std::unordered_map<std::string, V, TextHash, std::equal_to<>>;

class Vocabulary {
 public:
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  /// The id of a new token, or of the same one that is there.
  std::int64_t add(const std::string& token);
  std::int64_t id_of(std::string_view token) const {  ///< -1: none
    const auto at = ids_.find(token);
    return at == ids_.end() ? -1 : at->second;
  }
  /// Throws IndexError.
  const std::string& token_of(std::int64_t id) const;
  const std::vector<std::string>& tokens() const { return tokens_; }

 private:
  std::vector<std::string> tokens_;
  TextMap<std::int64_t> ids_;
};

/// The lines of a file, which must be UTF-8 (FileError otherwise, with the byte), without their ends, \n or \r\n.
std::vector<std::string> read_lines(const std::string& path, Here here);
/// Special tokens of a tokenizer to be made: throws ValueError, which begins with `what`, for one that is empty, not
/// UTF-8 or there twice.
void check_special_tokens(const std::vector<std::string>& special, const std::string& what, Here here);
/// Throws FileError, which names the byte at which the text of a file is no JSON.
[[noreturn]] void fail_json(const std::string& text, const std::string& path, Here here);
/// A file's JSON object from tokens to their ids, 0, 1, ... Throws FileError for anything else.
Vocabulary read_vocabulary_json(const std::string& path, Here here);
void write_vocabulary_json(const std::string& path, const Vocabulary& vocabulary, Here here);

}  // namespace attune::nn::detail
