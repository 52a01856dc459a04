#include "autograd/kernels/chunk_window.h"

#include <algorithm>
#include <cmath>

#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {
std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
}  // namespace

ChunkWindow::ChunkWindow(const ChunkPlan& plan, std::int64_t task)
    : plan_(plan),
      task_(task),
      per_round_(plan.length / plan.chunk),
      order_(plan.order ? plan.order + task * plan.rounds * plan.length : nullptr),
      all_buckets_(plan.bucket ? plan.bucket + task * plan.rounds * plan.length : nullptr),
      key_valid_(plan.key_valid ? plan.key_valid + task / plan.heads * plan.length : nullptr),
      queries_(at(plan.chunk)),
      row_scratch_(at(plan.chunk)) {
  if (!order_) {
    identity_.resize(at(plan.length));
    for (std::int64_t i = 0; i < plan.length; ++i) identity_[at(i)] = static_cast<std::int32_t>(i);
  }
  // In one round a pair meets twice only where a window is longer than the ring of chunks.
  const bool once = plan.rounds == 1 && plan.before + 1 + plan.after <= per_round_;
  if (!plan.correct_duplicates || once) return;
  chunk_of_.resize(at(plan.rounds * plan.length));
  for (std::int64_t s = 0; s < plan.rounds * plan.length; ++s) {
    const std::int64_t round = s / plan.length;
    const std::int32_t position = order_ ? order_[s] : identity_[at(s % plan.length)];
    chunk_of_[at(round * plan.length + position)] = static_cast<std::int32_t>(s / plan.chunk);
  }
  const std::int64_t most = plan.rounds * (plan.before + 1 + plan.after);
  for (std::int64_t n = 0; n <= most; ++n) {
    logs_double_.push_back(n == 0 ? 0 : std::log(static_cast<double>(n)));
    logs_float_.push_back(static_cast<float>(logs_double_.back()));
  }
}

void ChunkWindow::append_keys(std::int64_t chunk) {
  if (!plan_.ring && (chunk < 0 || chunk >= chunks())) return;
  chunk = wrapped(chunk);
  const std::int64_t begin = chunk * plan_.chunk;
  const std::int32_t* positions = order_ ? order_ + begin : identity_.data() + begin % plan_.length;
  keys_.insert(keys_.end(), positions, positions + plan_.chunk);
  if (!all_buckets_) return;
  const std::int32_t* buckets = all_buckets_ + begin / plan_.length * plan_.length;
  for (std::int64_t i = 0; i < plan_.chunk; ++i) key_buckets_.push_back(buckets[positions[i]]);
}

void ChunkWindow::move_to(std::int64_t chunk) {
  chunk_ = chunk;
  const std::int64_t begin = chunk * plan_.chunk;
  const std::int32_t* positions = order_ ? order_ + begin : identity_.data() + begin % plan_.length;
  std::copy_n(positions, plan_.chunk, queries_.begin());
  buckets_ = all_buckets_ ? all_buckets_ + begin / plan_.length * plan_.length : nullptr;
  keys_.clear();
  key_buckets_.clear();
  if (plan_.own_chunk_first) append_keys(chunk);
  for (std::int64_t o = -plan_.before; o <= plan_.after; ++o)
    if (o != 0 || !plan_.own_chunk_first) append_keys(chunk + o);
  if (!key_valid_) return;
  valid_.resize(keys_.size());
  for (std::size_t c = 0; c < keys_.size(); ++c) valid_[c] = key_valid_[keys_[c]];
}

const std::int32_t* ChunkWindow::times_seen(std::int64_t i) {
  seen_.assign(keys_.size(), 0);
  const bool buckets = plan_.same_bucket && all_buckets_;
  const std::int32_t q = query(i);
  for (std::int64_t round = 0; round < plan_.rounds; ++round)
    for (std::int64_t o = -plan_.before; o <= plan_.after; ++o) {
      std::int64_t window = chunk_of(round, q) + o;
      if (!plan_.ring && (window < 0 || window >= chunks())) continue;
      window = wrapped(window);
      const std::int64_t its_round = window / per_round_;
      const std::int32_t* chunk_of_key = chunk_of_.data() + its_round * plan_.length;
      if (!buckets) {
        for (std::size_t c = 0; c < keys_.size(); ++c) seen_[c] += chunk_of_key[keys_[c]] == window;
        continue;
      }
      const std::int32_t own = all_buckets_[round * plan_.length + q];
      const std::int32_t* bucket_of_key = all_buckets_ + its_round * plan_.length;
      for (std::size_t c = 0; c < keys_.size(); ++c)
        seen_[c] += int{chunk_of_key[keys_[c]] == window} & int{bucket_of_key[keys_[c]] == own};
    }
  return seen_.data();
}

template <class T>
void ChunkWindow::dropout_row(std::int64_t i, T* mask) const {
  const std::int64_t width = (plan_.before + 1 + plan_.after) * plan_.chunk;
  const std::int64_t row = (task_ * chunks() + chunk_) * plan_.chunk + i;
  const std::uint64_t first = static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>((width + 3) / 4);
  const double kept_below = (1 - plan_.dropout) * 4294967296.0;
  const T factor = static_cast<T>(1 / (1 - plan_.dropout));
  for (std::int64_t c = 0; c < columns(); c += 4) {
    const auto words = philox(plan_.dropout_key, first + static_cast<std::uint64_t>(c / 4));
    for (std::int64_t j = c; j < std::min(c + 4, columns()); ++j)
      mask[j] = words[at(j - c)] < kept_below ? factor : T{0};
  }
}
template void ChunkWindow::dropout_row<float>(std::int64_t, float*) const;
template void ChunkWindow::dropout_row<double>(std::int64_t, double*) const;

void chunked_attention_counts(const ChunkPlan& plan, std::int32_t* counts, double* kept) {
  const std::int64_t n = plan.length;
  std::fill_n(counts, plan.batch * plan.heads * n * n, 0);
  if (kept) std::fill_n(kept, plan.batch * plan.heads * n * n, 0.0);
  parallel_for(plan.batch * plan.heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      ChunkWindow w(plan, task);
      std::vector<double> factors(at((plan.before + 1 + plan.after) * plan.chunk), 1.0);
      for (std::int64_t chunk = 0; chunk < w.chunks(); ++chunk) {
        w.move_to(chunk);
        for (std::int64_t i = 0; i < plan.chunk; ++i) {
          if (plan.dropout > 0) w.dropout_row(i, factors.data());
          for (std::int64_t c = 0; c < w.columns(); ++c) {
            const std::int32_t key = w.keys()[c], query = w.query(i);
            const bool own = plan.self_last && key == query;
            if (plan.causal && key > query) continue;
            if (plan.same_bucket && plan.bucket && w.key_buckets()[c] != w.query_bucket(i)) continue;
            if (!own && w.keys_valid() && !w.keys_valid()[c]) continue;
            const std::int64_t pair = (task * n + query) * n + key;
            if (kept) kept[pair] += (factors[at(c)] - kept[pair]) / (counts[pair] + 1);
            ++counts[pair];
          }
        }
      }
    }
  });
}

void bucket_order(const std::int32_t* buckets, std::int64_t tasks, std::int64_t rounds, std::int64_t length,
                  std::int64_t limit, std::int32_t* order) {
  parallel_for(tasks * rounds, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> start(at(limit + 1));
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int32_t* b = buckets + t * length;
      std::fill(start.begin(), start.end(), 0);
      for (std::int64_t i = 0; i < length; ++i) ++start[at(b[i] + 1)];
      for (std::size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
      for (std::int64_t i = 0; i < length; ++i) order[t * length + start[at(b[i])]++] = static_cast<std::int32_t>(i);
    }
  });
}

template <class T>
void hash_buckets(const T* rotated, std::int64_t rows, const std::int64_t* factors, int factor_count,
                  std::int32_t* buckets) {
  std::int64_t width = 0;
  for (int f = 0; f < factor_count; ++f) width += factors[f] / 2;
  parallel_for(rows, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* x = rotated + r * width;
      std::int64_t bucket = 0, scale = 1;
      for (int f = 0; f < factor_count; ++f) {
        const std::int64_t half = factors[f] / 2;
        std::int64_t best = 0;
        T largest = x[0];
        for (std::int64_t j = 1; j < half; ++j)
          if (x[j] > largest) largest = x[j], best = j;
        for (std::int64_t j = 0; j < half; ++j)
          if (-x[j] > largest) largest = -x[j], best = half + j;
        bucket += scale * best;
        scale *= factors[f];
        x += half;
      }
      buckets[r] = static_cast<std::int32_t>(bucket);
    }
  });
}
template void hash_buckets<float>(const float*, std::int64_t, const std::int64_t*, int, std::int32_t*);
template void hash_buckets<double>(const double*, std::int64_t, const std::int64_t*, int, std::int32_t*);

}  // namespace attune::kernels
