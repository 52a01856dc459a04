#include "nn/data/masking.h"

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "nn/data/internal/draw.h"

namespace attune::nn {

using detail::Draw;

MaskedTokens mask_tokens(const Tensor& tokens, const MaskingOptions& o, Generator& random, Here here) {
  const auto fail = [&](const std::string& what) { throw ValueError("mask_tokens: " + what, here); };
  if (!(o.share > 0 && o.share <= 1)) fail("share = " + std::to_string(o.share) + " is not in (0, 1]");
  if (!(o.masked >= 0 && o.random >= 0 && o.masked + o.random <= 1))
    fail("masked = " + std::to_string(o.masked) + " and random = " + std::to_string(o.random) +
         " must not be negative, nor more than 1 together");
  if (tokens.dtype() != DType::int64)
    throw DTypeError(std::string("mask_tokens: tokens are ") + name_of(tokens.dtype()) + ", not int64", here);
  std::vector<std::int64_t> special = o.special;
  special.push_back(o.mask_token);
  for (const std::int64_t s : special)
    if (s < 0 || s >= o.vocabulary)
      fail("token " + std::to_string(s) + " is not in the vocabulary of " + std::to_string(o.vocabulary));
  std::sort(special.begin(), special.end());
  special.erase(std::unique(special.begin(), special.end()), special.end());
  const std::int64_t ordinary = o.vocabulary - static_cast<std::int64_t>(special.size());
  if (ordinary < 1) fail("all of the vocabulary is special");
  const auto is_special = [&](std::int64_t id) { return std::binary_search(special.begin(), special.end(), id); };

  Draw draw(random);
  std::vector<std::int64_t> ids = tokens.to_vector<std::int64_t>(), labels(ids.size(), -100);
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= o.vocabulary)
      throw IndexError("mask_tokens: token " + std::to_string(ids[i]) + " is not in the vocabulary of " +
                           std::to_string(o.vocabulary),
                       here);
    if (!is_special(ids[i])) candidates.push_back(i);
  }
  std::vector<std::size_t> chosen;
  for (const std::size_t i : candidates)
    if (draw.real() < o.share) chosen.push_back(i);
  if (chosen.empty() && !candidates.empty())
    chosen.push_back(candidates[static_cast<std::size_t>(draw.below(static_cast<std::int64_t>(candidates.size())))]);
  for (const std::size_t i : chosen) {
    labels[i] = ids[i];
    const double kind = draw.real();
    if (kind < o.masked) {
      ids[i] = o.mask_token;
    } else if (kind < o.masked + o.random) {
      std::int64_t id = draw.below(ordinary);  // of those that are not special
      for (const std::int64_t s : special) id += s <= id;
      ids[i] = id;
    }
  }
  return {tensor(ids, tokens.shape(), DType::int64), tensor(labels, tokens.shape(), DType::int64)};
}

namespace {

void append(Sequence& to, const Sequence& from) { to.insert(to.end(), from.begin(), from.end()); }

void cut(SentencePair& p, std::int64_t most) {
  while (static_cast<std::int64_t>(p.first.size() + p.second.size()) > most)
    (p.first.size() > p.second.size() ? p.first : p.second).pop_back();
}

using Documents = std::vector<std::vector<Sequence>>;

/// A number below n, but not `but`.
std::size_t other_than(std::size_t but, std::size_t n, Draw& draw) {
  const auto i = static_cast<std::size_t>(draw.below(static_cast<std::int64_t>(n) - 1));
  return i + (i >= but);
}

/// Up to `most` tokens from a random place of another document than `own`. If there is no other, of another place than
/// sentence `next` of it. `filled`: the documents with sentences, of which `own` is one, in their order.
Sequence from_elsewhere(const Documents& documents, const std::vector<std::size_t>& filled, std::size_t own,
                        std::size_t next, std::int64_t most, Draw& draw) {
  const bool alone = filled.size() == 1;
  const auto at = static_cast<std::size_t>(std::lower_bound(filled.begin(), filled.end(), own) - filled.begin());
  const auto& document = documents[alone ? own : filled[other_than(at, filled.size(), draw)]];
  std::size_t i = alone ? other_than(next, document.size(), draw)
                        : static_cast<std::size_t>(draw.below(static_cast<std::int64_t>(document.size())));
  Sequence piece;
  for (; i < document.size() && static_cast<std::int64_t>(piece.size()) < most; ++i) append(piece, document[i]);
  return piece;
}

}  // namespace

std::vector<SentencePair> next_sentence_pairs(const Documents& documents, std::int64_t most_tokens, Generator& random,
                                              Here here) {
  if (most_tokens < 2)
    throw ValueError("next_sentence_pairs: most_tokens = " + std::to_string(most_tokens) + " must be at least 2", here);
  Draw draw(random);
  std::vector<SentencePair> pairs;
  std::vector<std::size_t> filled;
  for (std::size_t d = 0; d < documents.size(); ++d)
    if (!documents[d].empty()) filled.push_back(d);
  for (std::size_t d = 0; d < documents.size(); ++d) {
    const auto& document = documents[d];
    std::size_t begin = 0;
    while (begin + 1 < document.size()) {
      std::size_t end = begin;
      std::int64_t tokens = 0;
      while (end < document.size() && (end - begin < 2 || tokens < most_tokens))
        tokens += static_cast<std::int64_t>(document[end++].size());
      // The first piece is at least one sentence, and leaves at least one.
      const auto middle = begin + 1 + static_cast<std::size_t>(draw.below(static_cast<std::int64_t>(end - begin - 1)));
      SentencePair p;
      for (std::size_t i = begin; i < middle; ++i) append(p.first, document[i]);
      p.follows = draw.real() < 0.5;
      if (p.follows) {
        for (std::size_t i = middle; i < end; ++i) append(p.second, document[i]);
        begin = end;
      } else {
        const auto room =
            most_tokens - std::min<std::int64_t>(static_cast<std::int64_t>(p.first.size()), most_tokens - 1);
        p.second = from_elsewhere(documents, filled, d, middle, room, draw);
        begin = middle;  // the sentences that were not used begin the next pair
      }
      cut(p, most_tokens);
      if (!p.first.empty() && !p.second.empty()) pairs.push_back(std::move(p));
    }
  }
  if (pairs.empty()) throw ValueError("next_sentence_pairs: no document has two sentences", here);
  return pairs;
}

}  // namespace attune::nn
