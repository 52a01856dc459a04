// What the files of PyTorch's side of the comparison share: given numbers as tensors and parameters, and the workloads.
#pragma once

#include <torch/torch.h>

#include "bench/driver.h"
#include "bench/workloads.h"

namespace bench::torch_side {

using torch::Tensor;

inline Tensor given(const std::string& name, torch::IntArrayRef shape, double scale = 1) {
  Tensor x = torch::empty(shape);
  const auto values = bench::numbers(name, x.numel(), scale);
  std::copy(values.begin(), values.end(), x.data_ptr<float>());
  return x;
}

inline Tensor given_classes(const std::string& name, torch::IntArrayRef shape, std::int64_t n) {
  Tensor x = torch::empty(shape, torch::kInt64);
  const auto values = bench::classes(name, x.numel(), n);
  std::copy(values.begin(), values.end(), x.data_ptr<std::int64_t>());
  return x;
}

inline std::vector<float> elements(const Tensor& x) {
  const Tensor dense = x.detach().contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

inline void start(torch::nn::Module& module) {
  const torch::NoGradGuard off;
  for (auto& p : module.named_parameters()) {
    const auto values =
        bench::start_of(bench::plain_name(p.key()), p->numel(), static_cast<int>(p->dim()), p->size(-1));
    std::copy(values.begin(), values.end(), p->data_ptr<float>());
  }
}

inline void clear_gradients(torch::nn::Module& module) {
  for (auto& p : module.parameters()) p.mutable_grad() = Tensor();
}

inline void take_gradients(torch::nn::Module& module, bench::Results& results) {
  for (auto& p : module.named_parameters())
    if (const std::string plain = bench::plain_name(p.key()); !bench::is_without_gradient(plain))
      results.emplace_back(plain, elements(p->grad()));
  clear_gradients(module);
}

/// A model with the loss of a part of its own inputs, and AdamW; `how` builds the model.
template <class M>
struct Training {
  template <class... How>
  explicit Training(How... how) : model(how...) {
    start(model);
  }
  Tensor loss(std::int64_t batch, std::int64_t length) {
    return model.loss([&](const Tensor& x) {
      const Tensor rows = x.narrow(0, 0, batch);
      return x.dim() == 1 ? rows : rows.narrow(1, 0, length);
    });
  }
  void step(std::int64_t batch, std::int64_t length) {
    optimizer.zero_grad();
    loss(batch, length).backward();
    optimizer.step();
  }
  M model;
  torch::optim::AdamW optimizer{model.parameters(), torch::optim::AdamWOptions(3e-4)};
};

/// Training steps of `size.batch` sequences of `size.length`.
template <class M, class Size, class... How>
bench::Workload training(const std::string& name, const Size& size, How... how) {
  return {name, [size, how...] {
            auto t = std::make_shared<Training<M>>(how...);
            return bench::Job{
                .step = [t, size] { t->step(size.batch, size.length); },
                .results =
                    [t, size] {
                      const Tensor loss = t->loss(size.batch, size.length);
                      loss.backward();
                      bench::Results r{{"loss", elements(loss)}};
                      take_gradients(t->model, r);
                      return r;
                    },
                .touch = [t] { t->step(1, 8); },
            };
          }};
}

/// BERT and T5 (torch_models.cpp), models of translation (torch_seq2seq.cpp) and GPT-2 (torch_gpt2.cpp).
std::vector<bench::Workload> model_workloads();
std::vector<bench::Workload> seq2seq_workloads();
std::vector<bench::Workload> gpt2_workloads();

}  // namespace bench::torch_side
