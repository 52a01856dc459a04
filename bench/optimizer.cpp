// Optimiser steps over 10^7 float32 parameters, in one tensor and in many small ones, beside copying and adding memory
// in the same process. bytes_per_second counts what a step has to read and write (AdamW: 28 bytes a parameter), so the
// figures compare with one another.

#include <benchmark/benchmark.h>

#include "autograd/autograd.h"
#include "autograd/runtime/parallel.h"
#include "optim/optim.h"

using namespace attune;

namespace {

constexpr std::int64_t n = 10'000'000;
constexpr std::int64_t piece = 32768;

void count_bytes(benchmark::State& state, std::int64_t bytes_an_element) {
  state.SetBytesProcessed(state.iterations() * n * bytes_an_element);
}

// The memory that AdamW's four arrays take, in two or three.
void copy_memory(benchmark::State& state) {
  const Tensor x = ones({2 * n}), y = zeros({2 * n});
  for (auto _ : state)
    parallel_for(2 * n, piece,
                 [from = x.data<float>(), to = static_cast<float*>(y.unsafe_data())](auto begin, auto end) {
                   std::copy(from + begin, from + end, to + begin);
                   benchmark::ClobberMemory();
                 });
  count_bytes(state, 16);
}

void triad(benchmark::State& state) {
  constexpr std::int64_t size = n * 4 / 3;
  const Tensor x = ones({size}), y = ones({size}), z = zeros({size});
  for (auto _ : state)
    parallel_for(
        size, piece,
        [a = x.data<float>(), b = y.data<float>(), c = static_cast<float*>(z.unsafe_data())](auto begin, auto end) {
          for (auto i = begin; i < end; ++i) c[i] = a[i] + 0.5f * b[i];
          benchmark::ClobberMemory();
        });
  count_bytes(state, 16);
}

/// Matrices of state.range(0) rows; their gradients stay for all steps.
Tensors parameters_of(const benchmark::State& state) {
  const std::int64_t columns = 1000, rows = state.range(0);
  Tensors parameters;
  for (std::int64_t made = 0; made < n; made += rows * columns) {
    Tensor p = rand({rows, columns});
    p.requires_grad_().set_grad(rand({rows, columns}));
    parameters.push_back(p);
  }
  return parameters;
}

template <class Optimizer, class Options>
void step(benchmark::State& state, const Options& options, std::int64_t bytes_an_element, bool checked = true) {
  Optimizer optimizer(parameters_of(state), options);
  const optim::StepOptions how{.keep_gradients = true, .refuse_nonfinite = checked};
  optimizer.step(how);  // makes the state
  for (auto _ : state) optimizer.step(how);
  count_bytes(state, bytes_an_element);
}

void clip(benchmark::State& state) {
  const Tensors parameters = parameters_of(state);
  double norm = 1e9;
  for (auto _ : state) norm = optim::clip_grad_norm(parameters, 0.999 * norm);  // always to be scaled
  count_bytes(state, 12);
}

template <class F>
void add(const char* name, F&& run) {
  for (std::int64_t rows : {10'000, 50})  // one tensor, two hundred
    benchmark::RegisterBenchmark(name, run)->Arg(rows)->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("copy", copy_memory)->UseRealTime();
  benchmark::RegisterBenchmark("triad", triad)->UseRealTime();
  add("sgd", [](auto& s) { step<optim::SGD>(s, optim::SGDOptions{}, 12); });
  add("sgd_momentum", [](auto& s) { step<optim::SGD>(s, optim::SGDOptions{.momentum = 0.9}, 20); });
  add("adamw", [](auto& s) { step<optim::AdamW>(s, optim::AdamWOptions{}, 28); });
  add("adamw_no_decay", [](auto& s) { step<optim::AdamW>(s, optim::AdamWOptions{.weight_decay = 0}, 28); });
  add("adamw_unchecked", [](auto& s) { step<optim::AdamW>(s, optim::AdamWOptions{}, 28, false); });
  add("adamw_amsgrad", [](auto& s) { step<optim::AdamW>(s, optim::AdamWOptions{.amsgrad = true}, 36); });
  add("rmsprop", [](auto& s) { step<optim::RMSprop>(s, optim::RMSpropOptions{}, 20); });
  add("adagrad", [](auto& s) { step<optim::Adagrad>(s, optim::AdagradOptions{}, 20); });
  add("adadelta", [](auto& s) { step<optim::Adadelta>(s, optim::AdadeltaOptions{}, 28); });
  add("adafactor", [](auto& s) { step<optim::Adafactor>(s, optim::AdafactorOptions{}, 24); });
  add("clip_grad_norm", clip);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
