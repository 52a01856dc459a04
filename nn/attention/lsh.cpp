#include "nn/attention/lsh.h"

#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/replay.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

std::int64_t head_size(const detail::Check& check, std::int64_t d, std::int64_t heads, std::int64_t head_dim) {
  check.at_least(1, d, "d_model");
  check.at_least(1, heads, "heads");
  return check.at_least(0, head_dim, "head_dim") == 0 ? check.head_dim(d, heads) : head_dim;
}

constexpr LinearOptions no_bias{.bias = false};

Tensor split_heads(const Tensor& y, std::int64_t heads, std::int64_t head_dim) {
  return reshape(y, {y.size(0), y.size(1), heads, head_dim});
}

void check_input(const char* type, const Tensor& x, std::int64_t d, Here here) {
  if (x.rank() != 3 || x.size(2) != d)
    throw ShapeError(
        std::string(type) + ": x must be [batch, length, " + std::to_string(d) + "], got " + x.shape().str(), here);
}

}  // namespace

LshSelfAttention::LshSelfAttention(std::int64_t d, std::int64_t heads, const LshOptions& o, const HeadOptions& shape,
                                   Here here)
    : Module(here),
      options(o),
      heads_(heads),
      head_dim_(head_size({"LshSelfAttention", *this}, d, heads, shape.head_dim)),
      query_key_(child<Linear>("query_key", d, heads * head_dim_, no_bias)),
      value_(child<Linear>("value", d, heads * head_dim_, no_bias)),
      output_(shape.project_output ? &child<Linear>("output", heads * head_dim_, d, no_bias) : nullptr) {}

Tensor LshSelfAttention::buckets_of(const Tensor& qk, const LshCall& call) const {
  const std::int64_t b = qk.size(0), n = qk.size(1);
  if (call.full || n <= options.chunk) return {};
  return ReplayLog::remember([&] {
    if (call.buckets.defined()) return call.buckets;
    const Tensor rotations =
        call.rotations.defined() ? call.rotations : lsh_rotations(options, b, heads_, head_dim_, n, qk.dtype());
    return lsh_buckets(qk, rotations, options, call.key_padding_mask);
  });
}

LshResult LshSelfAttention::operator()(const Tensor& x, const LshCall& call, Here here) const {
  const Scope scope(*this, "LshSelfAttention", here);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const std::int64_t b = x.size(0), n = x.size(1);
  const Tensor qk = split_heads(query_key_(x), heads_, head_dim_), v = split_heads(value_(x), heads_, head_dim_);
  const Tensor buckets = buckets_of(qk, call);
  LshOptions o = options;
  if (!training()) o.dropout = 0;
  if (call.full) o.chunk = std::max<std::int64_t>(n, 1);
  const RandomKey key = o.dropout > 0 ? default_generator().next() : RandomKey{};
  const Tensor y = lsh_attention(qk, v, buckets, o, call.key_padding_mask, key);
  const Tensor joined = reshape(y, {b, n, heads_ * head_dim_});
  return {output_ ? (*output_)(joined) : joined, buckets};
}

Tensor LshSelfAttention::buckets(const Tensor& x, const LshCall& call, Here here) const {
  const Scope scope(*this, "LshSelfAttention", here);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const NoGrad off;
  return buckets_of(split_heads(query_key_(x), heads_, head_dim_), call);
}

Tensor LshSelfAttention::weights(const Tensor& x, const Tensor& buckets, const Tensor& key_padding_mask,
                                 Here here) const {
  const Scope scope(*this, "LshSelfAttention", here);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const NoGrad off;
  return lsh_attention_weights(split_heads(query_key_(x), heads_, head_dim_), buckets, options, key_padding_mask);
}

LocalSelfAttention::LocalSelfAttention(std::int64_t d, std::int64_t heads, const LocalOptions& o,
                                       const HeadOptions& shape, Here here)
    : Module(here),
      options(o),
      heads_(heads),
      head_dim_(head_size({"LocalSelfAttention", *this}, d, heads, shape.head_dim)),
      query_(child<Linear>("query", d, heads * head_dim_, no_bias)),
      key_(child<Linear>("key", d, heads * head_dim_, no_bias)),
      value_(child<Linear>("value", d, heads * head_dim_, no_bias)),
      output_(shape.project_output ? &child<Linear>("output", heads * head_dim_, d, no_bias) : nullptr) {}

Tensor LocalSelfAttention::operator()(const Tensor& x, const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "LocalSelfAttention", here);
  check_input("LocalSelfAttention", x, query_.weight.size(1), here);
  LocalOptions o = options;
  if (!training()) o.dropout = 0;
  const RandomKey key = o.dropout > 0 ? default_generator().next() : RandomKey{};
  const Tensor y = local_attention(split_heads(query_(x), heads_, head_dim_), split_heads(key_(x), heads_, head_dim_),
                                   split_heads(value_(x), heads_, head_dim_), o, key_padding_mask, key);
  const Tensor joined = reshape(y, {x.size(0), x.size(1), heads_ * head_dim_});
  return output_ ? (*output_)(joined) : joined;
}

}  // namespace attune::nn
