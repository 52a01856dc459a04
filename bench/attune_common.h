// What the files of Attune's side of the comparison share: given numbers as tensors and parameters, and the workloads.
#pragma once

#include "autograd/autograd.h"
#include "bench/driver.h"
#include "bench/workloads.h"
#include "nn/nn.h"

namespace bench::attune_side {

using namespace attune;

inline Tensor given(const std::string& name, const Shape& shape, double scale = 1) {
  Tensor x = empty(shape);
  std::ranges::copy(bench::numbers(name, x.numel(), scale), x.mutable_data<float>());
  return x;
}

inline Tensor given_classes(const std::string& name, const Shape& shape, std::int64_t n) {
  return index_tensor(bench::classes(name, numel(shape), n), shape);
}

inline void start(const nn::Module& module) {
  const NoGrad off;
  for (auto& [name, p] : module.named_parameters()) {
    Tensor value = p;
    std::ranges::copy(bench::start_of(bench::plain_name(name), p.numel(), p.rank(), p.size(-1)),
                      value.mutable_data<float>());
  }
}

/// Adds the gradients of a module's parameters, which are cleared.
inline void take_gradients(nn::Module& module, bench::Results& results) {
  for (auto& [name, p] : module.named_parameters())
    if (const std::string plain = bench::plain_name(name); !bench::is_without_gradient(plain))
      results.emplace_back(plain, p.grad().to_vector<float>());
  module.zero_grad();
}

/// BERT, T5, models of translation and GPT-2 (attune_models.cpp).
std::vector<bench::Workload> model_workloads();

}  // namespace bench::attune_side
