// What a file of tensors is, for those who took it for something else.
#pragma once

#include <map>
#include <string>

namespace attune::nn::detail {

/// The entry of a safetensors file's metadata that a checkpoint of a training run has.
inline constexpr const char* checkpoint_entry = "checkpoint";

/// "is a checkpoint of a training run; ..." with what reads it, or "" for a file with metadata of something else.
inline std::string checkpoint_advice(const std::map<std::string, std::string>& metadata) {
  if (!metadata.contains(checkpoint_entry)) return "";
  return "is a checkpoint of a training run; nn::load_from_checkpoint(path, \"model\", model) reads a part of it, here "
         "the one that was tracked as \"model\"";
}

}  // namespace attune::nn::detail
