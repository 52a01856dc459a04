// What a decoder behind an encoder keeps from step to step.
#pragma once

#include "nn/attention/cache.h"

namespace attune::nn {

/// Keys and values of all layers, of the decoder's tokens and of the source: the part that is the same in all models.
class EncoderDecoderState {
 public:
  std::int64_t length() const { return own_.empty() ? 0 : own_.front().length(); }  ///< decoder's tokens so far
  /// Room for `tokens` of the decoder in all.
  void reserve(std::int64_t tokens);
  /// Row i becomes what row rows[i] was: rows [b'] int64, any number of them. What is of the source is copied only
  /// where it differs, so that beams which change places among themselves leave it alone. Throws IndexError for a row
  /// that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());

 protected:
  /// `name` is a literal, for messages.
  explicit EncoderDecoderState(const char* name) : name_(name) {}
  /// Begins with the caches of `source` [b, s] and its key_padding_mask, one a decoder's layer.
  void begin(std::vector<KeyValueCache> source, std::int64_t rows, const Tensor& key_padding_mask);
  std::int64_t rows() const { return static_cast<std::int64_t>(sources_.size()); }
  /// Throws ValueError unless it has so many layers, ShapeError unless tokens are [rows, n >= 1], in the model's name.
  void check_step(const char* model, std::size_t layers, const Tensor& tokens, Here here) const;
  /// Back to `tokens` of the decoder, which some layers may not have taken.
  void rewind(std::int64_t tokens);

  std::vector<KeyValueCache> own_, source_;  // a decoder's layer each
  Tensor source_padding_;                    // [b, s] bool: true hides; undefined: nothing is hidden

 private:
  const char* name_;
  std::vector<std::int64_t> sources_;  // which of the sources given to start() a row has
};

}  // namespace attune::nn
