#include "nn/decode/decoder.h"

#include "autograd/ops/create.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn {

Tensor PrefixDecoder::step(const Tensor& tokens) {
  const NoGrad off;
  const bool first = !tokens_.defined();
  if (mask_.defined()) {
    // The mask may be of more tokens than have come.
    const std::int64_t before = first ? 0 : tokens_.size(1), all = before + tokens.size(1);
    if (mask_.size(1) < all) mask_ = cat({mask_, zeros({tokens.size(0), all - mask_.size(1)}, DType::boolean)}, 1);
  }
  tokens_ = first ? clone(tokens) : cat({tokens_, tokens}, 1);
  if (first) rows_ = arange(tokens.size(0));
  const std::int64_t n = tokens_.size(1);
  Tensor y = logits_({tokens_, mask_.defined() ? slice(mask_, 1, 0, n) : Tensor(), rows_});
  if (y.rank() == 2) return y;
  if (y.rank() != 3 || y.size(1) != n)
    throw ShapeError("PrefixDecoder: logits " + y.shape().str() + " must be [b, V] or [b, " + std::to_string(n) +
                     ", V]");
  return select(y, 1, n - 1);
}

void PrefixDecoder::reorder(const Tensor& rows) {
  if (mask_.defined()) mask_ = index_select(mask_, 0, rows);
  if (!tokens_.defined()) return;
  tokens_ = index_select(tokens_, 0, rows);
  rows_ = index_select(rows_, 0, rows);
}

}  // namespace attune::nn
