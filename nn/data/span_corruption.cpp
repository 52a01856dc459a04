#include "nn/data/span_corruption.h"

#include <algorithm>
#include <cmath>

#include "autograd/runtime/error.h"
#include "nn/data/internal/draw.h"

namespace attune::nn {

namespace {

/// `items` cut into `parts` pieces of at least 1, each way as likely as the others.
std::vector<std::int64_t> cut(std::int64_t items, std::int64_t parts, detail::Draw& draw) {
  // Of the items - 1 places between two items, parts - 1 are chosen, one after another (Knuth's algorithm S).
  std::vector<std::int64_t> lengths;
  std::int64_t needed = parts - 1, length = 1;
  for (std::int64_t left = items - 1; left > 0; --left) {
    if (draw.below(left) < needed) {
      lengths.push_back(length);
      length = 0;
      --needed;
    }
    ++length;
  }
  lengths.push_back(length);
  return lengths;
}

}  // namespace

CorruptedSpans corrupt_spans(const Sequence& tokens, const SpanCorruptionOptions& o, Generator& random, Here here) {
  const auto fail = [&](const std::string& what) { throw ValueError("corrupt_spans: " + what, here); };
  const auto n = static_cast<std::int64_t>(tokens.size());
  if (n < 2) fail("a text of " + std::to_string(n) + " tokens has nothing to take out and something to leave");
  if (!(o.noise_share > 0 && o.noise_share < 1))
    fail("noise_share = " + std::to_string(o.noise_share) + " is not in (0, 1)");
  if (!(o.mean_length >= 1 && std::isfinite(o.mean_length)))
    fail("mean_length = " + std::to_string(o.mean_length) + " must be at least 1");
  // In float32 and to even, as published: which of two numbers a half becomes hangs on it.
  const auto rounded = [](float x) { return static_cast<std::int64_t>(std::nearbyint(x)); };
  const auto share = static_cast<float>(o.noise_share), mean = static_cast<float>(o.mean_length);
  const std::int64_t noise = std::clamp<std::int64_t>(rounded(static_cast<float>(n) * share), 1, n - 1);
  const std::int64_t wanted = std::max<std::int64_t>(1, rounded(static_cast<float>(noise) / mean));
  const std::int64_t spans = std::min(wanted, n - noise);  // each has something before it
  if (spans > o.sentinels || o.first_sentinel - spans + 1 < 0)
    fail("a text of " + std::to_string(n) + " tokens has " + std::to_string(spans) + " spans, and there are " +
         std::to_string(std::min(o.sentinels, o.first_sentinel + 1)) + " sentinels");
  for (const std::int64_t id : tokens)
    if (id <= o.first_sentinel && id > o.first_sentinel - o.sentinels)
      fail("token " + std::to_string(id) + " of the text is one of the sentinels, " +
           std::to_string(std::max<std::int64_t>(0, o.first_sentinel - o.sentinels + 1)) + " to " +
           std::to_string(o.first_sentinel));
  detail::Draw draw(random);
  const std::vector<std::int64_t> taken = cut(noise, spans, draw), kept = cut(n - noise, spans, draw);
  CorruptedSpans out;
  auto at = tokens.begin();
  for (std::size_t i = 0; i < taken.size(); ++i) {
    const std::int64_t sentinel = o.first_sentinel - static_cast<std::int64_t>(i);
    out.input.insert(out.input.end(), at, at + kept[i]);
    at += kept[i];
    out.input.push_back(sentinel);
    out.target.push_back(sentinel);
    out.target.insert(out.target.end(), at, at + taken[i]);
    at += taken[i];
  }
  if (o.eos >= 0) {
    out.input.push_back(o.eos);
    out.target.push_back(o.eos);
  }
  return out;
}

}  // namespace attune::nn
