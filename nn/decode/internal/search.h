// What the ways of decoding share. Internal to nn/decode/.
#pragma once

#include <vector>

#include "nn/decode/generate.h"
#include "nn/decode/internal/rows.h"

namespace attune::nn::detail {

using Sequence = std::vector<std::int64_t>;
using Sequences = std::vector<Sequence>;

/// A decoding under way, its options checked.
struct Search {
  Decoder& decoder;
  GenerateOptions options;  ///< max_length and pad are filled in
  Here here;
  Sequences sequences;  ///< a row each

  /// Step of all rows' last tokens, or of all tokens at first; logits [rows, V], whose tokens are known to be there.
  Tensor step(bool first);
  /// What the rules make of scores [rows, V]: a tensor that may be written.
  Tensor processed(const Tensor& scores) const;
  /// The temperature and what it is followed by.
  void warp(Tensor& scores) const;
  bool full() const { return static_cast<std::int64_t>(sequences[0].size()) >= options.max_length; }
  void spread(std::int64_t times);  ///< each row becomes so many
};

/// f(span of row i, i) of contiguous scores [rows, V].
template <class F>
void for_rows(Tensor& scores, F f) {
  const auto visit = [&](auto* first) {
    const auto size = static_cast<std::size_t>(scores.size(1));
    for (std::int64_t i = 0; i < scores.size(0); ++i)
      f(std::span(first + static_cast<std::size_t>(i) * size, size), static_cast<std::size_t>(i));
  };
  if (scores.dtype() == DType::float32)
    visit(scores.mutable_data<float>());
  else
    visit(scores.mutable_data<double>());
}

/// Sequences of one length as [rows, n].
Tensor as_tensor(const Sequences& sequences);
/// Sequences of any lengths, filled with `pad`.
Tensor padded(const Sequences& sequences, std::int64_t pad);
Tensor lengths_of(const Sequences& sequences);

GenerateResult search_one_by_one(Search& search);  // greedy and sampling
GenerateResult search_beams(Search& search);

}  // namespace attune::nn::detail
