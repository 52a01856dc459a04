#include "nn/text/sentence_piece.h"

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "build_options.h"
#include "nn/text/internal/unicode.h"

#ifdef ATTUNE_SENTENCEPIECE
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <sstream>
#endif

namespace attune::nn {

#ifdef ATTUNE_SENTENCEPIECE

struct SentencePieceTokenizer::Model {
  sentencepiece::SentencePieceProcessor pieces;
  std::int64_t own = 0, extra = 0;

  std::int64_t size() const { return own + extra; }
  std::string spelling(std::int64_t id) const {
    return id < own ? pieces.IdToPiece(static_cast<int>(id)) : "<extra_id_" + std::to_string(size() - 1 - id) + ">";
  }
};

namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  std::size_t at_ = 0;
};

/// What the library says, without the place in its sources.
std::string reason(const sentencepiece::util::Status& status) {
  const std::string text = status.ToString();
  const std::size_t at = text.rfind("] ");
  return at == std::string::npos ? text : text.substr(at + 2);
}

}  // namespace

bool SentencePieceTokenizer::available() { return true; }

SentencePieceTokenizer::SentencePieceTokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {
  const auto& pieces = model_->pieces;
  for (const int id : {pieces.pad_id(), pieces.eos_id(), pieces.unk_id()})
    if (id >= 0) add_special(pieces.IdToPiece(id), id, true);
  special_.pad = pieces.pad_id();
  special_.eos = pieces.eos_id();
  special_.unk = pieces.unk_id();
  for (std::int64_t id = model_->size() - 1; id >= model_->own; --id) add_special(model_->spelling(id), id, true);
}

SentencePieceTokenizer SentencePieceTokenizer::load(const std::string& path, const SentencePieceOptions& o, Here here) {
  if (o.extra_ids < 0)
    throw ValueError("SentencePieceTokenizer: extra_ids = " + std::to_string(o.extra_ids) + " must be at least 0",
                     here);
  const auto model = std::make_shared<Model>();
  const auto status = model->pieces.LoadFromSerializedProto(io::read_text(path, std::int64_t{1} << 28, here));
  if (!status.ok() || model->pieces.GetPieceSize() == 0) throw FileError(path + ": is no SentencePiece model", here);
  model->own = model->pieces.GetPieceSize();
  model->extra = o.extra_ids;
  return SentencePieceTokenizer(model);
}

SentencePieceTokenizer SentencePieceTokenizer::train(std::string_view text, const std::string& path,
                                                     const SentencePieceTraining& o, Here here) {
  check_utf8(text, "SentencePieceTokenizer::train", here);
  std::vector<std::string> lines;
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);)
    if (!detail::trimmed_left(line).empty()) lines.push_back(line);
  // The library passes over longer ones without a word.
  constexpr std::size_t its_default = 4192, its_most = std::size_t{1} << 30;
  std::size_t longest = its_default;
  for (const std::string& line : lines) longest = std::max(longest, line.size());
  if (longest > its_most)
    throw ValueError("SentencePieceTokenizer::train: a line of " + std::to_string(longest) + " bytes is too long",
                     here);
  if (lines.empty()) throw ValueError("SentencePieceTokenizer::train: the text is empty", here);
  const std::unordered_map<std::string, std::string> options{{"vocab_size", std::to_string(o.size)},
                                                             {"model_type", "unigram"},
                                                             {"normalization_rule_name", "nmt_nfkc"},
                                                             {"pad_id", "0"},
                                                             {"eos_id", "1"},
                                                             {"unk_id", "2"},
                                                             {"bos_id", "-1"},
                                                             {"unk_surface", "<unk>"},
                                                             {"num_threads", "1"},
                                                             {"minloglevel", "4"},
                                                             {"max_sentence_length", std::to_string(longest)},
                                                             {"input_sentence_size", "0"}};
  std::string serialized;
  Lines iterator(std::move(lines));
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &iterator, &serialized);
  if (!status.ok()) throw ValueError("SentencePieceTokenizer::train: " + reason(status), here);
  io::write_text(path, serialized, here);
  return load(path, {.extra_ids = o.extra_ids}, here);
}

void SentencePieceTokenizer::encode_part(std::string_view text, std::vector<std::int64_t>& ids) const {
  std::vector<int> pieces;
  const auto status = model_->pieces.Encode({text.data(), text.size()}, &pieces);
  if (!status.ok()) throw ValueError("encode: " + reason(status));
  ids.insert(ids.end(), pieces.begin(), pieces.end());
}

std::string SentencePieceTokenizer::text_of(const std::vector<std::int64_t>& ids) const {
  std::string out;
  std::vector<std::string> pieces;
  const auto flush = [&] {
    std::string part;
    const auto status = model_->pieces.Decode(pieces, &part);
    if (!status.ok()) throw ValueError("decode: " + reason(status));
    out += part;
    pieces.clear();
  };
  for (const std::int64_t id : ids) {
    const bool special = id >= model_->own || id == special_.pad || id == special_.eos || id == special_.unk;
    if (!special) {
      pieces.push_back(model_->spelling(id));
      continue;
    }
    flush();
    out += model_->spelling(id) + " ";
  }
  flush();
  return std::string(detail::trimmed_left(detail::trimmed_right(out)));
}

std::int64_t SentencePieceTokenizer::size() const { return model_->size(); }

std::string SentencePieceTokenizer::spelling_of(std::int64_t id) const { return model_->spelling(id); }

std::int64_t SentencePieceTokenizer::id_of(std::string_view token) const {
  for (const auto& [spelling, id] : special_tokens())
    if (spelling == token) return id;
  const int id = model_->pieces.PieceToId({token.data(), token.size()});
  return id == model_->pieces.unk_id() ? -1 : id;
}

#else

namespace {

[[noreturn]] void missing(Here here) {
  throw ValueError("SentencePieceTokenizer: Attune was built without SentencePiece (libsentencepiece-dev)", here);
}

}  // namespace

struct SentencePieceTokenizer::Model {};

bool SentencePieceTokenizer::available() { return false; }
SentencePieceTokenizer::SentencePieceTokenizer(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
SentencePieceTokenizer SentencePieceTokenizer::load(const std::string&, const SentencePieceOptions&, Here here) {
  missing(here);
}
SentencePieceTokenizer SentencePieceTokenizer::train(std::string_view, const std::string&, const SentencePieceTraining&,
                                                     Here here) {
  missing(here);
}
void SentencePieceTokenizer::encode_part(std::string_view, std::vector<std::int64_t>&) const { missing({}); }
std::string SentencePieceTokenizer::text_of(const std::vector<std::int64_t>&) const { missing({}); }
std::int64_t SentencePieceTokenizer::size() const { missing({}); }
std::string SentencePieceTokenizer::spelling_of(std::int64_t) const { missing({}); }
std::int64_t SentencePieceTokenizer::id_of(std::string_view) const { missing({}); }

#endif

}  // namespace attune::nn
