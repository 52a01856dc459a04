#include "nn/text/simple.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "nn/text/internal/basic_words.h"
#include "nn/text/internal/unicode.h"
#include "nn/text/internal/vocabulary.h"

namespace attune::nn {

// ---- bytes

ByteTokenizer::ByteTokenizer(const std::vector<std::string>& special, Here here) {
  detail::check_special_tokens(special, "ByteTokenizer", here);
  for (const std::string& token : special) add_known_special(token, size());
}

void ByteTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
}

std::string ByteTokenizer::spelling_of(std::int64_t id) const {
  return id < 256 ? std::string(1, static_cast<char>(id)) : special_tokens()[static_cast<std::size_t>(id - 256)].first;
}

std::int64_t ByteTokenizer::id_of(std::string_view token) const {
  if (token.size() == 1) return static_cast<unsigned char>(token[0]);
  for (const auto& [spelling, id] : special_tokens())
    if (spelling == token) return id;
  return -1;
}

std::string ByteTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out;
  for (const std::int64_t id : ids) out += spelling_of(id);
  return out;
}

// ---- lists

ListTokenizer::ListTokenizer(const char* kind, std::shared_ptr<const detail::Vocabulary> tokens, std::int64_t special)
    : kind_(kind), tokens_(std::move(tokens)) {
  for (std::int64_t id = 0; id < special; ++id) add_known_special(tokens_->token_of(id), id);
}

std::int64_t ListTokenizer::size() const { return tokens_->size(); }
std::string ListTokenizer::spelling_of(std::int64_t id) const { return tokens_->token_of(id); }
std::int64_t ListTokenizer::id_of(std::string_view token) const { return tokens_->id_of(token); }

void ListTokenizer::push(std::string_view token, std::size_t at, std::vector<std::int64_t>& ids) const {
  std::int64_t id = tokens_->id_of(token);
  if (id < 0) id = special_.unk;
  if (id < 0)
    throw ValueError("encode: \"" + std::string(token) + "\" at byte " + std::to_string(at) +
                     " is not in the vocabulary, and there is no <unk>");
  ids.push_back(id);
}

void ListTokenizer::save(const std::string& path, Here here) const {
  const nlohmann::json file{{"type", kind_}, {"special", special_tokens().size()}, {"tokens", tokens_->tokens()}};
  io::write_text(path, file.dump(1) + "\n", here);
}

std::pair<std::shared_ptr<const detail::Vocabulary>, std::int64_t> ListTokenizer::read(const char* kind,
                                                                                       const std::string& path,
                                                                                       Here here) {
  const std::string text = io::read_text(path, std::int64_t{1} << 28, here);
  const auto file = nlohmann::json::parse(text, nullptr, false);
  if (file.is_discarded()) detail::fail_json(text, path, here);
  const auto fail = [&](const std::string& what) { throw FileError(path + ": " + what, here); };
  if (!file.is_object() || !file.contains("type") || file["type"] != kind)
    fail(std::string("is not a file of ") + kind);
  if (!file.contains("tokens") || !file["tokens"].is_array() || file["tokens"].empty()) fail("has no tokens");
  auto tokens = std::make_shared<detail::Vocabulary>();
  for (const auto& token : file["tokens"]) {
    if (!token.is_string() || token.get_ref<const std::string&>().empty()) fail("has a token that is no text");
    const std::int64_t before = tokens->size();
    if (tokens->add(token) != before) fail("has the token " + token.dump() + " twice");
  }
  const bool counted = file.contains("special") && file["special"].is_number_unsigned();
  if (!counted || file["special"].get<std::uint64_t>() > static_cast<std::uint64_t>(tokens->size()))
    fail("does not say how many of its tokens are special");
  return {std::move(tokens), file["special"].get<std::int64_t>()};
}

// ---- characters

namespace {

void check_text(std::string_view text, const char* what, Here here) {
  if (text.empty()) throw ValueError(std::string(what) + ": the text is empty", here);
  check_utf8(text, what, here);
}

std::shared_ptr<detail::Vocabulary> vocabulary_of(const std::vector<std::string>& special) {
  auto tokens = std::make_shared<detail::Vocabulary>();
  for (const std::string& token : special) tokens->add(token);
  return tokens;
}

constexpr const char* characters = "characters";
constexpr const char* words = "words";

std::shared_ptr<const detail::Vocabulary> characters_of(std::string_view text, const std::vector<std::string>& special,
                                                        Here here) {
  check_text(text, "CharTokenizer", here);
  detail::check_special_tokens(special, "CharTokenizer", here);
  auto tokens = vocabulary_of(special);
  std::set<std::int32_t> all;
  for (std::size_t i = 0; i < text.size();) {
    const detail::CodePoint c = detail::code_point_at(text, i);
    all.insert(c.value);
    i += c.bytes;
  }
  for (const std::int32_t c : all) {
    std::string token;
    detail::append_utf8(token, c);
    tokens->add(token);
  }
  return tokens;
}

std::vector<std::string> with_unknown(std::vector<std::string> special) {
  if (std::find(special.begin(), special.end(), "<unk>") == special.end()) special.push_back("<unk>");
  return special;
}

std::shared_ptr<const detail::Vocabulary> words_of(std::string_view text, std::int64_t size,
                                                   const std::vector<std::string>& special, Here here) {
  check_text(text, "WordTokenizer", here);
  detail::check_special_tokens(special, "WordTokenizer", here);
  if (size <= static_cast<std::int64_t>(special.size()))
    throw ValueError("WordTokenizer: size = " + std::to_string(size) + " must be above the " +
                         std::to_string(special.size()) + " special tokens",
                     here);
  auto tokens = vocabulary_of(special);
  std::map<std::string, std::int64_t, std::less<>> counts;
  detail::for_basic_words(text, false, [&](std::string_view word) {
    const auto at = counts.find(word);
    at == counts.end() ? void(counts.emplace(word, 1)) : void(++at->second);
  });
  std::vector<std::pair<std::string, std::int64_t>> all(counts.begin(), counts.end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [word, count] : all) {
    if (tokens->size() >= size) break;
    tokens->add(word);
  }
  return tokens;
}

}  // namespace

CharTokenizer::CharTokenizer(std::string_view text, const std::vector<std::string>& special, Here here)
    : ListTokenizer(characters, characters_of(text, special, here), static_cast<std::int64_t>(special.size())) {}

CharTokenizer CharTokenizer::load(const std::string& path, Here here) {
  const auto [tokens, special] = read(characters, path, here);
  return CharTokenizer(characters, tokens, special);
}

void CharTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = detail::code_point_at(text, i).bytes;
    push(text.substr(i, n), i, ids);
    i += n;
  }
}

std::string CharTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out;
  for (const std::int64_t id : ids) out += tokens_->token_of(id);
  return out;
}

// ---- words

WordTokenizer::WordTokenizer(std::string_view text, std::int64_t size, const std::vector<std::string>& special,
                             Here here)
    : ListTokenizer(words, words_of(text, size, with_unknown(special), here),
                    static_cast<std::int64_t>(with_unknown(special).size())) {}

WordTokenizer WordTokenizer::load(const std::string& path, Here here) {
  const auto [tokens, special] = read(words, path, here);
  if (tokens->id_of("<unk>") < 0 || tokens->id_of("<unk>") >= special)
    throw FileError(path + ": has no special token <unk>", here);
  return WordTokenizer(words, tokens, special);
}

void WordTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  detail::for_basic_words(text, false, [&](std::string_view word) { push(word, 0, ids); });
}

std::string WordTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out;
  for (const std::int64_t id : ids) out += (out.empty() ? "" : " ") + tokens_->token_of(id);
  return out;
}

}  // namespace attune::nn
