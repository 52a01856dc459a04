// Index expressions: x[...] read, and written to.
#include "autograd/ops/index.h"

#include "autograd/autograd.h"
#include "tests/fuzz/target.h"

namespace attune::fuzz {
namespace {

Shape shape(Choices& c) {
  Shape s;
  for (int rank = c.below(5); rank > 0; --rank) s.push_back(c.below(4));
  return s;
}

Index one(Choices& c) {
  switch (c.below(6)) {
    case 0: return c.integer();
    case 1: {
      Slice s;
      const int given = c.below(8);
      if (given & 1) s.start = c.integer();
      if (given & 2) s.stop = c.integer();
      if (given & 4) s.step = c.integer();
      return s;
    }
    case 2: return ellipsis;
    case 3: return new_axis;
    default: {
      const bool mask = c.below(2) != 0;
      Tensor t = empty(shape(c), int64);
      for (std::int64_t* p = t.mutable_data<std::int64_t>(); p != t.data<std::int64_t>() + t.numel(); ++p)
        *p = c.integer();
      return mask ? gt(t, 0) : t;
    }
  }
}

}  // namespace

void run(Bytes bytes) {
  Choices c(bytes);
  const Tensor x = ones(shape(c));
  Indices at;
  for (int n = c.below(6); n > 0; --n) at.push_back(one(c));
  tried([&] { index(x, at); });
  const Shape values = shape(c);
  const bool accumulate = c.below(2) != 0;
  tried([&] { index_put(x, at, full(values, 2), accumulate); });
}

}  // namespace attune::fuzz
