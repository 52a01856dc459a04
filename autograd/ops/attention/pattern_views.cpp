// What a pattern shows of itself: a matrix, tiles, text.
#include <algorithm>

#include "autograd/kernels/attention/key_tiles.h"
#include "autograd/ops/attention/internal/pattern_mask.h"
#include "autograd/ops/attention/pattern.h"
#include "autograd/ops/create.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/parallel.h"

namespace attune {

namespace {

using kernels::Pattern;
using kernels::pieces;
using kernels::Seen;
using kernels::Span;

constexpr std::int64_t queries_a_time = kernels::tile_queries, keys_a_time = kernels::key_granule;

bool sees(std::uint64_t bits, std::int64_t i) { return ((bits >> i) & 1) != 0; }

/// Exactly what a rectangle of positions shows; pairs are looked at only where the rule does not settle it.
Seen exactly_seen(const Pattern& p, std::int64_t b, std::int64_t h, Span queries, Span keys) {
  const Seen quick = p.seen(b, h, queries, keys);
  if (quick != Seen::some) return quick;
  bool any = false, all = true;
  for (std::int64_t i = queries.begin; i < queries.end; i += queries_a_time)
    for (std::int64_t j = keys.begin; j < keys.end; j += keys_a_time) {
      const Span q{i, std::min(i + queries_a_time, queries.end)}, k{j, std::min(j + keys_a_time, keys.end)};
      std::uint64_t bits[keys_a_time];
      p.look(b, h, q, k, bits);
      for (std::int64_t r = 0; r < k.size(); ++r)
        for (std::int64_t c = 0; c < q.size(); ++c) {
          any |= sees(bits[r], c);
          all &= sees(bits[r], c);
        }
      if (any && !all) return Seen::some;
    }
  return all ? Seen::all : any ? Seen::some : Seen::none;
}

}  // namespace

Tensor detail::pattern_mask(const Pattern& p, std::int64_t t, std::int64_t s) {
  Shape shape{t, s};
  if (p.size.batch > 1 || p.size.heads > 1) shape.insert(0, p.size.heads);
  if (p.size.batch > 1) shape.insert(0, p.size.batch);
  Tensor mask = empty(shape, DType::boolean);
  auto* hidden = elements<bool>(mask);
  const std::int64_t shift = s - t, blocks = pieces(t, queries_a_time);
  parallel_for(p.size.batch * p.size.heads * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t head = task / blocks, first = task % blocks * queries_a_time;
      const Span q{first + shift, std::min(first + queries_a_time, t) + shift};
      for (std::int64_t j = 0; j < s; j += keys_a_time) {
        const Span k{j, std::min(j + keys_a_time, s)};
        std::uint64_t bits[keys_a_time];
        p.look(head / p.size.heads, head % p.size.heads, q, k, bits);
        for (std::int64_t i = 0; i < q.size(); ++i)
          for (std::int64_t r = 0; r < k.size(); ++r) hidden[(head * t + first + i) * s + j + r] = !sees(bits[r], i);
      }
    }
  });
  return mask;
}

std::int64_t AttentionPattern::batch() const { return pattern_ ? pattern_->size.batch : 1; }
std::int64_t AttentionPattern::heads() const { return pattern_ ? pattern_->size.heads : 1; }
std::int64_t AttentionPattern::tokens() const { return pattern_ ? pattern_->size.tokens : 0; }
std::string AttentionPattern::str() const { return pattern_ ? pattern_->name : "all"; }

AttentionPattern AttentionPattern::first(std::int64_t n, Here here) const {
  if (tokens() == 0 || tokens() == n) return *this;
  if (n < 1 || n > tokens())
    throw ValueError("AttentionPattern::first: n = " + std::to_string(n) + " is not in [1, " +
                         std::to_string(tokens()) + "], the tokens of `" + str() + "`",
                     here);
  return AttentionPattern(kernels::first_positions(pattern_, n));
}

std::string AttentionPattern::misfit(std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t s) const {
  const auto text = [&](std::int64_t own, const char* of, std::int64_t given, const char* things) {
    return "the pattern `" + str() + "` is for " + std::to_string(own) + of + ", not for " + std::to_string(given) +
           things;
  };
  if (tokens() != 0 && tokens() != s) return text(tokens(), " tokens", s, " keys");
  if (tokens() != 0 && t > s) return text(tokens(), " tokens", t, " queries");
  if (batch() != 1 && batch() != b) return text(batch(), " examples", b, "");
  if (heads() != 1 && heads() != h) return text(heads(), " heads", h, "");
  return "";
}

namespace {

/// Throws ShapeError for sizes that no scores have or that the pattern was not made for.
void check_matrix(const AttentionPattern& p, std::int64_t t, std::int64_t s, Here here) {
  if (t < 0 || s < 0)
    throw ShapeError("AttentionPattern: there is no matrix [" + std::to_string(t) + ", " + std::to_string(s) + "]",
                     here);
  const std::string misfit = p.misfit(p.batch(), p.heads(), t, s);
  if (!misfit.empty()) throw ShapeError("AttentionPattern: " + misfit, here);
}

}  // namespace

Tensor AttentionPattern::mask(std::int64_t t, std::int64_t s, Here here) const {
  check_matrix(*this, t, s, here);
  if (!pattern_) return zeros({t, s}, DType::boolean);
  const Tensor m = detail::pattern_mask(*pattern_, t, s);
  return m.rank() == 3 ? unsqueeze(m, 0) : m;
}

Tensor AttentionPattern::tiles(std::int64_t t, std::int64_t s, Here here) const {
  check_matrix(*this, t, s, here);
  const std::int64_t rows = pieces(t, queries_a_time), columns = pieces(s, keys_a_time), shift = s - t;
  if (!pattern_) return full({1, 1, rows, columns}, 2, DType::int32);
  Tensor kinds = zeros({batch(), heads(), rows, columns}, DType::int32);
  auto* kind = detail::elements<std::int32_t>(kinds);
  parallel_for(batch() * heads() * rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t head = task / rows, first = task % rows * queries_a_time;
      const Span q{first + shift, std::min(first + queries_a_time, t) + shift};
      for (std::int64_t c = 0; c < columns; ++c) {
        const Span k{c * keys_a_time, std::min((c + 1) * keys_a_time, s)};
        kind[task * columns + c] =
            static_cast<std::int32_t>(exactly_seen(*pattern_, head / heads(), head % heads(), q, k));
      }
    }
  });
  return kinds;
}

double AttentionPattern::density(std::int64_t t, std::int64_t s, Here here) const {
  const Tensor kinds = tiles(t, s, here);
  const auto* kind = detail::elements<const std::int32_t>(kinds);
  if (kinds.numel() == 0) return 0;
  return 1 - static_cast<double>(std::count(kind, kind + kinds.numel(), 0)) / static_cast<double>(kinds.numel());
}

std::string AttentionPattern::picture(std::int64_t t, std::int64_t s, std::int64_t b, std::int64_t h, Here here) const {
  check_matrix(*this, t, s, here);
  if (b < 0 || b >= batch() || h < 0 || h >= heads())
    throw IndexError("AttentionPattern: example " + std::to_string(b) + ", head " + std::to_string(h) +
                         " is not among " + std::to_string(batch()) + " and " + std::to_string(heads()),
                     here);
  constexpr std::int64_t most_characters = 64;
  const std::int64_t cell = std::max<std::int64_t>(pieces(std::max(t, s), most_characters), 1), shift = s - t;
  std::string text;
  for (std::int64_t i = 0; i < t; i += cell) {
    for (std::int64_t j = 0; j < s; j += cell) {
      const Span q{i + shift, std::min(i + cell, t) + shift}, k{j, std::min(j + cell, s)};
      text += pattern_ ? ".+#"[static_cast<int>(exactly_seen(*pattern_, b, h, q, k))] : '#';
    }
    text += '\n';
  }
  return text;
}

}  // namespace attune
