// Numbers, tensors and lines as the terminal stepper shows them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::stepping {

/// How wide lines may be, and whether they may be coloured.
struct Style {
  int width = 80;
  bool colour = false;

  std::string bold(std::string_view s) const { return painted("1", s); }
  std::string dim(std::string_view s) const { return painted("2", s); }
  std::string good(std::string_view s) const { return painted("32", s); }
  std::string bad(std::string_view s) const { return painted("1;31", s); }
  std::string painted(const char* code, std::string_view s) const {
    return colour ? "\033[" + std::string(code) + "m" + std::string(s) + "\033[0m" : std::string(s);
  }
};

/// How many columns a text takes: code points, without colours.
std::size_t columns(std::string_view s);
/// `text` broken at spaces; lines after the first begin with `indent` spaces. Ends without a new line.
std::string wrapped(std::string_view text, int width, int indent);
/// The beginning that fits in `width` columns, with "..." if something is missing. Of text without colours.
std::string cut(std::string_view text, int width);

/// The shortest decimals that read back as the same number of that dtype.
std::string number(double v, DType t);
/// Four digits, for norms and shares, which are no element of a tensor.
std::string rough(double v);
/// "[[1, 2], [3, 4]]" if that fits in `width`; otherwise shape, norm and range: "[64, 64] norm 3.2, -1.2 .. 3.1".
std::string brief(const Tensor& x, int width);
/// Rows and columns with their indices, numbers aligned at the decimal point; folded to the width, and to 40 lines.
std::string table(const Tensor& x, const Style& style);
/// Means over a grid of cells, the last axis across: half blocks in colours (blue below zero, orange above), or,
/// without colours, shades of the absolute value.
std::string heatmap(const Tensor& x, const Style& style);

}  // namespace attune::stepping
