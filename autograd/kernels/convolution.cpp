#include "autograd/kernels/convolution.h"

#include <algorithm>
#include <vector>

#include "autograd/kernels/buffer.h"
#include "autograd/kernels/gemm.h"
#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

/// The outputs [first, last) whose window has its k-th element inside of x, and where that is for output 0.
struct Inside {
  Size first, last, offset;
  Inside(const Convolution& c, Size k) : offset(k * c.dilation - c.before) {
    first = offset >= 0 ? 0 : (-offset + c.stride - 1) / c.stride;
    last = c.length - offset <= 0 ? 0 : (c.length - offset + c.stride - 1) / c.stride;
    first = std::min(first, c.out_length);
    last = std::clamp(last, first, c.out_length);
  }
};

/// Rows of about 16K elements a piece.
Size grain(Size row) { return std::max<Size>(1, 16384 / std::max<Size>(1, row)); }

/// windows [in, kernel, batch, out_length] of x: element k of every window, 0 outside.
template <class T>
void unfold(const Convolution& c, const T* x, T* windows) {
  const Size l = c.out_length;
  parallel_for(c.in * c.kernel * c.batch, grain(l), [&](Size begin, Size end) {
    for (Size row = begin; row < end; ++row) {
      const Size b = row % c.batch, k = row / c.batch % c.kernel, channel = row / c.batch / c.kernel;
      const T* from = x + (b * c.in + channel) * c.length;
      T* to = windows + row * l;
      const Inside in(c, k);
      std::fill_n(to, in.first, T{0});
      for (Size i = in.first; i < in.last; ++i) to[i] = from[i * c.stride + in.offset];
      std::fill(to + in.last, to + l, T{0});
    }
  });
}

/// x = the windows added up where they came from: the transpose of unfold().
template <class T>
void fold(const Convolution& c, const T* windows, T* x) {
  const Size l = c.out_length;
  parallel_for(c.batch * c.in, grain(c.length + c.kernel * l), [&](Size begin, Size end) {
    for (Size row = begin; row < end; ++row) {
      const Size b = row / c.in, channel = row % c.in;
      T* to = x + row * c.length;
      std::fill_n(to, c.length, T{0});
      for (Size k = 0; k < c.kernel; ++k) {
        const T* from = windows + ((channel * c.kernel + k) * c.batch + b) * l;
        const Inside in(c, k);
        for (Size i = in.first; i < in.last; ++i) to[i * c.stride + in.offset] += from[i];
      }
    }
  });
}

/// Where each example and group has its part of w, the windows and y: the batch of products.
struct Parts {
  std::vector<Size> w, windows, y;
  explicit Parts(const Convolution& c) {
    const Size channels = c.in / c.groups, outs = c.out / c.groups;
    for (Size b = 0; b < c.batch; ++b)
      for (Size g = 0; g < c.groups; ++g) {
        w.push_back(g * outs * channels * c.kernel);
        windows.push_back((g * channels * c.kernel * c.batch + b) * c.out_length);
        y.push_back((b * c.out + g * outs) * c.out_length);
      }
  }
  Size count() const { return static_cast<Size>(w.size()); }
};

}  // namespace

template <class T>
void convolution(const Convolution& c, const T* x, const T* w, const T* bias, T* y) {
  const Size rows = c.in / c.groups * c.kernel, l = c.out_length;
  const Buffer<T> windows(c.in * c.kernel * c.batch * l);
  unfold(c, x, windows.data());
  for (Size row = 0; row < c.batch * c.out; ++row) std::fill_n(y + row * l, l, bias ? bias[row % c.out] : T{0});
  const Parts parts(c);
  gemm_batched<T>({.m = c.out / c.groups,
                   .n = l,
                   .k = rows,
                   .a = w,
                   .lda = rows,
                   .b = windows.data(),
                   .ldb = c.batch * l,
                   .beta = 1,
                   .c = y,
                   .ldc = l},
                  parts.count(), parts.w.data(), parts.windows.data(), parts.y.data());
}

template <class T>
void convolution_input_grad(const Convolution& c, const T* dy, const T* w, T* dx) {
  const Size rows = c.in / c.groups * c.kernel, l = c.out_length;
  const Buffer<T> windows(c.in * c.kernel * c.batch * l);
  const Parts parts(c);
  gemm_batched<T>({.trans_a = true,
                   .m = rows,
                   .n = l,
                   .k = c.out / c.groups,
                   .a = w,
                   .lda = rows,
                   .b = dy,
                   .ldb = l,
                   .c = windows.data(),
                   .ldc = c.batch * l},
                  parts.count(), parts.w.data(), parts.y.data(), parts.windows.data());
  fold(c, windows.data(), dx);
}

template <class T>
void convolution_weight_grad(const Convolution& c, const T* x, const T* dy, T* dw) {
  const Size rows = c.in / c.groups * c.kernel, outs = c.out / c.groups, l = c.out_length, all = c.batch * l;
  const Buffer<T> windows(c.in * c.kernel * all), turned(c.out * all);
  unfold(c, x, windows.data());
  parallel_for(c.out * c.batch, grain(l), [&](Size begin, Size end) {  // [out, batch, out_length]
    for (Size row = begin; row < end; ++row)
      std::copy_n(dy + (row % c.batch * c.out + row / c.batch) * l, l, turned.data() + row * l);
  });
  std::vector<Size> a, b, y;
  for (Size g = 0; g < c.groups; ++g) {
    a.push_back(g * outs * all);
    b.push_back(g * rows * all);
    y.push_back(g * outs * rows);
  }
  gemm_batched<T>({.trans_b = true,
                   .m = outs,
                   .n = rows,
                   .k = all,
                   .a = turned.data(),
                   .lda = all,
                   .b = windows.data(),
                   .ldb = all,
                   .c = dw,
                   .ldc = rows},
                  c.groups, a.data(), b.data(), y.data());
}

#define ATTUNE_INSTANTIATE(T)                                                       \
  template void convolution(const Convolution&, const T*, const T*, const T*, T*);  \
  template void convolution_input_grad(const Convolution&, const T*, const T*, T*); \
  template void convolution_weight_grad(const Convolution&, const T*, const T*, T*);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
