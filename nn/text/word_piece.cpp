#include "nn/text/word_piece.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "nn/text/internal/basic_words.h"
#include "nn/text/internal/merges.h"
#include "nn/text/internal/unicode.h"
#include "nn/text/internal/vocabulary.h"
#include "nn/text/internal/word_cache.h"

namespace attune::nn {

namespace {

const std::vector<std::string> special_of_bert{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
constexpr std::string_view inside = "##";

std::size_t characters_in(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // no byte inside a character
  }));
}

std::size_t byte_before(std::string_view text, std::size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

}  // namespace

struct WordPieceTokenizer::Model {
  detail::Vocabulary vocabulary;
  bool uncased = true;
  // Pieces that begin a word, and those inside one without their mark; the longest of all, in bytes.
  detail::TextMap<std::int64_t> first, further;
  std::size_t longest = 0;
  std::int64_t unknown = -1;
  mutable std::mutex mutex;  // of the cache
  mutable detail::WordCache cache;

  void finish() {
    for (std::int64_t id = 0; id < vocabulary.size(); ++id) {
      const std::string& token = vocabulary.token_of(id);
      longest = std::max(longest, token.size());
      first.emplace(token, id);
      if (token.starts_with(inside) && token.size() > inside.size()) further.emplace(token.substr(inside.size()), id);
    }
    unknown = vocabulary.id_of("[UNK]");
  }

  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
    constexpr std::size_t most_characters = 100;
    const std::size_t before = ids.size();
    bool known = characters_in(word) <= most_characters;
    for (std::size_t begin = 0; known && begin < word.size();) {
      const auto& pieces = begin == 0 ? first : further;
      std::size_t end = word.size();
      while (end - begin > longest) end = byte_before(word, end);
      auto piece = pieces.end();
      for (; end > begin; end = byte_before(word, end))
        if (piece = pieces.find(word.substr(begin, end - begin)); piece != pieces.end()) break;
      known = piece != pieces.end();
      if (known) ids.push_back(piece->second);
      begin = end;
    }
    if (known) return;
    ids.resize(before);
    ids.push_back(unknown);
  }
};

WordPieceTokenizer::WordPieceTokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {
  for (const std::string& token : special_of_bert)
    if (const std::int64_t id = model_->vocabulary.id_of(token); id >= 0) add_known_special(token, id, true);
}

void WordPieceTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  constexpr std::size_t longest_kept = 64;
  const std::unique_lock lock(model_->mutex, std::try_to_lock);
  detail::WordCache own;
  detail::WordCache& cache = lock ? model_->cache : own;
  detail::for_basic_words(text, model_->uncased, [&](std::string_view word) {
    const std::uint64_t hash = detail::WordCache::hash(word);
    if (const auto* known = word.size() <= longest_kept ? cache.find(word, hash) : nullptr) {
      ids.insert(ids.end(), known->first, known->first + known->count);
      return;
    }
    const std::size_t before = ids.size();
    model_->encode_word(word, ids);
    if (word.size() <= longest_kept) cache.insert(word, hash, ids.data() + before, ids.size() - before);
  });
}

std::string WordPieceTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out;
  for (const std::int64_t id : ids) {
    const std::string& token = model_->vocabulary.token_of(id);
    if (out.empty())
      out = token;
    else if (token.starts_with(inside))
      out += token.substr(inside.size());
    else
      out += " " + token;
  }
  return out;
}

std::int64_t WordPieceTokenizer::size() const { return model_->vocabulary.size(); }
std::string WordPieceTokenizer::spelling_of(std::int64_t id) const { return model_->vocabulary.token_of(id); }
std::int64_t WordPieceTokenizer::id_of(std::string_view token) const { return model_->vocabulary.id_of(token); }

WordPieceTokenizer WordPieceTokenizer::load(const std::string& vocab_txt, const WordPieceOptions& o, Here here) {
  const auto model = std::make_shared<Model>();
  const std::vector<std::string> lines = detail::read_lines(vocab_txt, here);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto fail = [&](const std::string& what) {
      throw FileError(fmt::format("{}: line {}: {}", vocab_txt, i + 1, what), here);
    };
    if (lines[i].empty()) fail("is empty");
    if (model->vocabulary.add(lines[i]) != static_cast<std::int64_t>(i)) fail("\"" + lines[i] + "\" is there twice");
  }
  if (model->vocabulary.id_of("[UNK]") < 0) throw FileError(vocab_txt + ": has no [UNK]: not BERT's vocabulary", here);
  model->uncased = o.uncased;
  model->finish();
  return WordPieceTokenizer(model);
}

void WordPieceTokenizer::save(const std::string& vocab_txt, Here here) const {
  std::string text;
  for (const std::string& token : model_->vocabulary.tokens()) text += token + "\n";
  io::write_text(vocab_txt, text, here);
}

WordPieceTokenizer WordPieceTokenizer::train(std::string_view text, const WordPieceTraining& o, Here here) {
  check_utf8(text, "WordPieceTokenizer::train", here);
  std::map<std::string, std::int64_t, std::less<>> counted;
  detail::for_basic_words(text, o.uncased, [&](std::string_view word) {
    const auto at = counted.find(word);
    at == counted.end() ? void(counted.emplace(word, 1)) : void(++at->second);
  });
  if (counted.empty()) throw ValueError("WordPieceTokenizer::train: the text has no words", here);
  const auto model = std::make_shared<Model>();
  model->uncased = o.uncased;
  detail::Vocabulary& vocabulary = model->vocabulary;
  for (const std::string& token : special_of_bert) vocabulary.add(token);
  // Characters first, in their order; then each word is a list of them.
  std::map<std::string, bool> characters;
  const auto visit = [](std::string_view word, const auto& take) {
    for (std::size_t i = 0; i < word.size();) {
      const std::size_t n = detail::code_point_at(word, i).bytes;
      take((i == 0 ? std::string() : std::string(inside)) + std::string(word.substr(i, n)));
      i += n;
    }
  };
  for (const auto& [word, count] : counted) visit(word, [&](const std::string& c) { characters[c] = true; });
  for (const auto& [character, there] : characters) vocabulary.add(character);
  if (vocabulary.size() > o.size)
    throw ValueError("WordPieceTokenizer::train: size = " + std::to_string(o.size) + " is below the " +
                         std::to_string(vocabulary.size()) + " of the characters and special tokens",
                     here);
  std::vector<std::vector<std::int32_t>> words;
  std::vector<std::int64_t> counts;
  for (const auto& [word, count] : counted) {
    words.emplace_back();
    counts.push_back(count);
    visit(word, [&](const std::string& c) { words.back().push_back(static_cast<std::int32_t>(vocabulary.id_of(c))); });
  }
  detail::learn_merges(
      std::move(words), counts, std::max<std::int64_t>(o.least, 1), [&] { return vocabulary.size() >= o.size; },
      [&](detail::Merge m) {
        return static_cast<std::int32_t>(
            vocabulary.add(vocabulary.token_of(m.left) + vocabulary.token_of(m.right).substr(inside.size())));
      });
  model->finish();
  return WordPieceTokenizer(model);
}

}  // namespace attune::nn
