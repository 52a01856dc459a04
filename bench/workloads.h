// The workloads that Attune, PyTorch and the machine's own limits are compared on: sizes, and numbers that every
// program makes for itself, so that all sides start from equal weights and inputs.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// A causal language model of pre-norm Transformer blocks with learned positions; feed-forward parts of 4 d.
struct GptSize {
  std::int64_t layers, d, heads, length, batch, vocabulary;
  std::int64_t tokens() const { return batch * length; }
  std::int64_t d_ff() const { return 4 * d; }
  std::int64_t head_dim() const { return d / heads; }
};
inline constexpr GptSize gpt{.layers = 4, .d = 256, .heads = 4, .length = 256, .batch = 8, .vocabulary = 256};
inline constexpr GptSize small_gpt{.layers = 4, .d = 64, .heads = 4, .length = 64, .batch = 4, .vocabulary = 256};

/// BERT's pretraining (masked words and next sentence) and T5 v1.1, encoder and decoder; no dropout.
struct TextSize {
  std::int64_t layers = 4, d = 256, heads = 4, d_ff = 1024, length = 128, batch = 8, vocabulary = 4096;
  std::int64_t tokens() const { return batch * length; }
  std::int64_t head_dim() const { return d / heads; }
};
inline constexpr TextSize text{};

/// Translation by attention: a bidirectional GRU and additive attention with a maxout readout (d_hidden is d), and a
/// Transformer of `layers` and `layers`. Source and target are as long; no dropout, no padding.
struct TranslationSize {
  std::int64_t layers = 3, d = 256, heads = 4, d_ff = 1024, d_maxout = 128, length = 14, batch = 64, vocabulary = 6000;
  double label_smoothing = 0.1;  // of the Transformer's loss
  std::int64_t tokens() const { return batch * length; }
  std::int64_t head_dim() const { return d / heads; }
};
inline constexpr TranslationSize translation{};

/// The smallest published GPT-2, 124 million parameters, which goes on from a prompt a token at a time.
struct GenerationSize {
  std::int64_t layers = 12, d = 768, heads = 12, d_ff = 3072, positions = 1024, vocabulary = 50257;
  std::int64_t prompt = 64;        // tokens before the first that is timed
  std::int64_t steps = 16;         // tokens that are timed together
  std::int64_t long_prompt = 512;  // whose pass is timed
  std::int64_t head_dim() const { return d / heads; }
  /// Elements that a token's step must read: all weights but the positions'.
  std::int64_t weights() const {
    const std::int64_t block = d * (4 * d + 2 * d_ff) + 4 * d + d_ff + d + 4 * d;
    return layers * block + 2 * d + vocabulary * d;
  }
};
inline constexpr GenerationSize generation{};

/// Self-attention layers with their projections, on one sequence.
struct AttentionSize {
  std::int64_t d = 256, heads = 4, hashes = 4, chunk = 64;
  std::int64_t head_dim() const { return d / heads; }
};
inline constexpr AttentionSize attention{};
/// PyTorch keeps several n x n matrices a head: 16384 would take some 20 GB.
inline constexpr std::int64_t exact_lengths[] = {1024, 2048, 4096, 8192};
/// PyTorch keeps several matrices [64, 64] a position and head: 16384 take some 5 GB.
inline constexpr std::int64_t linear_lengths[] = {1024, 4096, 16384, 65536};
inline constexpr std::int64_t longest_prefix_sums = 16384;
inline constexpr std::int64_t lsh_lengths[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536};

struct RecurrentSize {
  std::int64_t steps = 64, batch = 32, d = 256;
};
inline constexpr RecurrentSize recurrent{};

/// softmax, layer norm, GELU, dropout and cross-entropy over the last axis.
struct RowsSize {
  std::int64_t rows = 2048, columns = 1024;
  double dropout = 0.1;
};
inline constexpr RowsSize rows{};

/// AdamW over tensors of one size.
struct AdamSize {
  std::int64_t tensors = 10, numel = 1'000'000;
};
inline constexpr AdamSize adam{};

inline constexpr std::int64_t scalar_chain = 1000;  // operations of one element, one after the other

// ---- equal numbers everywhere: element i of the series `name`

inline std::uint64_t mixed(std::uint64_t x) {  // SplitMix64's output function
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

inline std::uint64_t series(const std::string& name) {
  std::uint64_t h = 1;
  for (const char c : name) h = mixed(h + static_cast<unsigned char>(c));
  return h;
}

/// Uniform in [-scale, scale).
inline std::vector<float> numbers(const std::string& name, std::int64_t count, double scale = 1) {
  std::vector<float> v(static_cast<std::size_t>(count));
  const std::uint64_t start = series(name);
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>(scale * (std::ldexp(static_cast<double>(mixed(start + i) >> 11), -52) - 1));
  return v;
}

/// In [0, n).
inline std::vector<std::int64_t> classes(const std::string& name, std::int64_t count, std::int64_t n) {
  std::vector<std::int64_t> v(static_cast<std::size_t>(count));
  const std::uint64_t start = series(name);
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<std::int64_t>((mixed(start + i) >> 11) % static_cast<std::uint64_t>(n));
  return v;
}

/// Every seventh of the classes of a series is a target, the others are -100.
inline std::vector<std::int64_t> masked_classes(const std::string& name, std::int64_t count, std::int64_t n) {
  std::vector<std::int64_t> v = classes(name, count, n);
  for (std::size_t i = 0; i < v.size(); ++i)
    if (i % 7 != 0) v[i] = -100;
  return v;
}

/// A parameter's name without its module's spelling: "in_proj.weight" and "in_proj_weight" are one.
inline std::string plain_name(std::string name) {
  for (char& c : name)
    if (c == '.') c = '_';
  return name;
}

/// Whether the gradient of a parameter is 0 but for rounding, which differs: a bias of keys moves all scores of a query
/// alike, and softmax does not see that.
inline bool is_without_gradient(const std::string& plain) { return plain.ends_with("self_key_bias"); }

/// A parameter's start, by its plain name: matrices scaled by their inputs, the weights of norms about 1. The keys of
/// additive attention are larger: along the straight part of tanh all scores of a query move alike with it, and its
/// gradient is 0 but for rounding.
inline std::vector<float> start_of(const std::string& name, std::int64_t count, int rank, std::int64_t last_size) {
  const double most = name.ends_with("attention_key_weight") ? 16 : 1;
  if (rank > 1) return numbers(name, count, most / std::sqrt(static_cast<double>(last_size)));
  std::vector<float> v = numbers(name, count, 0.1);
  const bool norm = name.find("norm") != std::string::npos || name.find("Norm") != std::string::npos ||
                    name.find("_ln_") != std::string::npos;
  if (norm && name.ends_with("weight"))
    for (float& x : v) x += 1;
  return v;
}

}  // namespace bench
