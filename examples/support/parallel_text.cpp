#include "examples/support/parallel_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "autograd/runtime/error.h"
#include "examples/support/text.h"
#include "nn/text/bpe.h"

namespace examples {

namespace nn = attune::nn;

namespace {

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw attune::FileError(path + ": cannot be opened");
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
  }
  if (in.bad()) throw attune::FileError(path + ": cannot be read");
  if (lines.empty()) throw attune::FileError(path + ": is empty");
  return lines;
}

void write_lines(const std::string& path, const std::vector<std::string>& lines) {
  std::ofstream out(path);
  for (const std::string& line : lines) out << line << "\n";
  out.close();
  if (!out) throw attune::FileError(path + ": cannot be written");
}

void check_lines(const std::string& path, const std::vector<std::string>& lines) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string where = fmt::format("{}: line {}", path, i + 1);
    if (lines[i].find_first_not_of(" \t") == std::string::npos) throw attune::FileError(where + " is empty");
    try {
      nn::check_utf8(lines[i], where);
    } catch (const attune::ValueError& e) {
      throw attune::FileError(e.what());
    }
  }
}

const std::vector<std::string> spelled{"<pad>", "<s>", "</s>", "<unk>"};

}  // namespace

ParallelText read_parallel(const std::string& folder, const std::string& name, const std::string& source,
                           const std::string& target) {
  const std::string one = folder + "/" + name + "." + source, other = folder + "/" + name + "." + target;
  ParallelText text{name, read_lines(one), read_lines(other)};
  if (text.source.size() != text.target.size())
    throw attune::FileError(
        fmt::format("{}: has {} lines, but {} has {}: line i of the one is to say what line i of "
                    "the other says",
                    one, text.source.size(), other, text.target.size()));
  check_lines(one, text.source);
  check_lines(other, text.target);
  return text;
}

Texts read_texts(const std::string& folder, const std::string& source, const std::string& target) {
  Texts texts{read_parallel(folder, "train", source, target), read_parallel(folder, "val", source, target), {}};
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::filesystem::path path = entry.path().filename();
    if (path.string().starts_with("test") && path.extension() == "." + source) names.insert(path.stem().string());
  }
  if (names.empty()) throw attune::FileError(folder + ": has no test*." + source);
  for (const std::string& name : names) texts.tests.push_back(read_parallel(folder, name, source, target));
  return texts;
}

// ---- words

SpacedWords::SpacedWords(const std::vector<std::string>& lines, std::int64_t size) : words_(spelled) {
  std::map<std::string, std::int64_t> counts;
  for (const std::string& line : lines)
    for (const std::string& word : words_of(line)) ++counts[word];
  for (const std::string& word : spelled) counts.erase(word);
  std::vector<std::pair<std::string, std::int64_t>> order(counts.begin(), counts.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [word, count] : order)
    if (std::ssize(words_) < size) words_.push_back(word);
  index();
}

SpacedWords::SpacedWords(const std::string& path) : words_(read_lines(path)) {
  if (!std::equal(spelled.begin(), spelled.end(), words_.begin(),
                  words_.begin() + std::min<std::ptrdiff_t>(4, std::ssize(words_))))
    throw attune::FileError(path + ": is no list of words that this program wrote");
  index();
}

void SpacedWords::save(const std::string& path) const { write_lines(path, words_); }

void SpacedWords::index() {
  for (std::size_t i = 0; i < words_.size(); ++i) ids_[words_[i]] = static_cast<std::int64_t>(i);
  for (std::size_t i = 0; i < spelled.size(); ++i) add_known_special(spelled[i], static_cast<std::int64_t>(i));
}

std::string SpacedWords::text_of(const std::vector<std::int64_t>& ids) const {
  std::string text;
  for (const std::int64_t id : ids) text += (text.empty() ? "" : " ") + words_[static_cast<std::size_t>(id)];
  return text;
}

std::string SpacedWords::spelling_of(std::int64_t id) const { return words_[static_cast<std::size_t>(id)]; }

std::int64_t SpacedWords::id_of(std::string_view token) const {
  const auto at = ids_.find(std::string(token));
  return at == ids_.end() ? -1 : at->second;
}

void SpacedWords::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  for (const std::string& word : words_of(std::string(text))) {
    const std::int64_t id = id_of(word);
    ids.push_back(id < 0 ? special_.unk : id);
  }
}

// ---- both sides

namespace {

std::shared_ptr<const nn::Tokenizer> trained(const std::vector<std::string>& lines, bool bpe, std::int64_t size) {
  if (!bpe) return std::make_shared<SpacedWords>(lines, size);
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return std::make_shared<nn::BpeTokenizer>(
      nn::BpeTokenizer::train(text, {.size = size, .special = {"<pad>", "<s>", "</s>"}}));
}

std::shared_ptr<const nn::Tokenizer> loaded(const std::string& stem) {
  if (std::filesystem::exists(stem + "_merges.txt"))
    return std::make_shared<nn::BpeTokenizer>(nn::BpeTokenizer::load(stem + "_vocab.json", stem + "_merges.txt"));
  return std::make_shared<SpacedWords>(stem + "_words.txt");
}

void save_one(const nn::Tokenizer& tokenizer, const std::string& stem) {
  for (const char* file : {"_vocab.json", "_merges.txt", "_words.txt"})  // of a run before, perhaps of the other kind
    std::filesystem::remove(stem + file);
  if (const auto* bpe = dynamic_cast<const nn::BpeTokenizer*>(&tokenizer))
    bpe->save(stem + "_vocab.json", stem + "_merges.txt");
  else
    dynamic_cast<const SpacedWords&>(tokenizer).save(stem + "_words.txt");
}

}  // namespace

Languages::Languages(const ParallelText& text, bool bpe, std::int64_t size)
    : source(trained(text.source, bpe, size)), target(trained(text.target, bpe, size)) {
  find_special();
}

Languages::Languages(const std::string& folder)
    : source(loaded(folder + "/source")), target(loaded(folder + "/target")) {
  find_special();
}

void Languages::find_special() {
  start = target->id_of("<s>");
  end = target->id_of("</s>");
  source_end = source->id_of("</s>");
}

void Languages::save(const std::string& folder) const {
  save_one(*source, folder + "/source");
  save_one(*target, folder + "/target");
}

nn::Sequence Languages::source_of(const std::string& line) const {
  nn::Sequence ids = source->encode(line);
  ids.push_back(source_end);
  return ids;
}

std::pair<std::vector<nn::Sequence>, std::vector<nn::Sequence>> Languages::pairs(const ParallelText& text,
                                                                                 std::int64_t most) const {
  std::pair<std::vector<nn::Sequence>, std::vector<nn::Sequence>> all;
  for (std::size_t i = 0; i < text.source.size(); ++i) {
    all.first.push_back(source_of(text.source[i]));
    all.second.push_back(target->encode(text.target[i]));
    all.second.back().push_back(end);
    const auto longer = std::max(std::ssize(all.first.back()), std::ssize(all.second.back()));
    if (longer > most)
      throw attune::ValueError(fmt::format("{}: line {} has {} tokens, more than the {} positions of the model",
                                           text.name, i + 1, longer, most));
  }
  return all;
}

std::string Languages::text_of(nn::Sequence ids) const {
  ids.erase(std::find(ids.begin(), ids.end(), end), ids.end());
  std::erase_if(ids, [&](std::int64_t id) { return id == start; });
  return target->decode(ids);
}

}  // namespace examples
