// What hashing costs in quality: the share of exact attention's probability that falls on pairs which LSH attention
// sees, and the cosine between the input's gradient through LSH and through exact attention, by number of hashes. A
// line each of: kind of input, hashes, share, cosine; means over heads, queries and three drawings of the rotations.
//
// Inputs [n, d]: "random" vectors have nothing to find, each query spreads its attention over all keys. In "repeated"
// ones every token occurs 16 times, with a little noise: attention is sharp, which is what hashing is for.

#include <fmt/format.h>

#include "autograd/autograd.h"
#include "nn/nn.h"

using namespace attune;

namespace {

constexpr std::int64_t n = 1024, d = 256, heads = 4, chunk = 64, repeats = 16, drawings = 3;

Tensor random_input(Generator& g) { return randn({1, n, d}, float32, g); }

Tensor repeated_input(Generator& g) {
  const Tensor vocabulary = randn({n / repeats, d}, float32, g);
  const Tensor tokens = randint(0, n / repeats, {1, n}, g);
  return embedding(vocabulary, tokens) + 0.1 * randn({1, n, d}, float32, g);
}

/// Of the sum of layer(x) dy.
Tensor input_gradient(const nn::LshSelfAttention& layer, const Tensor& x, const Tensor& dy, const nn::LshCall& call) {
  const Tensor leaf = x.detach().requires_grad_();
  return grad({layer(leaf, call).output}, {leaf}, {.cotangents = {dy}})[0];
}

void report(const char* kind, Tensor (*input)(Generator&)) {
  Generator g(1);
  const Tensor x = input(g), dy = randn({1, n, d}, float32, g);
  nn::LshSelfAttention layer(d, heads, {.chunk = chunk});
  const Tensor exact = layer.weights(x, {});
  const Tensor exact_gradient = input_gradient(layer, x, dy, {.full = true});
  for (const std::int64_t hashes : {1, 2, 4, 8}) {
    layer.options.hashes = hashes;
    double share = 0, cosine = 0;
    for (std::int64_t i = 0; i < drawings; ++i) {
      const Tensor buckets = layer(x).buckets;
      const Tensor seen = to(gt(layer.weights(x, buckets), 0), float32);
      share += sum(exact * seen).item() / static_cast<double>(heads * n) / drawings;
      const Tensor gradient = input_gradient(layer, x, dy, {.buckets = buckets});
      cosine += cosine_similarity(flatten(gradient), flatten(exact_gradient)).item() / drawings;
    }
    fmt::print("{} {} {:.4f} {:.4f}\n", kind, hashes, share, cosine);
  }
}

}  // namespace

int main() {
  manual_seed(1);
  report("random", random_input);
  report("repeated", repeated_input);
}
