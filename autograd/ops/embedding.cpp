#include "autograd/ops/embedding.h"

#include "autograd/kernels/gather.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/views.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::with_any;

Tensor embedding(const Tensor& table, const Tensor& indices, std::int64_t padding_index, Here here) {
  const Op op{"embedding", here};
  op.check_floating(table);
  if (table.rank() != 2) op.fail_shape("the table must be [rows, d], got " + table.shape().str());
  if (padding_index < -1 || padding_index >= table.size(0))
    op.fail_index("padding_index = " + std::to_string(padding_index) + " is neither -1 nor a row of " +
                  table.shape().str());
  op.check_defined(indices);
  if (!is_integer(indices.dtype()))
    op.fail_dtype(std::string("indices must be integers, got ") + name_of(indices.dtype()) + " " +
                  indices.shape().str() + ": tensor({{1, 2, 3}}, int64) makes some");
  const Tensor at = op.checked_index(indices, table.shape(), 0), from = dense(table);
  Shape shape = indices.shape();
  shape.push_back(table.size(1));
  Tensor y = op.empty(shape, table.dtype());
  kernels::index_select(table.dtype(), from.raw(), 1, table.size(0), table.size(1), elements<const std::int64_t>(at),
                        at.numel(), y.unsafe_data());
  return op.record(
      std::move(y), of<embedding>(table, indices, padding_index),
      padding_index < 0 ? "dtable = dy added at the indices"
                        : "dtable = dy added at the indices other than padding_index",
      [at = Saved(at), padding_index, whole = table.shape()](const Tensor& dy) {
        const Tensor flat = flatten(at);
        Tensor rows = reshape(dy, {flat.numel(), whole[1]});
        if (padding_index >= 0) rows = where(unsqueeze(eq(flat, padding_index), 1), 0, rows);
        return index_add(expand(zeros({}, dy.dtype()), whole), 0, flat, rows);
      },
      [](const Tensor&) { return Tensor(); });
}

Tensor one_hot(const Tensor& indices, std::int64_t classes, DType dtype, Here here) {
  const Op op{"one_hot", here};
  if (classes < 0) op.fail_value("classes = " + std::to_string(classes) + " is negative");
  const Tensor at = op.checked_index(indices, classes, "classes");
  Shape shape = indices.shape();
  shape.push_back(classes);
  Tensor y = zeros(shape, dtype);
  with_any(dtype, [&]<class T>(T) {
    for (std::int64_t i = 0; i < at.numel(); ++i)
      elements<T>(y)[i * classes + elements<const std::int64_t>(at)[i]] = T{1};
  });
  return y;
}

}  // namespace attune
