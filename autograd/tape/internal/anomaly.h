// The search for the first NaN or infinity, while a DetectAnomaly guard is alive.
#pragma once

#include <string>

#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/node.h"

namespace attune {

/// Throws AnomalyError in the node's name: `what` says which gradient it is.
void search_gradient(const Node& node, const std::string& what, const Tensor& g);

}  // namespace attune
