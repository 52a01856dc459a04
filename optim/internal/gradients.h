// Gradients looked at together. Internal to optim/.
#pragma once

#include <string>
#include <vector>

#include "autograd/kernels/optimizer.h"
#include "autograd/tensor/tensor.h"

namespace attune::optim::detail {

/// The tensors of T's dtype, all of them dense, as kernels take them.
template <class T>
std::vector<kernels::Piecewise<T>> pieces_of(const std::vector<Tensor>& tensors) {
  std::vector<kernels::Piecewise<T>> found;
  for (const Tensor& x : tensors)
    if (x.dtype() == dtype_of<T>) found.push_back({attune::detail::elements<T>(x), x.numel()});
  return found;
}

/// Which of these dense tensors is the first with NaN or infinity in it; their number if none is.
std::size_t first_nonfinite(const std::vector<Tensor>& tensors);
/// "element 4 is nan", for one that first_nonfinite() found.
std::string first_nonfinite_element(const Tensor& x);
/// A parameter in messages: "encoder.weight [3, 2]".
std::string described(const std::string& name, const Tensor& parameter);

}  // namespace attune::optim::detail
