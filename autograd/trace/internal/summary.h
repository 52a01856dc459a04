// The parts of a summary: numbers at once, pictures when they are looked at.
#pragma once

#include "autograd/trace/recording.h"

namespace attune {

/// A summary without the histogram's counts and the picture's cells.
Summary summarise_numbers(const Tensor& x);
/// How large the picture of a tensor of that shape is.
void size_picture(Summary& s, const Shape& shape);
/// Adds counts and cells to what summarise_numbers() gave for x.
void draw(Summary& s, const Tensor& x);

}  // namespace attune
