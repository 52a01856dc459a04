// Every operation of the table at its benchmark size, float32: forward, and forward with backward. Google Benchmark's
// options apply, e.g. --benchmark_filter=softmax.

#include <benchmark/benchmark.h>

#include "tests/ops/all.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensors inputs_of(const OpRow& row) {
  Tensors xs;
  for (std::size_t i = 0; i < row.bench.size(); ++i) {
    const Domain d = i < row.domains.size() ? row.domains[i] : Domain{};
    Generator g(i);
    xs.push_back((d.low + (d.high - d.low) * rand(row.bench[i], float32, g)).requires_grad_());
  }
  return xs;
}

void forward(benchmark::State& state, const OpRow& row) {
  const Tensors xs = inputs_of(row);
  const NoGrad off;
  for (auto _ : state) benchmark::DoNotOptimize(row.call(xs));
}

void forward_and_backward(benchmark::State& state, const OpRow& row) {
  const Tensors xs = inputs_of(row);
  for (auto _ : state) {
    Tensors outputs, cotangents;
    for (const Tensor& y : row.call(xs))
      if (y.requires_grad()) {
        outputs.push_back(y);
        cotangents.push_back(y.detach());
      }
    if (!outputs.empty()) benchmark::DoNotOptimize(grad(outputs, xs, {.cotangents = cotangents, .allow_unused = true}));
  }
}

}  // namespace

int main(int argc, char** argv) {
  static const Rows rows = all_rows();
  for (const OpRow& row : rows) {
    if (row.bench.empty()) continue;
    benchmark::RegisterBenchmark((row.name + "/forward").c_str(), [&row](benchmark::State& s) {
      forward(s, row);
    })->UseRealTime();
    benchmark::RegisterBenchmark((row.name + "/forward+backward").c_str(), [&row](benchmark::State& s) {
      forward_and_backward(s, row);
    })->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
