#include <algorithm>
#include <string>
#include <vector>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "nn/models/internal/closed_up.h"

namespace attune::nn::detail {

ClosedUp closed_up(const char* model, const char* what, const Tensor& tokens, const Tensor& key_padding_mask,
                   bool reversed, Here here) {
  const std::string name = std::string(model) + ": ";
  if (!tokens.defined() || tokens.rank() != 2)
    throw ShapeError(
        name + what + " must be [batch, length], got " + (tokens.defined() ? tokens.shape().str() : "none"), here);
  const std::int64_t rows = tokens.size(0), given = tokens.size(1);
  if (given == 0) throw ShapeError(name + what + " " + tokens.shape().str() + " must be [batch, length >= 1]", here);
  if (!is_integer(tokens.dtype()))
    throw DTypeError(name + what + " must be integers, got " + name_of(tokens.dtype()), here);
  if (key_padding_mask.defined() && key_padding_mask.shape() != tokens.shape())
    throw ShapeError(name + "the key_padding_mask " + key_padding_mask.shape().str() + " must be " +
                         tokens.shape().str() + " as " + what,
                     here);
  if (key_padding_mask.defined() && key_padding_mask.dtype() != DType::boolean)
    throw DTypeError(name + "the key_padding_mask must be of bool, got " + name_of(key_padding_mask.dtype()), here);
  if (!key_padding_mask.defined() || rows == 0 || !any(key_padding_mask))
    return {reversed ? flip(tokens, {1}) : tokens, {}, {}, {}};

  const std::vector<std::int64_t> mask = to(key_padding_mask, DType::int64).to_vector<std::int64_t>();
  std::vector<std::int64_t> lengths, from(mask.size()), places(mask.size());
  bool stay = !reversed;  // every token is where it was: padding is on the right
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto at = [&](std::int64_t column) { return static_cast<std::size_t>(row * given + column); };
    std::int64_t length = 0;
    for (std::int64_t i = 0; i < given; ++i) {
      const std::int64_t column = reversed ? given - 1 - i : i;
      if (mask[at(column)] != 0) continue;
      stay = stay && column == length;
      places[at(column)] = length;
      from[at(length++)] = column;
    }
    lengths.push_back(length);
  }
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(lengths.begin(), lengths.end()));
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (mask[i] != 0) places[i] = most;
  ClosedUp c;
  c.lengths = index_tensor(lengths);
  c.hidden = ge(unsqueeze(arange(most), 0), unsqueeze(c.lengths, 1));
  const Tensor order = slice(index_tensor(from, {rows, given}), 1, 0, most);
  c.tokens = masked_fill(gather(tokens, 1, order), c.hidden, 0);
  if (!stay || most < given) c.places = index_tensor(places, {rows, given});
  return c;
}

Tensor columns_as_given(const Tensor& x, const Tensor& places) {
  if (!places.defined()) return x;
  const Tensor wider = pad(x, 2, 0, 1);
  return gather(wider, 2, contiguous(expand(unsqueeze(places, 1), {x.size(0), x.size(1), places.size(1)})));
}

Tensor rows_as_given(const Tensor& x, const Tensor& places) {
  if (!places.defined()) return x;
  const std::int64_t rows = x.size(0), n = x.size(1) + 1;
  const Tensor wider = reshape(pad(x, 1, 0, 1), {rows * n, x.size(2)});
  const Tensor at = reshape(places + unsqueeze(n * arange(rows), 1), {-1});
  return reshape(index_select(wider, 0, at), {rows, places.size(1), x.size(2)});
}

}  // namespace attune::nn::detail
