// The search for the first NaN or infinity, while a DetectAnomaly guard is alive.
#pragma once

#include <optional>
#include <string>

#include "autograd/tape/internal/thread_state.h"
#include "autograd/tape/node.h"

namespace attune {

/// Throws AnomalyError in the node's name: `what` says which gradient it is. Shows the node's operands, if it was
/// recorded under the guard, and the loss, if the sweep began at one.
void search_gradient(const Node& node, const std::string& what, const Tensor& g, std::optional<double> loss = {});

}  // namespace attune
