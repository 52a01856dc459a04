#include "nn/text/internal/vocabulary.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "nn/text/internal/unicode.h"
#include "nn/text/tokenizer.h"

namespace attune::nn::detail {

std::int64_t Vocabulary::add(const std::string& token) {
  const auto [at, fresh] = ids_.emplace(token, size());
  if (fresh) tokens_.push_back(token);
  return at->second;
}

const std::string& Vocabulary::token_of(std::int64_t id) const {
  if (id < 0 || id >= size())
    throw IndexError("token " + std::to_string(id) + " is not in a vocabulary of " + std::to_string(size()));
  return tokens_[static_cast<std::size_t>(id)];
}

std::vector<std::string> read_lines(const std::string& path, Here here) {
  const std::string text = io::read_text(path, std::int64_t{1} << 28, here);
  if (const std::size_t at = invalid_utf8_at(text); at != std::string_view::npos)
    throw FileError(path + ": is not UTF-8 at byte " + std::to_string(at), here);
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::size_t stop = end;
    if (stop > begin && text[stop - 1] == '\r') --stop;
    lines.push_back(text.substr(begin, stop - begin));
    begin = end + 1;
  }
  return lines;
}

void check_special_tokens(const std::vector<std::string>& special, const std::string& what, Here here) {
  std::set<std::string_view> seen;
  for (const std::string& token : special) {
    if (token.empty()) throw ValueError(what + ": a special token is empty", here);
    check_utf8(token, what + ": a special token", here);
    if (!seen.insert(token).second)
      throw ValueError(fmt::format("{}: the special token \"{}\" is there twice", what, token), here);
  }
}

void fail_json(const std::string& text, const std::string& path, Here here) {
  std::size_t at = text.size();
  try {
    const auto json = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& e) {
    at = e.byte > 0 ? e.byte - 1 : 0;           // counted from 1 there
  } catch (const nlohmann::json::exception&) {  // NOLINT(bugprone-empty-catch): a number out of range, without a place
  }
  throw FileError(path + ": is no JSON at byte " + std::to_string(at), here);
}

Vocabulary read_vocabulary_json(const std::string& path, Here here) {
  const std::string text = io::read_text(path, std::int64_t{1} << 28, here);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) fail_json(text, path, here);
  if (!json.is_object() || json.empty())
    throw FileError(path + ": is not a JSON object from tokens to their ids", here);
  std::vector<const std::string*> tokens(json.size(), nullptr);
  for (const auto& [token, id] : json.items()) {
    const bool whole = id.is_number_integer();
    const std::int64_t at = whole ? id.get<std::int64_t>() : -1;
    if (at < 0 || at >= static_cast<std::int64_t>(tokens.size()) || tokens[static_cast<std::size_t>(at)] != nullptr)
      throw FileError(
          fmt::format("{}: the id {} of \"{}\" is {}", path, id.is_structured() ? "[...]" : id.dump(), token,
                      at >= 0 && at < static_cast<std::int64_t>(tokens.size()) ? "there twice"
                                                                               : "none of 0, 1, ... of its tokens"),
          here);
    tokens[static_cast<std::size_t>(at)] = &json.find(token).key();
  }
  Vocabulary vocabulary;
  for (const std::string* token : tokens) vocabulary.add(*token);
  return vocabulary;
}

void write_vocabulary_json(const std::string& path, const Vocabulary& vocabulary, Here here) {
  std::string text = "{";
  for (std::int64_t id = 0; id < vocabulary.size(); ++id)
    text += (id ? ", " : "") + nlohmann::json(vocabulary.token_of(id)).dump() + ": " + std::to_string(id);
  io::write_text(path, text + "}\n", here);
}

}  // namespace attune::nn::detail
