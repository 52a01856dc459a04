// Lookup tables.
#pragma once

#include "nn/module.h"

namespace attune::nn {

struct EmbeddingOptions {
  std::int64_t padding_index = -1;  ///< a row that starts as zeros and gets no gradient; -1: none
};

/// Rows of weight [n, d], drawn from N(0, 1), at int64 indices of any shape [...]: [..., d]. Throws ValueError for
/// sizes below 1 and a padding_index that is not in [-1, n); calls throw IndexError for an index outside [0, n).
class Embedding : public Module {
 public:
  using Options = EmbeddingOptions;
  Embedding(std::int64_t n, std::int64_t d, const EmbeddingOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& indices, Here here = Here::current()) const;

  Parameter& weight;

 private:
  std::int64_t padding_index_;
};

}  // namespace attune::nn
