#include "nn/text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <queue>
#include <unordered_map>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "nn/text/internal/bpe_words.h"
#include "nn/text/internal/merges.h"
#include "nn/text/internal/vocabulary.h"
#include "nn/text/internal/word_cache.h"

namespace attune::nn {

namespace {

constexpr const char* end_of_text = "<|endoftext|>";

/// How a byte is spelled in a vocabulary: as a visible character. Those that are none follow each other from U+0100 on.
const std::array<std::string, 256>& byte_spellings() {
  static const auto spellings = [] {
    std::array<std::string, 256> all;
    std::int32_t next = 0x100;
    for (std::int32_t b = 0; b < 256; ++b) {
      const bool visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
      detail::append_utf8(all[static_cast<std::size_t>(b)], visible ? b : next++);
    }
    return all;
  }();
  return spellings;
}

/// The bytes in the order of their spellings, which is that of published vocabularies.
std::vector<std::string> spellings_in_order() {
  std::vector<std::string> all(byte_spellings().begin(), byte_spellings().end());
  std::sort(all.begin(), all.end(), [](const std::string& a, const std::string& b) {
    return detail::code_point_at(a, 0).value < detail::code_point_at(b, 0).value;
  });
  return all;
}

using Symbols = std::vector<std::int32_t>;

/// The words of a text and how often each comes, in their order; what spells a special token is none.
std::vector<std::pair<std::string_view, std::int64_t>> counted_words(std::string_view text,
                                                                     const std::vector<std::string>& special) {
  std::unordered_map<std::string_view, std::int64_t> counted;
  const auto count = [&](std::string_view part) {
    detail::BpeWords words(part);
    for (std::string_view word = words.next(); !word.empty(); word = words.next()) ++counted[word];
  };
  bool begins[256] = {};
  for (const std::string& token : special) begins[static_cast<unsigned char>(token[0])] = true;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!begins[static_cast<unsigned char>(text[i])]) continue;
    std::size_t longest = 0;
    for (const std::string& token : special)
      if (token.size() > longest && text.substr(i).starts_with(token)) longest = token.size();
    if (longest == 0) continue;
    count(text.substr(begin, i - begin));
    begin = i + longest;
    i = begin - 1;
  }
  count(text.substr(begin));
  std::vector<std::pair<std::string_view, std::int64_t>> words(counted.begin(), counted.end());
  std::sort(words.begin(), words.end());
  return words;
}

std::uint64_t key_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

struct BpeTokenizer::Model {
  struct Rule {
    std::int32_t rank, made;
  };
  detail::Vocabulary vocabulary;
  std::vector<detail::Merge> merges;
  std::unordered_map<std::uint64_t, Rule> rules;
  std::array<std::int32_t, 256> of_byte{};
  std::vector<std::string> bytes;  // of each token
  std::vector<std::string> special;
  mutable std::mutex mutex;  // of the cache
  mutable detail::WordCache cache;

  void add_merge(detail::Merge m, std::int64_t made) {
    rules[key_of(m.left, m.right)] = {static_cast<std::int32_t>(merges.size()), static_cast<std::int32_t>(made)};
    merges.push_back(m);
  }
  const Rule* rule(std::int32_t left, std::int32_t right) const {
    const auto at = rules.find(key_of(left, right));
    return at == rules.end() ? nullptr : &at->second;
  }
  std::vector<bool> made() const;
  bool is_lost(const std::string& token, const std::vector<bool>& made) const;
  void finish();
  void merge_short(Symbols& s) const;
  void merge_long(Symbols& s) const;
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const;
};

/// Of each token, whether it is a byte or a merge makes it.
std::vector<bool> BpeTokenizer::Model::made() const {
  std::vector<bool> all(static_cast<std::size_t>(vocabulary.size()), false);
  for (const std::string& spelling : byte_spellings()) all[static_cast<std::size_t>(vocabulary.id_of(spelling))] = true;
  for (const auto& [key, rule] : rules) all[static_cast<std::size_t>(rule.made)] = true;
  return all;
}

/// Whether a token that no merge makes should have been made by one: it is two tokens that bytes and merges make, and
/// does not look like a special one.
bool BpeTokenizer::Model::is_lost(const std::string& token, const std::vector<bool>& made) const {
  const char first = token.front(), last = token.back();
  if (token.size() > 1 && ((first == '<' && last == '>') || (first == '[' && last == ']'))) return false;
  const auto is_made = [&](std::string_view part) {
    const std::int64_t id = vocabulary.id_of(part);
    return id >= 0 && made[static_cast<std::size_t>(id)];
  };
  for (std::size_t i = detail::code_point_at(token, 0).bytes; i < token.size();
       i += detail::code_point_at(token, i).bytes)
    if (is_made(std::string_view(token).substr(0, i)) && is_made(std::string_view(token).substr(i))) return true;
  return false;
}

/// What follows from vocabulary and merges.
void BpeTokenizer::Model::finish() {
  const auto& spellings = byte_spellings();
  detail::TextMap<char> byte_of;
  for (std::size_t b = 0; b < 256; ++b) {
    of_byte[b] = static_cast<std::int32_t>(vocabulary.id_of(spellings[b]));
    byte_of[spellings[b]] = static_cast<char>(b);
  }
  for (const std::string& token : vocabulary.tokens()) {
    std::string out;
    for (std::size_t i = 0; i < token.size();) {
      const std::size_t n = detail::code_point_at(token, i).bytes;
      const std::string_view c = std::string_view(token).substr(i, n);
      const auto byte = byte_of.find(c);
      if (byte != byte_of.end()) out += byte->second;  // otherwise the token is special
      i += n;
    }
    bytes.push_back(std::move(out));
  }
  for (const std::string& token : special) bytes[static_cast<std::size_t>(vocabulary.id_of(token))] = token;
}

/// The rule of the lowest rank goes first, wherever it applies, from left to right.
void BpeTokenizer::Model::merge_short(Symbols& s) const {
  while (s.size() > 1) {
    const Rule* best = nullptr;
    std::size_t first = 0;
    for (std::size_t i = 0; i + 1 < s.size(); ++i)
      if (const Rule* r = rule(s[i], s[i + 1]); r && (!best || r->rank < best->rank)) {
        best = r;
        first = i;
      }
    if (!best) return;
    const std::int32_t left = s[first], right = s[first + 1];
    std::size_t to = first;
    for (std::size_t i = first; i < s.size(); ++to)
      if (i + 1 < s.size() && s[i] == left && s[i + 1] == right) {
        s[to] = best->made;
        i += 2;
      } else {
        s[to] = s[i++];
      }
    s.resize(to);
  }
}

/// The same in n log n: places wait in a queue by rank, and what a round of one rank makes joins it behind the round.
void BpeTokenizer::Model::merge_long(Symbols& s) const {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct Place {
    std::int32_t rank;
    std::size_t at;
    bool operator<(const Place& o) const { return rank != o.rank ? rank > o.rank : at > o.at; }
  };
  std::vector<std::size_t> next(s.size()), before(s.size());
  std::vector<bool> gone(s.size(), false);
  std::priority_queue<Place> queue;
  const auto push = [&](std::size_t i) {
    if (i == none || next[i] == none) return;
    if (const Rule* r = rule(s[i], s[next[i]])) queue.push({r->rank, i});
  };
  for (std::size_t i = 0; i < s.size(); ++i) {
    next[i] = i + 1 < s.size() ? i + 1 : none;
    before[i] = i > 0 ? i - 1 : none;
  }
  for (std::size_t i = 0; i < s.size(); ++i) push(i);
  std::vector<std::size_t> made;
  while (!queue.empty()) {
    const std::int32_t rank = queue.top().rank;
    made.clear();
    for (; !queue.empty() && queue.top().rank == rank; queue.pop()) {
      const std::size_t i = queue.top().at;
      if (gone[i] || next[i] == none) continue;
      const Rule* r = rule(s[i], s[next[i]]);
      if (!r || r->rank != rank) continue;  // a neighbour has changed since
      const std::size_t right = next[i];
      s[i] = r->made;
      gone[right] = true;
      next[i] = next[right];
      if (next[i] != none) before[next[i]] = i;
      made.push_back(i);
    }
    for (const std::size_t i : made) {
      if (gone[i]) continue;
      push(i);
      push(before[i]);
    }
  }
  std::size_t to = 0;
  for (std::size_t i = 0; i < s.size(); ++i)
    if (!gone[i]) s[to++] = s[i];
  s.resize(to);
}

void BpeTokenizer::Model::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  constexpr std::size_t short_word = 48;
  Symbols s;
  s.reserve(word.size());
  for (const char c : word) s.push_back(of_byte[static_cast<unsigned char>(c)]);
  s.size() <= short_word ? merge_short(s) : merge_long(s);
  ids.insert(ids.end(), s.begin(), s.end());
}

BpeTokenizer::BpeTokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {
  for (const std::string& token : model_->special) add_known_special(token, model_->vocabulary.id_of(token));
  const std::int64_t end = model_->vocabulary.id_of(end_of_text);
  if (end >= 0) special_.bos = special_.unk = end;
}

void BpeTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  constexpr std::size_t longest_kept = 64;
  // Whoever comes while another thread has the cache does without one that lasts.
  const std::unique_lock lock(model_->mutex, std::try_to_lock);
  detail::WordCache own;
  detail::WordCache& cache = lock ? model_->cache : own;
  detail::BpeWords words(text);
  for (std::string_view word = words.next(); !word.empty(); word = words.next()) {
    if (word.size() > longest_kept) {
      model_->encode_word(word, ids);
      continue;
    }
    const std::uint64_t hash = detail::WordCache::hash(word);
    if (const auto* known = cache.find(word, hash)) {
      ids.insert(ids.end(), known->first, known->first + known->count);
      continue;
    }
    const std::size_t before = ids.size();
    model_->encode_word(word, ids);
    cache.insert(word, hash, ids.data() + before, ids.size() - before);
  }
}

std::string BpeTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out, storage;
  for (const std::int64_t id : ids) out += model_->bytes[static_cast<std::size_t>(id)];
  return std::string(detail::valid_utf8(out, storage));
}

std::int64_t BpeTokenizer::size() const { return model_->vocabulary.size(); }
std::string BpeTokenizer::spelling_of(std::int64_t id) const { return model_->vocabulary.token_of(id); }
std::int64_t BpeTokenizer::id_of(std::string_view token) const { return model_->vocabulary.id_of(token); }

BpeTokenizer BpeTokenizer::load(const std::string& vocab_json, const std::string& merges_txt, Here here) {
  const auto model = std::make_shared<Model>();
  model->vocabulary = detail::read_vocabulary_json(vocab_json, here);
  for (const std::string& spelling : byte_spellings())
    if (model->vocabulary.id_of(spelling) < 0)
      throw FileError(fmt::format("{}: lacks the byte \"{}\": not a byte-level vocabulary", vocab_json, spelling),
                      here);
  const std::vector<std::string> lines = detail::read_lines(merges_txt, here);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line.empty() || (i == 0 && line.starts_with("#version"))) continue;
    const auto fail = [&](const std::string& what) {
      throw FileError(fmt::format("{}: line {}: {}", merges_txt, i + 1, what), here);
    };
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || space == 0 || line.find(' ', space + 1) != std::string::npos ||
        space + 1 == line.size())
      fail("is not two tokens");
    const std::string left = line.substr(0, space), right = line.substr(space + 1);
    std::int64_t ids[3];
    for (int j = 0; j < 3; ++j) {
      const std::string& token = j == 0 ? left : j == 1 ? right : left + right;
      ids[j] = model->vocabulary.id_of(token);
      if (ids[j] < 0) fail(fmt::format("\"{}\" is not in {}", token, vocab_json));
    }
    model->add_merge({static_cast<std::int32_t>(ids[0]), static_cast<std::int32_t>(ids[1])}, ids[2]);
  }
  // What no byte and no merge makes is special.
  const std::vector<bool> made = model->made();
  for (std::size_t id = 0; id < made.size(); ++id) {
    if (made[id]) continue;
    const std::string& token = model->vocabulary.token_of(static_cast<std::int64_t>(id));
    if (token.empty()) throw FileError(vocab_json + ": a token is empty", here);
    if (model->is_lost(token, made))
      throw FileError(
          fmt::format("{}: its {} merges do not make \"{}\", one of the {} tokens of {}: the file is cut off, or "
                      "another vocabulary's",
                      merges_txt, model->merges.size(), token, model->vocabulary.size(), vocab_json),
          here);
    model->special.push_back(token);
  }
  model->finish();
  return BpeTokenizer(model);
}

BpeTokenizer BpeTokenizer::train(std::string_view text, const BpeTraining& o, Here here) {
  check_utf8(text, "BpeTokenizer::train", here);
  detail::check_special_tokens(o.special, "BpeTokenizer::train", here);
  const auto least_size = static_cast<std::int64_t>(256 + o.special.size());
  if (o.size < least_size)
    throw ValueError(
        "BpeTokenizer::train: size = " + std::to_string(o.size) + " must be at least " + std::to_string(least_size),
        here);
  const auto model = std::make_shared<Model>();
  for (const std::string& spelling : spellings_in_order()) model->vocabulary.add(spelling);
  for (const std::string& token : o.special)
    if (model->vocabulary.id_of(token) >= 0)
      throw ValueError("BpeTokenizer::train: the special token \"" + token + "\" is how a byte is spelled", here);
  const auto& spellings = byte_spellings();
  const auto words = counted_words(text, o.special);
  std::vector<Symbols> symbols;
  std::vector<std::int64_t> counts;
  for (const auto& [word, count] : words) {
    Symbols s;
    for (const char c : word)
      s.push_back(static_cast<std::int32_t>(model->vocabulary.id_of(spellings[static_cast<unsigned char>(c)])));
    symbols.push_back(std::move(s));
    counts.push_back(count);
  }
  detail::learn_merges(
      std::move(symbols), counts, std::max<std::int64_t>(o.least, 1),
      [&] { return model->vocabulary.size() + static_cast<std::int64_t>(o.special.size()) >= o.size; },
      [&](detail::Merge m) {
        const std::string token = model->vocabulary.token_of(m.left) + model->vocabulary.token_of(m.right);
        if (std::find(o.special.begin(), o.special.end(), token) != o.special.end())
          throw ValueError("BpeTokenizer::train: the special token \"" + token + "\" is a common part of the text",
                           here);
        const std::int64_t made = model->vocabulary.add(token);
        model->add_merge(m, made);
        return static_cast<std::int32_t>(made);
      });
  for (const std::string& token : o.special)
    if (model->is_lost(token, model->made()))
      throw ValueError("BpeTokenizer::train: the special token \"" + token +
                           "\" is two tokens side by side, which is how a merge is spelled: put it in < > or [ ]",
                       here);
  for (const std::string& token : o.special) model->vocabulary.add(token);
  model->special = o.special;
  model->finish();
  return BpeTokenizer(model);
}

void BpeTokenizer::save(const std::string& vocab_json, const std::string& merges_txt, Here here) const {
  std::string text = "#version: 0.2\n";
  for (const detail::Merge m : model_->merges)
    text += model_->vocabulary.token_of(m.left) + " " + model_->vocabulary.token_of(m.right) + "\n";
  detail::write_vocabulary_json(vocab_json, model_->vocabulary, here);
  io::write_text(merges_txt, text, here);
}

}  // namespace attune::nn
