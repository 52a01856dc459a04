// Rules of decoding, each a function of the scores of the next token: processors forbid and penalise, warpers keep the
// likely tokens of a distribution. They are those of the Python library that publishes the models (transformers 4.19),
// and generate() applies them in the order in which they stand here.
//
// Scores [b, V] are logits or log-probabilities, float32 or float64; the result is another tensor, in which -inf is a
// token that cannot come. Sequences [b, n] int64 are the tokens so far. All is off the tape. Each throws ShapeError and
// DTypeError for tensors that do not fit, IndexError for a token that is not in [0, V), and ValueError for a number out
// of range.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune::nn {

/// The score s of every token that a sequence has, once however often it has it: s / penalty where s > 0, s penalty
/// where s < 0 (Keskar et al. 2019). penalty > 0; 1 changes nothing.
Tensor penalise_repetition(const Tensor& scores, const Tensor& sequences, double penalty, Here here = Here::current());
/// Forbids each token that would end an n-gram which the sequence has already. n >= 1.
Tensor forbid_repeated_ngrams(const Tensor& scores, const Tensor& sequences, std::int64_t n,
                              Here here = Here::current());
/// Forbids the end, token `eos`, while the sequences have fewer than min_length tokens.
Tensor forbid_early_end(const Tensor& scores, const Tensor& sequences, std::int64_t eos, std::int64_t min_length,
                        Here here = Here::current());

/// scores / temperature, > 0: below 1 the likely becomes likelier.
Tensor scale_by_temperature(const Tensor& scores, double temperature, Here here = Here::current());
/// Keeps the k >= 1 best (at least `at_least`), and what is as good as the k-th.
Tensor keep_top_k(const Tensor& scores, std::int64_t k, std::int64_t at_least = 1, Here here = Here::current());
/// Keeps the best up to and with the one at which their probabilities come to more than p, in [0, 1]; at least
/// `at_least` (Holtzman et al. 2019).
Tensor keep_top_p(const Tensor& scores, double p, std::int64_t at_least = 1, Here here = Here::current());
/// Keeps those whose log-probability is nearest to its mean, the negative entropy, until their probabilities come to
/// `mass`, in (0, 1); at least `at_least` (Meister et al. 2022).
Tensor keep_typical(const Tensor& scores, double mass, std::int64_t at_least = 1, Here here = Here::current());

/// A token [b] int64 of each row, drawn by its softmax. Throws ValueError for a row that has no finite best score.
Tensor draw_tokens(const Tensor& scores, Generator& generator = default_generator(), Here here = Here::current());

}  // namespace attune::nn
