#include "nn/data/windows.h"

#include <algorithm>

#include "autograd/io/internal/checksum.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

namespace attune::nn {

namespace {

/// Where a random window begins, in [0, count).
std::int64_t start_of(const WindowOptions& o, BatchPlace p, std::int64_t row, std::int64_t count) {
  const RandomKey key{o.seed, static_cast<std::uint64_t>(p.epoch) << 40 | static_cast<std::uint64_t>(p.batch)};
  const auto words = philox(key, static_cast<std::uint64_t>(row));
  const std::uint64_t word = std::uint64_t{words[1]} << 32 | words[0];
  return static_cast<std::int64_t>(static_cast<unsigned __int128>(word) * static_cast<std::uint64_t>(count) >> 64);
}

}  // namespace

Batches<WindowBatch> token_windows(const Tokens& tokens, const WindowOptions& o, Here here) {
  const auto fail = [&](const std::string& what) { throw ValueError("token_windows: " + what, here); };
  if (o.length < 1) fail("length = " + std::to_string(o.length) + " must be at least 1");
  if (o.batch < 1) fail("batch = " + std::to_string(o.batch) + " must be at least 1");
  if (tokens.size() <= o.length)
    fail("a stream of " + std::to_string(tokens.size()) + " tokens has no window of " + std::to_string(o.length) +
         " and the token after it");
  const std::int64_t starts = tokens.size() - o.length;
  const std::int64_t windows = std::max<std::int64_t>(1, (tokens.size() - 1) / o.length);
  constexpr std::int64_t most = std::int64_t{1} << 40;  // ids of a batch, whose count must not overflow
  if (!o.sequential && o.batch > most / o.length)
    fail(std::to_string(o.batch) + " windows of " + std::to_string(o.length) + " are too much for a batch");
  const std::int64_t count = (windows - 1) / o.batch + 1;
  const auto make = [=](BatchPlace p) {
    const std::int64_t rows = o.sequential ? std::min(o.batch, windows - p.batch * o.batch) : o.batch;
    std::vector<std::int64_t> inputs(static_cast<std::size_t>(rows * o.length)), targets(inputs.size());
    std::vector<std::int64_t> window(static_cast<std::size_t>(o.length + 1));
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t begin = o.sequential ? (p.batch * o.batch + r) * o.length : start_of(o, p, r, starts);
      tokens.copy(begin, o.length + 1, window.data(), here);
      std::copy(window.begin(), window.end() - 1, inputs.begin() + r * o.length);
      std::copy(window.begin() + 1, window.end(), targets.begin() + r * o.length);
    }
    const Shape shape{rows, o.length};
    return std::static_pointer_cast<void>(std::make_shared<WindowBatch>(
        WindowBatch{tensor(inputs, shape, DType::int64), tensor(targets, shape, DType::int64)}));
  };
  std::string name = std::to_string(tokens.size()) + " tokens (checksum " + io::hexadecimal(tokens.checksum()) +
                     ") in windows of " + std::to_string(o.length) + ", batches of " + std::to_string(o.batch);
  name += o.sequential ? ", one after another" : ", seed " + std::to_string(o.seed);
  return {{std::move(name), [count](std::int64_t) { return count; }, make}, o.prefetch};
}

}  // namespace attune::nn
