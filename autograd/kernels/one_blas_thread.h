// OpenBLAS on the calling thread alone.
#pragma once

#include <cblas.h>

#include "autograd/runtime/fork.h"

// Of whatever OpenMP library OpenBLAS brings along, or null: nothing else here needs OpenMP.
extern "C" {
[[gnu::weak]] int omp_get_max_threads();
[[gnu::weak]] void omp_set_num_threads(int);
}

namespace attune::kernels {

/// While it lives, BLAS calls of this thread stay on this thread: their number must not choose BLAS's blocking, and a
/// team of OpenMP's threads for each call, beside ours, would make every call slow. OpenBLAS's OpenMP build follows the
/// calling thread's OpenMP setting, which is put back for its owner's sake. A fork waits for the call, since OpenBLAS
/// takes its buffers under a lock.
class OneBlasThread {
 public:
  OneBlasThread() {
    static const int kind = openblas_get_parallel();
    if (kind == OPENBLAS_OPENMP && omp_get_max_threads && omp_set_num_threads) {
      before_ = omp_get_max_threads();
      if (before_ != 1) omp_set_num_threads(1);
    } else if (kind != OPENBLAS_SEQUENTIAL && openblas_get_num_threads() != 1) {
      openblas_set_num_threads(1);
    }
  }
  ~OneBlasThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  const ForkSection section_;
  int before_ = 1;
};

}  // namespace attune::kernels
