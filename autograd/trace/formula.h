// A node's rule with the numbers of one element put in.
#pragma once

#include <string>

#include "autograd/trace/labels.h"

namespace attune {

/// What a backward pass computed for one element of the gradient that a node sends to an input: "da = b dy = 2 * 2 =
/// 4". The last number is the run's own. Rules that are no arithmetic of single elements are shown as the sum over the
/// elements of dy that reach this one, each times its local derivative (found by running the node again under forward
/// mode): "da[0,1] = sum of dy dy/da = 0.5 * 2 + 1 * 3 = 4". `element`: the indices into the input, as many as it has
/// axes; empty: its first element. Needs a traced node whose step has been taken; throws ValueError that says what is
/// missing, and IndexError for an element that there is not.
std::string formula(const Labels& labels, std::size_t position, std::size_t input, const Dims& element = {},
                    Here here = Here::current());

}  // namespace attune
