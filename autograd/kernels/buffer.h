// Working memory of a kernel.
#pragma once

#include <cstdint>

#include "autograd/kernels/size.h"
#include "autograd/runtime/memory.h"

namespace attune::kernels {

/// n elements from the pool, not initialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(Size n)
      : bytes_(static_cast<std::size_t>(n) * sizeof(T)),
        p_(static_cast<T*>(n == 0 ? nullptr : pool::allocate(bytes_))) {}
  ~Buffer() {
    if (p_) pool::deallocate(p_, bytes_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() const { return p_; }

 private:
  std::size_t bytes_;
  T* p_;
};

}  // namespace attune::kernels
