#include "autograd/kernels/attention/chunk_window.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "autograd/runtime/parallel.h"

namespace attune::kernels {

namespace {

std::size_t at(Size i) { return static_cast<std::size_t>(i); }

template <class T>
const T* advanced(const T* p, Size n) {
  return p ? p + n : nullptr;
}

}  // namespace

ChunkWindow::ChunkWindow(const ChunkPlan& plan, Size task)
    : settings_(plan.settings),
      length_(plan.length),
      task_(task),
      per_round_(plan.length / settings_.chunk),
      order_(advanced(plan.order, task * settings_.rounds * plan.length)),
      all_buckets_(advanced(plan.buckets, task * settings_.rounds * plan.length)),
      key_padding_mask_(advanced(plan.key_padding_mask, task / plan.heads * plan.length)),
      queries_(at(settings_.chunk)) {
  if (!order_) {
    identity_.resize(at(length_));
    std::iota(identity_.begin(), identity_.end(), 0);
  }
  // In one round a pair meets twice only if a window is longer than the ring of chunks.
  const bool once = settings_.rounds == 1 && settings_.before + 1 + settings_.after <= per_round_;
  if (!settings_.correct_duplicates || once) return;
  find_places();
  rounds_apart_ = by_bucket() && find_rounds_apart();
}

const std::int32_t* ChunkWindow::positions(Size chunk) const {
  const Size begin = chunk * settings_.chunk;
  return order_ ? order_ + begin : identity_.data() + begin % length_;
}

const std::int32_t* ChunkWindow::buckets_of(Size chunk) const {
  return advanced(all_buckets_, chunk / per_round_ * length_);
}

void ChunkWindow::find_places() {
  places_.resize(at(settings_.rounds * length_));
  for (Size chunk = 0; chunk < chunks(); ++chunk) {
    const std::int32_t *position = positions(chunk), *buckets = buckets_of(chunk);
    for (Size i = 0; i < settings_.chunk; ++i)
      places_[at(position[i] * settings_.rounds + chunk / per_round_)] = {static_cast<std::int32_t>(chunk),
                                                                          buckets ? buckets[position[i]] : 0};
  }
}

bool ChunkWindow::find_rounds_apart() const {
  std::vector<std::pair<std::int32_t, std::int32_t>> ranges;
  for (Size round = 0; round < settings_.rounds; ++round) {
    const std::int32_t* buckets = all_buckets_ + round * length_;
    std::int32_t low = std::numeric_limits<std::int32_t>::max(), high = -1;
    for (Size i = 0; i < length_; ++i) {
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

void ChunkWindow::append_keys(Size chunk) {
  if (!settings_.ring && (chunk < 0 || chunk >= chunks())) return;
  chunk = wrapped(chunk);
  const std::int32_t *position = positions(chunk), *buckets = buckets_of(chunk);
  keys_.insert(keys_.end(), position, position + settings_.chunk);
  if (!buckets) return;
  for (Size i = 0; i < settings_.chunk; ++i) key_buckets_.push_back(buckets[position[i]]);
}

void ChunkWindow::move_to(Size chunk) {
  chunk_ = chunk;
  std::copy_n(positions(chunk), settings_.chunk, queries_.begin());
  buckets_ = buckets_of(chunk);
  keys_.clear();
  key_buckets_.clear();
  if (settings_.own_chunk_first) append_keys(chunk);
  for (Size o = -settings_.before; o <= settings_.after; ++o)
    if (o != 0 || !settings_.own_chunk_first) append_keys(chunk + o);
  drop_unseen_keys();
}

void ChunkWindow::drop_unseen_keys() {
  offsets_.resize(keys_.size());
  std::iota(offsets_.begin(), offsets_.end(), 0);
  if (!by_bucket() && !settings_.causal) return;
  std::int32_t last = 0, low = std::numeric_limits<std::int32_t>::max(), high = -1;
  for (Size i = 0; i < settings_.chunk; ++i) {
    last = std::max(last, query(i));
    if (!by_bucket()) continue;
    low = std::min(low, query_bucket(i));
    high = std::max(high, query_bucket(i));
  }
  std::size_t kept = 0;
  for (std::size_t c = 0; c < keys_.size(); ++c) {
    if (settings_.causal && keys_[c] > last) continue;
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

void ChunkWindow::dropout_row(Size i, double* factors) const {
  const double p = settings_.dropout, kept_below = (1 - p) * 4294967296.0;
  const Size blocks = (whole_columns() + 3) / 4;
  const auto first = static_cast<std::uint64_t>(dropout_row_number(i) * blocks);
  for (Size c = 0; c < columns(); ++c) {
    const auto place = static_cast<std::uint64_t>(offsets_[at(c)]);
    const auto words = philox(settings_.dropout_key, first + place / 4);
    factors[c] = words[place % 4] < kept_below ? 1 / (1 - p) : 0;
  }
}

void chunked_attention_counts(const ChunkPlan& plan, std::int32_t* counts, double* kept) {
  const ChunkSettings& o = plan.settings;
  const Size n = plan.length;
  std::fill_n(counts, plan.batch * plan.heads * n * n, 0);
  if (kept) std::fill_n(kept, plan.batch * plan.heads * n * n, 0.0);
  parallel_for(plan.batch * plan.heads, 1, [&](Size begin, Size end) {
    for (Size task = begin; task < end; ++task) {
      ChunkWindow w(plan, task);
      std::vector<double> factors(at(w.whole_columns()), 1.0);
      for (Size chunk = 0; chunk < w.chunks(); ++chunk) {
        w.move_to(chunk);
        for (Size i = 0; i < o.chunk; ++i) {
          if (o.dropout > 0) w.dropout_row(i, factors.data());
          for (Size c = 0; c < w.columns(); ++c) {
            const std::int32_t key = w.keys()[c], query = w.query(i);
            const bool own = o.self_last && key == query;
            if (o.causal && key > query) continue;
            if (w.by_bucket() && w.key_buckets()[c] != w.query_bucket(i)) continue;
            if (!own && w.is_padding(c)) continue;
            const Size pair = (task * n + query) * n + key;
            if (kept) kept[pair] += (factors[at(c)] - kept[pair]) / (counts[pair] + 1);
            ++counts[pair];
          }
        }
      }
    }
  });
}

}  // namespace attune::kernels
