#include "nn/attention/lsh_cache.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/softmax.h"
#include "autograd/tape/modes.h"
#include "autograd/tape/op.h"
#include "nn/attention/internal/projections.h"
#include "nn/attention/lsh.h"

namespace attune::nn {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

LshOptions LshCache::prepare(LshOptions o, std::int64_t b, std::int64_t heads, std::int64_t head_dim, DType dtype) {
  if (length() == 0) {
    factors_ = lsh_bucket_factors(o, longest_);
    rounds_ = o.hashes;
    heads_ = heads;
    tasks_ = b * heads;
    std::int64_t count = 1;
    for (const std::int64_t f : factors_) count *= f;
    buckets_.assign(at(tasks_ * rounds_), Round(at(count)));
    newest_.assign(at(tasks_ * rounds_), 0);
  }
  o.buckets = factors_;
  if (!rotations_.defined()) rotations_ = lsh_rotations(o, b, heads, head_dim, longest_, dtype);
  return o;
}

void LshCache::append(const Tensor& keys, const Tensor& values, const Tensor& buckets) {
  const std::int64_t first = length(), n = keys.size(1);
  kept_.append(keys, values);
  const std::vector<std::int32_t> all = contiguous(buckets).to_vector<std::int32_t>();
  for (std::int64_t list = 0; list < tasks_ * rounds_; ++list) {
    Round& round = buckets_[at(list)];
    const std::int64_t offset = list % rounds_ * static_cast<std::int64_t>(round.size());
    for (std::int64_t i = 0; i < n; ++i) {
      newest_[at(list)] = all[at(list * n + i)] - static_cast<std::int32_t>(offset);
      round[at(newest_[at(list)])].push_back(static_cast<std::int32_t>(first + i));
    }
  }
}

std::vector<std::pair<std::int32_t, std::int32_t>> LshCache::meetings(std::int64_t task, const LshOptions& o,
                                                                      std::int64_t padded) const {
  const std::int64_t m = o.chunk, per_round = padded / m, chunks = per_round * rounds_;
  std::map<std::int32_t, std::int32_t> met;
  for (std::int64_t r = 0; r < rounds_; ++r) {
    const Round& own = buckets_[at(task * rounds_ + r)];
    const auto bucket = at(newest_[at(task * rounds_ + r)]);
    std::int64_t rank = static_cast<std::int64_t>(own[bucket].size()) - 1;
    for (std::size_t c = 0; c < bucket; ++c) rank += static_cast<std::int64_t>(own[c].size());
    for (std::int64_t step = -o.chunks_before; step <= o.chunks_after; ++step) {
      // The ring of chunks goes over all rounds: the first chunk's predecessor is the last one.
      const std::int64_t chunk = ((r * per_round + rank / m + step) % chunks + chunks) % chunks;
      const std::int64_t other = chunk / per_round, begin = chunk % per_round * m;
      if (o.mask_other_buckets && other != r) continue;
      const Round& round = buckets_[at(task * rounds_ + other)];
      std::int64_t before = 0;  // tokens in earlier buckets; padding comes after all of them
      for (std::size_t c = 0; c < round.size() && before < begin + m; ++c) {
        const auto& positions = round[c];
        const auto size = static_cast<std::int64_t>(positions.size());
        if (!o.mask_other_buckets || c == bucket)
          for (std::int64_t i = std::max<std::int64_t>(begin - before, 0); i < std::min(begin + m - before, size); ++i)
            ++met[positions[at(i)]];
        before += size;
      }
    }
  }
  return {met.begin(), met.end()};
}

void LshCache::reorder(const Tensor& rows, Here here) {
  kept_.reorder(rows, here);
  if (buckets_.empty()) return;
  if (rotations_.rank() == 5) rotations_ = index_select(rotations_, 0, rows, here);
  std::vector<Round> buckets;
  std::vector<std::int32_t> newest;
  const std::int64_t each = heads_ * rounds_;
  for (const std::int64_t row : rows.to_vector<std::int64_t>())
    for (std::int64_t i = row * each; i < (row + 1) * each; ++i) {
      buckets.push_back(buckets_[at(i)]);
      newest.push_back(newest_[at(i)]);
    }
  buckets_ = std::move(buckets);
  newest_ = std::move(newest);
  tasks_ = rows.size(0) * heads_;
}

Tensor LshSelfAttention::step(const Tensor& x, LshCache& cache, std::int64_t padded, Here here) const {
  const Scope scope(*this, "LshSelfAttention", here, Scope::no_call);
  detail::check_input("LshSelfAttention", x, query_key_.weight.size(1), here);
  const NoGrad off;
  const std::int64_t b = x.size(0), t = x.size(1), n = cache.length() + t;
  if (!options.causal) throw ValueError("LshSelfAttention: step() needs causal attention", here);
  if (padded == 0) padded = n <= options.chunk ? n : (n + options.chunk - 1) / options.chunk * options.chunk;
  const Tensor qk = detail::split_heads(query_key_(x), heads_, head_dim_), v = value_(x);
  LshOptions o = cache.prepare(options, b, heads_, head_dim_, x.dtype());
  o.dropout = 0;
  const Tensor buckets = lsh_buckets(qk, cache.rotations(), o);
  const Tensor keys = rms_norm(qk, {}, o.norm_epsilon);  // of length sqrt(d)
  const std::int64_t earlier = cache.length();
  cache.append(flatten(keys, 2, 3), v, buckets);
  Tensor y;
  if (t == 1 && earlier > 0) {
    y = step_attention(qk, cache, o, padded);
  } else if (earlier == 0) {
    y = prompt_attention(qk, detail::split_heads(v, heads_, head_dim_), buckets, cache.rotations(), o, padded);
  } else {
    throw ValueError("LshSelfAttention: step() takes one token a row after the first step, got " + std::to_string(t),
                     here);
  }
  const Tensor joined = reshape(y, {b, t, heads_ * head_dim_});
  return output_ ? (*output_)(joined) : joined;
}

/// The full pass over the first tokens, which padding makes up to whole chunks.
Tensor LshSelfAttention::prompt_attention(const Tensor& qk, const Tensor& v, const Tensor& buckets,
                                          const Tensor& rotations, const LshOptions& o, std::int64_t padded) const {
  const std::int64_t b = qk.size(0), n = qk.size(1), more = padded - n;
  if (padded <= o.chunk) return lsh_attention(qk, v, {}, o);
  if (more == 0) return lsh_attention(qk, v, buckets, o);
  const Tensor space = zeros({b, more, heads_, head_dim_}, qk.dtype());
  const Tensor hidden = cat({zeros({b, n}, DType::boolean), ones({b, more}, DType::boolean)}, 1);
  const Tensor all = cat({qk, space}, 1);
  // Padding has a bucket of its own in each round.
  return slice(lsh_attention(all, cat({v, space}, 1), lsh_buckets(all, rotations, o, hidden), o, hidden), 1, 0, n);
}

/// One query a row and head: softmax over the positions that it meets, [b, 1, h, d].
Tensor LshSelfAttention::step_attention(const Tensor& qk, const LshCache& cache, const LshOptions& o,
                                        std::int64_t padded) const {
  const std::int64_t b = qk.size(0), n = cache.length(), tasks = b * heads_;
  std::vector<std::vector<std::pair<std::int32_t, std::int32_t>>> met(at(tasks));
  std::size_t most = 0;
  for (std::int64_t task = 0; task < tasks; ++task) {
    auto& own = met[at(task)];
    if (padded <= o.chunk)
      for (std::int64_t i = 0; i < n; ++i) own.emplace_back(static_cast<std::int32_t>(i), 1);
    else
      own = cache.meetings(task, o, padded);
    most = std::max(most, own.size());
  }
  // Rows of the cache's memory seen as [b capacity h, d], and what their scores are changed by.
  const Tensor keys = cache.kept_.key_memory(), values = cache.kept_.value_memory();
  const std::int64_t capacity = keys.size(1);
  std::vector<std::int64_t> rows(at(tasks) * most, 0);
  std::vector<double> factor(rows.size(), 0), added(rows.size(), -std::numeric_limits<double>::infinity());
  for (std::int64_t task = 0; task < tasks; ++task)
    for (std::size_t i = 0; i < met[at(task)].size(); ++i) {
      const auto& [position, times] = met[at(task)][i];
      const std::size_t place = at(task) * most + i;
      const bool own = position == n - 1;
      rows[place] = (task / heads_ * capacity + position) * heads_ + task % heads_;
      factor[place] = own && o.self_mask == SelfMask::replace ? 0 : 1;
      added[place] = (own ? -o.self_penalty : 0) + (o.correct_duplicates ? 0 : std::log(times));
    }
  const auto width = static_cast<std::int64_t>(most);
  const Tensor places = tensor(rows, {tasks * width}, DType::int64);
  const auto taken = [&](const Tensor& memory) {
    const Tensor all = reshape(memory, {b * capacity * heads_, memory.size(2) / heads_});
    return reshape(index_select(all, 0, places), {tasks, width, memory.size(2) / heads_});
  };
  const double root = std::sqrt(static_cast<double>(head_dim_));
  const double scale = o.divide_by_sqrt_dim ? 1 / (root * root) : 1 / root;  // keys have length sqrt(d)
  const Tensor q = reshape(qk, {tasks, 1, head_dim_});
  const Tensor scores = scale * matmul(q, transpose(taken(keys)));
  const Shape shape{tasks, 1, width};
  const Tensor weights = softmax(scores * tensor(factor, shape, qk.dtype()) + tensor(added, shape, qk.dtype()), -1);
  return reshape(matmul(weights, taken(values)), {b, 1, heads_, head_dim_});
}

}  // namespace attune::nn
