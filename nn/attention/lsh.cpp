#include "nn/attention/lsh.h"

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

const LshOptions& detail::check_options(const Check& check, const LshOptions& o) {
  constexpr std::int64_t most = 1 << 20;
  if (o.hashes < 1 || o.hashes > most)
    check.fail("hashes = " + std::to_string(o.hashes) + " is not in [1, " + std::to_string(most) + "]");
  check.window(o.chunk, o.chunks_before, o.chunks_after, o.dropout);
  for (const std::int64_t b : o.buckets)
    if (b < 2 || b % 2 != 0) check.fail("buckets must be even and positive, got " + o.buckets.str());
  check.at_least(0, o.max_length, "max_length");
  check.finite(o.norm_epsilon, "norm_epsilon");
  check.finite(o.self_penalty, "self_penalty");
  return o;
}

LshSelfAttention::LshSelfAttention(std::int64_t d, std::int64_t heads, const LshOptions& o, const HeadOptions& shape,
                                   Here here)
    : Module(here),
      options(detail::check_options({"LshSelfAttention", *this}, o)),
      heads_(heads),
      head_dim_(head_size({"LshSelfAttention", *this}, d, heads, shape.head_dim)),
      query_key_(child<Linear>("query_key", d, heads * head_dim_, no_bias)),
      value_(child<Linear>("value", d, heads * head_dim_, no_bias)),
      output_(shape.project_output ? &child<Linear>("output", heads * head_dim_, d, no_bias) : nullptr) {}

Tensor detail::buckets_of(const Tensor& qk, LshOptions o, const LshCall& call) {
  const std::int64_t b = qk.size(0), n = qk.size(1), heads = qk.size(2), head_dim = qk.size(3);
  if (call.full || n <= o.chunk) return {};
  o.dropout = 0;  // is no concern of theirs
  return ReplayLog::remember([&] {
    if (call.buckets.defined()) return call.buckets;
    const Tensor rotations =
        call.rotations.defined() ? call.rotations : lsh_rotations(o, b, heads, head_dim, n, qk.dtype());
    return lsh_buckets(qk, rotations, o, call.key_padding_mask);
  });
}

LshResult LshSelfAttention::operator()(const Tensor& input, const LshCall& call, Here here) const {
  const Scope scope(*this, "LshSelfAttention", here);
  const Tensor& x = scope.in(input);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const std::int64_t b = x.size(0), n = x.size(1);
  const Tensor qk = split_heads(query_key_(x), heads_, head_dim_), v = split_heads(value_(x), heads_, head_dim_);
  LshOptions o = ReplayLog::setting(options);
  const Tensor buckets = detail::buckets_of(qk, o, call);
  if (!training()) o.dropout = 0;
  if (call.full) o.chunk = std::max<std::int64_t>(n, 1);
  const RandomKey key = o.dropout > 0 ? default_generator().next() : RandomKey{};
  const Tensor y = lsh_attention(qk, v, buckets, o, call.key_padding_mask, key);
  const Tensor joined = reshape(y, {b, n, heads_ * head_dim_});
  return {scope.out(output_ ? (*output_)(joined) : joined), buckets};
}

Tensor LshSelfAttention::buckets(const Tensor& x, const LshCall& call, Here here) const {
  const Scope scope(*this, "LshSelfAttention", here, Scope::no_call);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const NoGrad off;
  return detail::buckets_of(split_heads(query_key_(x), heads_, head_dim_), options, call);
}

Tensor LshSelfAttention::weights(const Tensor& x, const Tensor& buckets, const Tensor& key_padding_mask,
                                 Here here) const {
  const Scope scope(*this, "LshSelfAttention", here, Scope::no_call);
  check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const NoGrad off;
  return lsh_attention_weights(split_heads(query_key_(x), heads_, head_dim_), buckets, options, key_padding_mask);
}

}  // namespace attune::nn
