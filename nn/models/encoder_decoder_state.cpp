#include "nn/models/encoder_decoder_state.h"

#include <algorithm>
#include <numeric>

#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/op.h"

namespace attune::nn {

void EncoderDecoderState::reserve(std::int64_t tokens) {
  for (KeyValueCache& cache : own_) cache.reserve(tokens);
}

void EncoderDecoderState::reorder(const Tensor& rows, Here here) {
  const std::string name = std::string(name_) + "::reorder";
  const Op op{name.c_str(), here};
  if (rows.rank() != 1) op.fail_shape("rows " + rows.shape().str() + " must be [b']");
  const Tensor at = op.checked_index(rows, Shape{this->rows()}, 0);
  std::vector<std::int64_t> sources;
  for (const std::int64_t row : at.to_vector<std::int64_t>())
    sources.push_back(sources_[static_cast<std::size_t>(row)]);
  for (KeyValueCache& cache : own_) cache.reorder(at);
  if (sources == sources_) return;
  for (KeyValueCache& cache : source_) cache.reorder(at);
  if (source_padding_.defined()) source_padding_ = index_select(source_padding_, 0, at);
  sources_ = std::move(sources);
}

void EncoderDecoderState::begin(std::vector<KeyValueCache> source, std::int64_t rows, const Tensor& key_padding_mask) {
  source_ = std::move(source);
  own_.resize(source_.size());
  if (key_padding_mask.defined() && any(key_padding_mask)) source_padding_ = clone(key_padding_mask);
  sources_.resize(static_cast<std::size_t>(rows));
  std::iota(sources_.begin(), sources_.end(), 0);
}

void EncoderDecoderState::check_step(const char* model, std::size_t layers, const Tensor& tokens, Here here) const {
  const std::string name = model;
  if (own_.size() != layers) throw ValueError(name + ": the state is not one that start() of this model gave", here);
  if (tokens.rank() != 2 || tokens.size(0) != rows() || tokens.size(1) == 0)
    throw ShapeError(name + ": tokens " + tokens.shape().str() + " must be [" + std::to_string(rows()) + ", n >= 1]",
                     here);
}

void EncoderDecoderState::rewind(std::int64_t tokens) {
  for (KeyValueCache& cache : own_) cache.truncate(std::min(tokens, cache.length()));
}

}  // namespace attune::nn
