// Weight normalisation (Salimans and Kingma 2016): w = g v / |v|, which trains a weight's lengths and directions apart.
#pragma once

#include "nn/parameter.h"

namespace attune::nn {

/// Makes w, a parameter of a module, of two that take its place in parameters() and states: `<name>_v`, of w's shape,
/// and `<name>_g`, a length for each place along `axis` (1 along the others), so that w keeps its values: for Linear,
/// Embedding and convolutions axis 0 is a row, filter or channel each. A v of zeros makes zeros. w is made anew at each
/// use, and assigning to w sets both. An optimiser takes its parameters afterwards. Returns w. Throws ValueError for a
/// parameter that there is not, that is made of others already or tied, IndexError for a bad axis.
///
///     nn::weight_norm(model.up.weight);
Parameter& weight_norm(Parameter& w, std::int64_t axis = 0, Here here = Here::current());

/// Makes w a parameter of its own again, with the values it has. Throws ValueError unless weight_norm made it.
Parameter& remove_weight_norm(Parameter& w, Here here = Here::current());

}  // namespace attune::nn
