#include "nn/attention/local.h"

#include "autograd/ops/movement.h"
#include "autograd/tape/replay.h"
#include "nn/attention/internal/projections.h"

namespace attune::nn {

using detail::check_input;
using detail::head_size;
using detail::no_bias;
using detail::split_heads;

namespace {

const LocalOptions& checked(const detail::Check& check, const LocalOptions& o) {
  check.window(o.chunk, o.chunks_before, o.chunks_after, o.dropout);
  return o;
}

}  // namespace

LocalSelfAttention::LocalSelfAttention(std::int64_t d, std::int64_t heads, const LocalOptions& o,
                                       const HeadOptions& shape, Here here)
    : Module(here),
      options(checked({"LocalSelfAttention", *this}, o)),
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

}  // namespace attune::nn
