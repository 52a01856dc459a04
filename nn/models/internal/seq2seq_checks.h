// What the models of nn/models/seq2seq.h refuse alike. Internal to nn/models.
#pragma once

#include "nn/internal/check.h"

namespace attune::nn::detail {

/// Throws ValueError for a vocabulary below 1 and a token outside of the decoder's.
void check_vocabularies(const Check& check, std::int64_t source_vocabulary, std::int64_t vocabulary,
                        std::int64_t padding_token, std::int64_t start_token);
/// Throws ShapeError unless source [b, s] and tokens [b, t] have the same rows.
void check_one_batch(const char* model, const Tensor& source, const Tensor& tokens, Here here);
/// Throws ValueError for a state that has not begun, ShapeError unless tokens are [b, n >= 1] with the state's rows.
void check_step(const char* model, const Tensor& state, int batch_axis, const Tensor& tokens, Here here);

}  // namespace attune::nn::detail
