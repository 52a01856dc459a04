// Words from their characters (Kim et al. 2016; Peters et al. 2018).
#pragma once

#include "nn/layers/convolution.h"
#include "nn/layers/embedding.h"
#include "nn/layers/highway.h"

namespace attune::nn {

struct CharacterFilter {
  std::int64_t width = 1;  ///< characters
  std::int64_t count = 1;  ///< features
};

struct CharacterEncoderOptions {
  std::int64_t char_dim = 16;
  /// ELMo's.
  std::vector<CharacterFilter> filters{{1, 32}, {2, 32}, {3, 64}, {4, 128}, {5, 256}, {6, 512}, {7, 1024}};
  Activation activation = Activation::relu;
  HighwayOptions highway{.layers = 2};
  std::int64_t projection = 512;    ///< size of the result; 0: the number of features, unprojected
  std::int64_t padding_index = -1;  ///< a character whose embedding is and stays zero; -1: none
};

/// Embeds characters, convolves them with filters of several widths, takes each feature's maximum over the word, and
/// passes the features through highway layers and a projection: int64 characters [..., W] of words to
/// [..., projection]. Constructors throw ValueError for sizes below 1; calls throw ShapeError if W is below the widest
/// filter.
class CharacterEncoder : public Module {
 public:
  using Options = CharacterEncoderOptions;
  explicit CharacterEncoder(std::int64_t characters, const CharacterEncoderOptions& options = {},
                            Here here = Here::current());
  Tensor operator()(const Tensor& characters, Here here = Here::current()) const;
  std::int64_t out() const { return out_; }

 private:
  Activation activation_;
  Embedding& embedding_;
  std::vector<Conv1d*> convolutions_;
  Highway* highway_ = nullptr;
  Linear* projection_ = nullptr;
  std::int64_t out_ = 0;
};

}  // namespace attune::nn
