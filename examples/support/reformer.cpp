#include "examples/support/reformer.h"

#include <fmt/format.h>

#include <algorithm>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "examples/support/curves.h"

namespace examples {

using namespace attune;

double least_memory(const nn::ReformerConfig& c, std::int64_t length, std::int64_t batch, std::int64_t evaluated) {
  const auto real = [](std::int64_t v) { return static_cast<double>(v); };
  const double n = real(length), d = real(c.d_model), layers = static_cast<double>(c.layers.size());
  const double positions = real(c.axial_rows * c.axial_row_dim + c.axial_columns * (c.d_model - c.axial_row_dim));
  const double parameters = 3 * real(c.vocabulary) * d + layers * (3 * d * d + 2 * d * real(c.d_ff)) + positions;
  const double position = 2 * real(c.vocabulary) + 4 * d + real(c.d_ff) + 2 * real(c.heads) * real(c.lsh.hashes) +
                          (c.reversible ? 0 : layers * (6 * d + real(c.d_ff)));
  const double forward = real(c.vocabulary) + 2 * d;
  return 4 * (4 * parameters + n * std::max(real(batch) * position, real(evaluated) * forward));
}

LshOptions lsh_variant(const std::string& name) {
  if (name == "paper") return LshOptions::paper();
  if (name == "hugging-face") return LshOptions::hugging_face();
  if (name == "lucidrains") return LshOptions::lucidrains();
  throw ValueError("there is no LSH attention named \"" + name + "\"");
}

bool draw_attention(const std::string& path, const nn::AttentionPatternResult& pattern, std::int64_t hashes) {
  const std::int64_t n = pattern.weights.size(-1);
  const auto first = [](const Tensor& x) { return select(select(x, 0, 0), 0, 0); };
  const Tensor bucket = pattern.buckets.defined() ? to(select(first(pattern.buckets), 0, 0), int64) : zeros({n}, int64);
  const Tensor rows = expand(unsqueeze(bucket, 1), {n, n});
  const double count = amax(bucket).item() + 1;
  const Image shared{
      "Pairs that share a bucket in the first hash round", where(eq(rows, bucket), rows, -1),
      fmt::format("[-0.5:{}]", count - 0.5),
      fmt::format("defined (0 '#4477aa', 0.35 '#228833', 0.7 '#ccbb44', 1 '#aa3377') maxcolors {}", count),
      fmt::format("set cbtics 0,{}\nset cblabel 'bucket'", 1 + static_cast<int>(count) / 20)};
  const std::string title = fmt::format("Attention of head 1, {} hash{}", hashes, hashes == 1 ? "" : "es");
  return draw_images(path, "key position", "query position", {{title, first(pattern.weights)}, shared});
}

}  // namespace examples
