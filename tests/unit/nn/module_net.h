// A module of all kinds of parts, and what tests ask of it.
#pragma once

#include "tests/unit/nn_checks.h"

namespace attune::tests {

struct Block : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 3, 4);
  nn::Parameter& scale = parameter("scale", ones({4}));
  nn::Linear& down = child<nn::Linear>("down", 4, 3, nn::LinearOptions{.bias = false});
  nn::Buffer& seen = buffer("seen", zeros({2}, int64));
  nn::Buffer& scratch = buffer("scratch", zeros({1}), false);
  Tensor operator()(const Tensor& x, Here here = Here::current()) const {
    const nn::Scope scope(*this, "Block", here);
    return down(up(x) * scale);
  }
};

struct Net : nn::Module {
  nn::ModuleList<Block>& layers = child<nn::ModuleList<Block>>("layers");
  nn::Parameter& last = parameter("last", ones({3}));
  explicit Net(int n) {
    for (int i = 0; i < n; ++i) layers.add();
  }
  Tensor operator()(Tensor x) const {
    for (const Block* b : layers) x = (*b)(x);
    return x * last;
  }
};

inline std::vector<std::string> names_of(const std::vector<std::pair<std::string, Tensor>>& entries) {
  std::vector<std::string> out;
  for (const auto& [name, value] : entries) out.push_back(name);
  return out;
}

using Names = std::vector<std::string>;

/// All elements of all parameters and buffers.
inline Values contents(nn::Module& m) {
  Values out;
  for (const auto& entries : {m.named_parameters(), m.named_buffers()})
    for (const auto& [name, value] : entries)
      for (double v : value.to_vector<double>()) out.push_back(v);
  return out;
}

inline std::string whole_message(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    const std::string text = e.what();
    return text.substr(0, text.rfind("\n  at "));
  }
  return "";
}

}  // namespace attune::tests
