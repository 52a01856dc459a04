// The names that PyTorch's pickles may call by.
#pragma once

#include <optional>
#include <string>

namespace attune::io {

/// Whether a global may stand in a checkpoint: a container, a function that rebuilds tensors, a storage or a dtype.
bool is_known_global(const std::string& name);
/// PyTorch's name of the dtype of "torch.FloatStorage"; "" for bytes without one; nothing for what is no storage.
std::optional<std::string> dtype_of_storage(const std::string& global);
/// "float32" of "torch.float32"; nothing for what is no dtype.
std::optional<std::string> dtype_of_global(const std::string& global);

}  // namespace attune::io
