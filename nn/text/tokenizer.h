// From text to the numbers of its tokens, and back: what all tokenizers share.
//
// Text is UTF-8. What is not is read as Unicode recommends, a U+FFFD for each maximal bad part; check_utf8() refuses it
// instead, and is for where a text comes in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"
#include "nn/text/side.h"

namespace attune::nn {

/// The ids of tokens that are no text; -1: there is none.
struct SpecialTokens {
  std::int64_t pad = -1;   ///< fills batches
  std::int64_t unk = -1;   ///< stands for what has no token
  std::int64_t bos = -1;   ///< begins a text ...
  std::int64_t eos = -1;   ///< ... and ends it
  std::int64_t cls = -1;   ///< begins what a classifier reads
  std::int64_t sep = -1;   ///< ends each of its texts
  std::int64_t mask = -1;  ///< hides a word
};

/// A tokenizer. It never changes once it is made, and several threads may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// The tokens of a text, with none added. Special tokens that are spelled out in it are found first, the longest at a
  /// place.
  std::vector<std::int64_t> encode(std::string_view text) const;
  /// The text of tokens. Throws IndexError for a token that is not in [0, size()).
  std::string decode(const std::vector<std::int64_t>& ids, Here here = Here::current()) const;
  /// How many tokens there are: the model's vocabulary.
  virtual std::int64_t size() const = 0;
  /// How a token is spelled in the vocabulary. Throws IndexError.
  std::string token_of(std::int64_t id, Here here = Here::current()) const;
  /// The id of a token as it is spelled there; -1 if there is none.
  virtual std::int64_t id_of(std::string_view token) const = 0;

  const SpecialTokens& special() const { return special_; }
  /// All special tokens as they are spelled, and their ids.
  const std::vector<std::pair<std::string, std::int64_t>>& special_tokens() const { return spelled_; }

 protected:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = default;
  Tokenizer& operator=(const Tokenizer&) = default;

  /// The tokens of a part without special tokens, appended.
  virtual void encode_part(std::string_view text, std::vector<std::int64_t>& ids) const = 0;
  /// decode() of tokens that are in [0, size()).
  virtual std::string text_of(const std::vector<std::int64_t>& ids) const = 0;
  /// token_of() of a token that is.
  virtual std::string spelling_of(std::int64_t id) const = 0;
  /// Whether encode_part takes what is not UTF-8 as it is.
  virtual bool takes_any_bytes() const { return false; }
  /// A special token; if it `strips`, white space beside it goes.
  void add_special(const std::string& token, std::int64_t id, bool strips = false);
  /// The same, and its place in special() by its spelling: "<pad>" and "[PAD]" are `pad`, "<unk>" and "[UNK]" `unk`,
  /// "<s>" `bos`, "</s>" and "<|endoftext|>" `eos`, "[CLS]" `cls`, "[SEP]" `sep`, "<mask>" and "[MASK]" `mask`.
  void add_known_special(const std::string& token, std::int64_t id, bool strips = false);

  SpecialTokens special_;

 private:
  std::vector<std::pair<std::string, std::int64_t>> spelled_;
  std::vector<bool> strips_;
  bool begins_[256] = {};  // whether one begins with this byte
};

/// Throws ValueError unless a text is UTF-8; `what` names it in the error, which says where.
void check_utf8(std::string_view text, const std::string& what, Here here = Here::current());

// ---- batches

struct TokenBatchOptions {
  std::int64_t length = 0;        ///< tokens a row; 0: those of the longest text
  Side padding = Side::right;     ///< where it goes
  Side truncation = Side::right;  ///< where a text longer than `length` loses what is too much
  /// Special tokens around each text: `bos` or `cls` before and `eos` or `sep` behind, as far as there are such.
  bool special = false;
};

struct TokenBatch {
  Tensor tokens;            ///< [b, n] int64
  Tensor key_padding_mask;  ///< [b, n] bool: true hides padding
  Tensor token_types;       ///< [b, n] int64 of pairs: 0 the first text, 1 the second; undefined of single texts
};

/// Texts as a batch. Padding is `special().pad`, or 0 if there is none. Throws ValueError without texts, and if
/// `length` leaves no room for the special tokens.
TokenBatch encode_batch(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                        const TokenBatchOptions& options = {}, Here here = Here::current());
/// Pairs of texts as BERT takes them: cls first sep second sep. What is too long loses tokens one by one from the
/// longer of the two, from the second if they are equal. Throws ValueError for a tokenizer without `cls` and `sep`.
TokenBatch encode_pairs(const Tokenizer& tokenizer, const std::vector<std::pair<std::string, std::string>>& pairs,
                        const TokenBatchOptions& options = {}, Here here = Here::current());
/// The texts of tokens [b, n], without special tokens if `skip_special`.
std::vector<std::string> decode_batch(const Tokenizer& tokenizer, const Tensor& tokens, bool skip_special = false,
                                      Here here = Here::current());

}  // namespace attune::nn
