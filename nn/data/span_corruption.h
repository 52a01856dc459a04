// The data of T5's objective (Raffel et al. 2019, 3.1.4): spans of tokens, replaced by sentinels, to be filled in.
#pragma once

#include <vector>

#include "nn/data/padded.h"

namespace attune::nn {

struct SpanCorruptionOptions {
  double noise_share = 0.15;        ///< of the tokens that are taken out
  double mean_length = 3;           ///< of a span
  std::int64_t first_sentinel = 0;  ///< the first span's; each further one's is one less
  std::int64_t sentinels = 100;     ///< how many there are; no text has one
  std::int64_t eos = 1;             ///< ends input and target; negative: none
};

struct CorruptedSpans {
  Sequence input;   ///< "Thank you <X> me to your party <Y> week."
  Sequence target;  ///< "<X> for inviting <Y> last"
};

/// Takes spans out of n tokens. As in the published code: round(n noise_share) tokens, at least 1 and at most n - 1, in
/// round(that / mean_length) spans, at least 1, both in float32 and with halves to even (190 tokens: 29, not 28). The
/// lengths of spans, and of what lies between, are at least 1 and uniform among all that add up: a text begins with
/// what stays and ends with a span, and the target has no sentinel after the last span. Throws ValueError for fewer
/// than two tokens (of which the published code takes out none), a token that is one of the sentinels, options out of
/// range, or more spans than sentinels.
CorruptedSpans corrupt_spans(const Sequence& tokens, const SpanCorruptionOptions& options,
                             Generator& random = default_generator(), Here here = Here::current());

}  // namespace attune::nn
