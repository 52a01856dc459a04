#include "autograd/kernels/attention/chunk_window.h"

#include <algorithm>
#include <limits>
#include <utility>

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
      key_padding_mask_(plan.key_padding_mask ? plan.key_padding_mask + task / plan.heads * plan.length : nullptr),
      queries_(at(plan.chunk)) {
  if (!order_) {
    identity_.resize(at(plan.length));
    for (std::int64_t i = 0; i < plan.length; ++i) identity_[at(i)] = static_cast<std::int32_t>(i);
  }
  // In one round a pair meets twice only where a window is longer than the ring of chunks.
  const bool once = plan.rounds == 1 && plan.before + 1 + plan.after <= per_round_;
  if (!plan.correct_duplicates || once) return;
  places_.resize(at(plan.rounds * plan.length));
  for (std::int64_t s = 0; s < plan.rounds * plan.length; ++s) {
    const std::int64_t round = s / plan.length;
    const std::int32_t position = order_ ? order_[s] : identity_[at(s % plan.length)];
    places_[at(position * plan.rounds + round)] = {static_cast<std::int32_t>(s / plan.chunk),
                                                   all_buckets_ ? all_buckets_[round * plan.length + position] : 0};
  }
  rounds_apart_ = by_bucket() && find_rounds_apart();
}

bool ChunkWindow::find_rounds_apart() const {
  std::vector<std::pair<std::int32_t, std::int32_t>> ranges;
  for (std::int64_t round = 0; round < plan_.rounds; ++round) {
    const std::int32_t* buckets = all_buckets_ + round * plan_.length;
    std::int32_t low = std::numeric_limits<std::int32_t>::max(), high = -1;
    for (std::int64_t i = 0; i < plan_.length; ++i) {
      if (key_padding_mask_ && key_padding_mask_[i]) continue;  // nobody else sees it
      low = std::min(low, buckets[i]);
      high = std::max(high, buckets[i]);
    }
    ranges.emplace_back(low, high);
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t r = 1; r < ranges.size(); ++r)
    if (ranges[r].first <= ranges[r - 1].second) return false;
  return true;
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
  drop_unseen_keys();
}

void ChunkWindow::drop_unseen_keys() {
  offsets_.resize(keys_.size());
  for (std::size_t c = 0; c < keys_.size(); ++c) offsets_[c] = static_cast<std::int32_t>(c);
  if (!by_bucket() && !plan_.causal) return;
  std::int32_t last = 0, low = std::numeric_limits<std::int32_t>::max(), high = -1;
  for (std::int64_t i = 0; i < plan_.chunk; ++i) {
    last = std::max(last, query(i));
    if (!by_bucket()) continue;
    low = std::min(low, query_bucket(i));
    high = std::max(high, query_bucket(i));
  }
  std::size_t kept = 0;
  for (std::size_t c = 0; c < keys_.size(); ++c) {
    if (plan_.causal && keys_[c] > last) continue;
    if (by_bucket() && (key_buckets_[c] < low || key_buckets_[c] > high)) continue;
    keys_[kept] = keys_[c];
    offsets_[kept] = offsets_[c];
    if (all_buckets_) key_buckets_[kept] = key_buckets_[c];
    ++kept;
  }
  keys_.resize(kept);
  offsets_.resize(kept);
  if (all_buckets_) key_buckets_.resize(kept);
}

void ChunkWindow::dropout_row(std::int64_t i, double* factors) const {
  const std::int64_t blocks = (whole_columns() + 3) / 4;
  const auto first = static_cast<std::uint64_t>(dropout_row_number(i) * blocks);
  const double kept_below = (1 - plan_.dropout) * 4294967296.0;
  for (std::int64_t c = 0; c < columns(); ++c) {
    const auto place = static_cast<std::uint64_t>(offsets_[at(c)]);
    const auto words = philox(plan_.dropout_key, first + place / 4);
    factors[c] = words[place % 4] < kept_below ? 1 / (1 - plan_.dropout) : 0;
  }
}

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
            if (!own && w.is_padding(c)) continue;
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

}  // namespace attune::kernels
