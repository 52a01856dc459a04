#include "autograd/tensor/named.h"

#include "autograd/tensor/internal/tensor_impl.h"

namespace attune {

void name_tensor(const Tensor& x, std::shared_ptr<const NameSource> source) {
  checked(x);
  if (!x.impl()->name) x.impl()->name = std::move(source);
}

std::string tensor_name(const Tensor& x) { return x.defined() && x.impl()->name ? x.impl()->name->name() : ""; }

}  // namespace attune
