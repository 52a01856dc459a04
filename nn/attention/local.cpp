#include "nn/attention/local.h"

#include <algorithm>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/replay.h"
#include "nn/attention/internal/options.h"
#include "nn/attention/internal/projections.h"

namespace attune::nn {

using detail::check_input;
using detail::head_size;
using detail::no_bias;
using detail::split_heads;

const LocalOptions& detail::check_options(const Check& check, const LocalOptions& o) {
  check.window(o.chunk, o.chunks_before, o.chunks_after, o.dropout);
  return o;
}

LocalSelfAttention::LocalSelfAttention(std::int64_t d, std::int64_t heads, const LocalOptions& o,
                                       const HeadOptions& shape, Here here)
    : Module(here),
      options(detail::check_options({"LocalSelfAttention", *this}, o)),
      heads_(heads),
      head_dim_(head_size({"LocalSelfAttention", *this}, d, heads, shape.head_dim)),
      query_(child<Linear>("query", d, heads * head_dim_, no_bias)),
      key_(child<Linear>("key", d, heads * head_dim_, no_bias)),
      value_(child<Linear>("value", d, heads * head_dim_, no_bias)),
      output_(shape.project_output ? &child<Linear>("output", heads * head_dim_, d, no_bias) : nullptr) {}

Tensor LocalSelfAttention::operator()(const Tensor& input, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "LocalSelfAttention", here);
  const Tensor& x = scope.in(input);
  check_input("LocalSelfAttention", x, query_.weight.size(1), here);
  LocalOptions o = ReplayLog::setting(options);
  if (!training()) o.dropout = 0;
  const RandomKey key = o.dropout > 0 ? default_generator().next() : RandomKey{};
  const Tensor y = local_attention(split_heads(query_(x), heads_, head_dim_), split_heads(key_(x), heads_, head_dim_),
                                   split_heads(value_(x), heads_, head_dim_), o, key_padding_mask, key);
  const Tensor joined = reshape(y, {x.size(0), x.size(1), heads_ * head_dim_});
  return scope.out(output_ ? (*output_)(joined) : joined);
}

Tensor LocalSelfAttention::step(const Tensor& x, KeyValueCache& cache, Here here) const {
  const Scope scope(*this, "LocalSelfAttention", here, Scope::no_call);
  check_input("LocalSelfAttention", x, query_.weight.size(1), here);
  if (!options.causal) throw ValueError("LocalSelfAttention: step() needs causal attention", here);
  const NoGrad off;
  const std::int64_t t = x.size(1), newest = cache.length() + t - 1;
  if (cache.length() > 0 && t != 1)
    throw ValueError("LocalSelfAttention: step() takes one token a row after the first step, got " + std::to_string(t),
                     here);
  const Tensor q = query_(x), k = key_(x), v = value_(x);
  cache.append(k, v);
  Tensor joined;
  if (newest > 0 && t == 1) {
    // From the beginning of the first chunk that its window has.
    const std::int64_t first =
        std::max<std::int64_t>(newest / options.chunk - options.chunks_before, 0) * options.chunk;
    joined = cached_attention(q, cache, heads_, {.causal = true, .window = newest - first + 1});
  } else {
    LocalOptions o = options;
    o.dropout = 0;
    const Tensor y = local_attention(split_heads(q, heads_, head_dim_), split_heads(k, heads_, head_dim_),
                                     split_heads(v, heads_, head_dim_), o);
    joined = reshape(y, {x.size(0), t, heads_ * head_dim_});
  }
  return output_ ? (*output_)(joined) : joined;
}

}  // namespace attune::nn
