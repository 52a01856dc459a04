#include "nn/text/tokenizer.h"

#include <algorithm>
#include <optional>

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/op.h"
#include "nn/text/internal/unicode.h"

namespace attune::nn {

void Tokenizer::add_special(const std::string& token, std::int64_t id, bool strips) {
  if (token.empty()) return;
  for (const auto& [known, other] : spelled_)
    if (known == token) return;
  spelled_.emplace_back(token, id);
  strips_.push_back(strips);
  begins_[static_cast<unsigned char>(token[0])] = true;
}

void Tokenizer::add_known_special(const std::string& token, std::int64_t id, bool strips) {
  constexpr std::pair<std::string_view, std::int64_t SpecialTokens::*> known[] = {
      {"<pad>", &SpecialTokens::pad},   {"[PAD]", &SpecialTokens::pad},         {"<unk>", &SpecialTokens::unk},
      {"[UNK]", &SpecialTokens::unk},   {"<s>", &SpecialTokens::bos},           {"</s>", &SpecialTokens::eos},
      {"<mask>", &SpecialTokens::mask}, {"<|endoftext|>", &SpecialTokens::eos}, {"[CLS]", &SpecialTokens::cls},
      {"[SEP]", &SpecialTokens::sep},   {"[MASK]", &SpecialTokens::mask}};
  for (const auto& [spelling, member] : known)
    if (spelling == token) special_.*member = id;
  add_special(token, id, strips);
}

namespace {

void check_id(const char* what, std::int64_t id, std::int64_t size, Here here) {
  if (id < 0 || id >= size)
    throw IndexError(what + (": token " + std::to_string(id)) + " is not in a vocabulary of " + std::to_string(size),
                     here);
}

}  // namespace

std::string Tokenizer::decode(const std::vector<std::int64_t>& ids, Here here) const {
  const std::int64_t tokens = size();
  for (const std::int64_t id : ids) check_id("decode", id, tokens, here);
  return text_of(ids);
}

std::string Tokenizer::token_of(std::int64_t id, Here here) const {
  check_id("token_of", id, size(), here);
  return spelling_of(id);
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view given) const {
  std::string storage;
  std::string_view text = takes_any_bytes() ? given : detail::valid_utf8(given, storage);
  std::vector<std::int64_t> ids;
  const auto special_at = [&](std::size_t i) {
    std::optional<std::size_t> longest;
    for (std::size_t s = 0; s < spelled_.size(); ++s)
      if (text.substr(i).starts_with(spelled_[s].first) &&
          (!longest || spelled_[s].first.size() > spelled_[*longest].first.size()))
        longest = s;
    return longest;
  };
  bool trims = false;  // white space after the special token before this part
  const auto part = [&](std::string_view piece, bool trim_end) {
    if (trims) piece = detail::trimmed_left(piece);
    if (trim_end) piece = detail::trimmed_right(piece);
    if (!piece.empty()) encode_part(piece, ids);
  };
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!begins_[static_cast<unsigned char>(text[i])]) continue;
    const auto found = special_at(i);
    if (!found) continue;
    part(text.substr(begin, i - begin), strips_[*found]);
    ids.push_back(spelled_[*found].second);
    trims = strips_[*found];
    begin = i + spelled_[*found].first.size();
    i = begin - 1;
  }
  part(text.substr(begin), false);
  return ids;
}

void check_utf8(std::string_view text, const std::string& what, Here here) {
  const std::size_t at = detail::invalid_utf8_at(text);
  if (at == std::string_view::npos) return;
  constexpr char digits[] = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(text[at]);
  throw ValueError(
      what + ": is not UTF-8: byte " + std::to_string(at) + " is 0x" + digits[byte >> 4] + digits[byte & 15], here);
}

namespace {

using Ids = std::vector<std::int64_t>;

/// Rows of tokens, and of types if there are such, padded to one length.
TokenBatch joined(const Tokenizer& tokenizer, std::vector<Ids> rows, std::vector<Ids> types,
                  const TokenBatchOptions& o) {
  std::size_t n = static_cast<std::size_t>(o.length);
  if (n == 0)
    for (const Ids& row : rows) n = std::max(n, row.size());
  const std::int64_t pad = std::max<std::int64_t>(tokenizer.special().pad, 0);
  const Shape shape{static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(n)};
  const auto filled = [&](const std::vector<Ids>& all, std::int64_t filling) {
    Ids out;
    for (const Ids& row : all) {
      const std::size_t more = n - row.size();
      if (o.padding == Side::left) out.insert(out.end(), more, filling);
      out.insert(out.end(), row.begin(), row.end());
      if (o.padding == Side::right) out.insert(out.end(), more, filling);
    }
    return out;
  };
  TokenBatch batch;
  batch.tokens = tensor(filled(rows, pad), shape);
  if (!types.empty()) batch.token_types = tensor(filled(types, 0), shape);
  for (Ids& row : rows) std::fill(row.begin(), row.end(), 0);
  const Ids hidden = filled(rows, 1);
  batch.key_padding_mask = tensor(std::vector<bool>(hidden.begin(), hidden.end()), shape);
  return batch;
}

void shorten(Ids& ids, std::size_t most, Side side) {
  if (ids.size() <= most) return;
  if (side == Side::right)
    ids.resize(most);
  else
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(most));
}

/// Tokens that may stand beside `special` ones.
std::size_t room(const Op& op, const TokenBatchOptions& o, std::size_t special) {
  if (o.length < 0) op.fail_value("length = " + std::to_string(o.length) + " must be at least 0");
  if (o.length == 0) return static_cast<std::size_t>(-1);
  if (static_cast<std::size_t>(o.length) < special)
    op.fail_value("length = " + std::to_string(o.length) + " leaves no room for " + std::to_string(special) +
                  " special tokens");
  return static_cast<std::size_t>(o.length) - special;
}

}  // namespace

TokenBatch encode_batch(const Tokenizer& tokenizer, const std::vector<std::string>& texts, const TokenBatchOptions& o,
                        Here here) {
  const Op op{"encode_batch", here};
  if (texts.empty()) op.fail_value("there is no text");
  const SpecialTokens& s = tokenizer.special();
  const std::int64_t first = !o.special   ? -1
                             : s.cls >= 0 ? s.cls
                                          : s.bos,
                     last = !o.special   ? -1
                            : s.sep >= 0 ? s.sep
                                         : s.eos;
  const std::size_t most = room(op, o, (first >= 0 ? 1U : 0U) + (last >= 0 ? 1U : 0U));
  std::vector<Ids> rows;
  for (const std::string& text : texts) {
    Ids ids = tokenizer.encode(text);
    shorten(ids, most, o.truncation);
    if (first >= 0) ids.insert(ids.begin(), first);
    if (last >= 0) ids.push_back(last);
    rows.push_back(std::move(ids));
  }
  return joined(tokenizer, std::move(rows), {}, o);
}

TokenBatch encode_pairs(const Tokenizer& tokenizer, const std::vector<std::pair<std::string, std::string>>& pairs,
                        const TokenBatchOptions& o, Here here) {
  const Op op{"encode_pairs", here};
  const SpecialTokens& s = tokenizer.special();
  if (pairs.empty()) op.fail_value("there is no pair");
  if (s.cls < 0 || s.sep < 0) op.fail_value("the tokenizer has no cls and sep");
  const std::size_t most = room(op, o, 3);
  std::vector<Ids> rows, types;
  for (const auto& [text, pair] : pairs) {
    Ids a = tokenizer.encode(text), b = tokenizer.encode(pair);
    std::size_t kept_a = a.size(), kept_b = b.size();
    while (kept_a + kept_b > most) --(kept_a > kept_b ? kept_a : kept_b);
    shorten(a, kept_a, o.truncation);
    shorten(b, kept_b, o.truncation);
    Ids row{s.cls}, type(a.size() + 2, 0);
    row.insert(row.end(), a.begin(), a.end());
    row.push_back(s.sep);
    row.insert(row.end(), b.begin(), b.end());
    row.push_back(s.sep);
    type.resize(row.size(), 1);
    rows.push_back(std::move(row));
    types.push_back(std::move(type));
  }
  return joined(tokenizer, std::move(rows), std::move(types), o);
}

std::vector<std::string> decode_batch(const Tokenizer& tokenizer, const Tensor& tokens, bool skip_special, Here here) {
  const Op op{"decode_batch", here};
  op.check_defined(tokens);
  if (tokens.rank() != 2) op.fail_shape("tokens " + tokens.shape().str() + " must be [b, n]");
  op.check_dtype(tokens, int64);
  const Ids all = tokens.to_vector<std::int64_t>();
  const auto n = static_cast<std::ptrdiff_t>(tokens.size(1));
  const auto is_special = [&](std::int64_t id) {
    const auto& known = tokenizer.special_tokens();
    return std::any_of(known.begin(), known.end(), [&](const auto& s) { return s.second == id; });
  };
  std::vector<std::string> texts;
  for (std::ptrdiff_t i = 0; i < tokens.size(0); ++i) {
    Ids row(all.begin() + i * n, all.begin() + (i + 1) * n);
    if (skip_special) row.erase(std::remove_if(row.begin(), row.end(), is_special), row.end());
    texts.push_back(tokenizer.decode(row, here));
  }
  return texts;
}

}  // namespace attune::nn
