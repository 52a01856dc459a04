#include "nn/data/padded.h"

#include <algorithm>

#include "autograd/io/internal/checksum.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/runtime/error.h"

namespace attune::nn {

namespace {

std::vector<std::int64_t> lengths_of(const std::vector<Sequence>& samples) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(samples.size());
  for (const Sequence& s : samples) lengths.push_back(static_cast<std::int64_t>(s.size()));
  return lengths;
}

/// That positions in other samples of the same lengths are refused.
std::uint32_t checksum_of(std::uint32_t before, const std::vector<Sequence>& samples) {
  for (const Sequence& s : samples)
    if (!s.empty()) before = io::crc32(before, s.data(), static_cast<std::int64_t>(s.size() * sizeof(std::int64_t)));
  return before;
}

std::vector<Sequence> chosen(const std::vector<Sequence>& samples, const std::vector<std::int64_t>& rows) {
  std::vector<Sequence> some;
  some.reserve(rows.size());
  for (const std::int64_t r : rows) some.push_back(samples[static_cast<std::size_t>(r)]);
  return some;
}

Tensor labels_of(const Padded& p) { return where(p.key_padding_mask, -100, p.tokens); }

}  // namespace

Padded pad(const std::vector<Sequence>& sequences, std::int64_t pad_token, Side side, Here here) {
  if (sequences.empty()) throw ValueError("pad: there are no sequences", here);
  std::size_t n = 0;
  for (const Sequence& s : sequences) n = std::max(n, s.size());
  std::vector<std::int64_t> ids(sequences.size() * n, pad_token), hidden(ids.size(), 1);
  for (std::size_t r = 0; r < sequences.size(); ++r) {
    const Sequence& s = sequences[r];
    const auto at = static_cast<std::ptrdiff_t>(r * n + (side == Side::left ? n - s.size() : 0));
    std::copy(s.begin(), s.end(), ids.begin() + at);
    std::fill_n(hidden.begin() + at, s.size(), 0);
  }
  const Shape shape{static_cast<std::int64_t>(sequences.size()), static_cast<std::int64_t>(n)};
  return {tensor(ids, shape, DType::int64), tensor(hidden, shape, DType::boolean)};
}

Batches<PaddedBatch> padded_batches(std::vector<Sequence> samples, const BatchOptions& options, std::int64_t pad_token,
                                    Side side, Here here) {
  std::vector<std::int64_t> lengths = lengths_of(samples);
  const std::uint32_t checksum = checksum_of(0, samples);
  return detail::make_batches<PaddedBatch>(
      checksum, std::move(lengths), options,
      [samples = std::move(samples), pad_token, side](const std::vector<std::int64_t>& rows, Generator&) {
        const Padded p = pad(chosen(samples, rows), pad_token, side);
        return PaddedBatch{p.tokens, p.key_padding_mask, labels_of(p), rows};
      },
      here);
}

Batches<PairBatch> pair_batches(std::vector<Sequence> sources, std::vector<Sequence> targets,
                                const BatchOptions& options, std::int64_t pad_token, Here here) {
  if (sources.size() != targets.size())
    throw ValueError("pair_batches: " + std::to_string(sources.size()) + " sources and " +
                         std::to_string(targets.size()) + " targets",
                     here);
  std::vector<std::int64_t> lengths = lengths_of(sources);
  for (std::size_t i = 0; i < lengths.size(); ++i)
    lengths[i] = std::max(lengths[i], static_cast<std::int64_t>(targets[i].size()));
  const std::uint32_t checksum = checksum_of(checksum_of(0, sources), targets);
  return detail::make_batches<PairBatch>(
      checksum, std::move(lengths), options,
      [sources = std::move(sources), targets = std::move(targets), pad_token](const std::vector<std::int64_t>& rows,
                                                                              Generator&) {
        const Padded s = pad(chosen(sources, rows), pad_token), t = pad(chosen(targets, rows), pad_token);
        return PairBatch{s.tokens, s.key_padding_mask, t.tokens, t.key_padding_mask, labels_of(t), rows};
      },
      here);
}

}  // namespace attune::nn
