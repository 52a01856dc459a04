// What several models are made of. The names of a block's parts are each model's own: it is a struct there, written
// with these.
#pragma once

#include "autograd/ops/elementwise.h"
#include "autograd/ops/loss.h"
#include "autograd/runtime/activation.h"
#include "nn/module.h"

namespace attune::nn {

/// y = activation(x W + b): x [..., in], weight [in, out] from N(0, std^2), bias [out] zeros: a Linear whose weight is
/// stored the other way round, as in the GPT family's files. Throws ValueError for sizes below 1.
class Projection : public Module {
 public:
  Projection(std::int64_t in, std::int64_t out, double std, Activation activation = Activation::none,
             Here here = Here::current());
  Tensor operator()(const Tensor& x, Here here = Here::current()) const;

  Parameter &weight, &bias;

 private:
  Activation activation_;
};

/// A sublayer of a Transformer with its residual connection and its norm, which comes before the sublayer or, as in
/// Vaswani et al. 2017, after the sum.
template <class Norm, class F>
Tensor residual(const Tensor& x, const Norm& norm, bool pre_norm, F&& sublayer) {
  return pre_norm ? x + sublayer(norm(x)) : norm(x + sublayer(x));
}

/// Initialises all matrices of a module from N(0, std^2) and its biases as zeros, as published models begin; other
/// parameters, such as norms, stay as they are.
void normal_weights_(Module& module, double std);

/// A key_padding_mask [b, n] of tokens [b, n] as an attention_mask [b, 1, 1, n]: in both true hides. Undefined
/// stays so. Throws ShapeError under the model's name if either has another shape, DTypeError unless bool.
Tensor hidden_keys(const char* model, const Tensor& tokens, const Tensor& key_padding_mask, Here here);

/// Cross-entropy of predicting token i + 1 at position i: logits [b, n, vocabulary], labels [b, n] int64, of which -100
/// is ignored. Reduction::none gives [b, n - 1]. Throws ShapeError under the model's name.
Tensor next_token_loss(const char* model, const Tensor& logits, const Tensor& labels, Reduction reduction, Here here);
/// Over how many targets the mean of next_token_loss() runs: those of labels [b, n] behind the first that are not -100.
std::int64_t next_token_count(const char* model, const Tensor& labels, Here here);
/// What a decoder is to see where it shall say `labels` [b, t]: `start`, then the labels but the last, with `padding`
/// where they are -100. Throws ShapeError under the model's name.
Tensor shifted_right(const char* model, const Tensor& labels, std::int64_t start, std::int64_t padding, Here here);
/// How many targets of any shape are not -100.
std::int64_t target_count(const Tensor& targets);

}  // namespace attune::nn
