#include "autograd/ops/attention/pattern.h"

#include <algorithm>

#include "autograd/kernels/attention/pattern.h"
#include "autograd/ops/create.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/philox.h"

namespace attune {

namespace {

using kernels::Side;

std::string number(std::int64_t n) { return std::to_string(n); }

/// Sizes stay far from where their sums would overflow.
constexpr std::int64_t most_size = std::int64_t{1} << 40;

void check_size(const Op& op, const char* what, std::int64_t size, std::int64_t least) {
  if (size < least || size > most_size)
    op.fail_value(what + (" = " + number(size)) + " is not in [" + number(least) + ", " + number(most_size) + "]");
}

/// [n] or [b, n], dense.
Tensor checked_tokens(const Op& op, const Tensor& x, const char* what) {
  op.check_defined(x);
  if (x.rank() < 1 || x.rank() > 2)
    op.fail_shape(what + (" " + x.shape().str()) + " must be [n] or [b, n], a number for each token");
  if (x.size(-1) < 1 || (x.rank() == 2 && x.size(0) < 1)) op.fail_shape(what + (" " + x.shape().str()) + " is empty");
  return contiguous(x.detach());
}

kernels::PatternPtr marks(const Op& op, const Tensor& mask, const char* what, bool marking, Side side,
                          const char* name) {
  const Tensor m = checked_tokens(op, mask, what);
  detail::check_bool(op, m, what);
  return kernels::marks_pattern(m.rank() == 2 ? m.size(0) : 1, m.size(-1), detail::elements<const bool>(m), marking,
                                side, name);
}

/// What a block that is neither the first nor the last sees in any case.
bool is_seen_anyway(std::int64_t row, std::int64_t block, std::int64_t blocks) {
  return block == 0 || block == blocks - 1 || std::abs(row - block) <= 1;
}

std::int64_t blocks_in(const Op& op, std::int64_t block, std::int64_t n) {
  check_size(op, "block", block, 1);
  check_size(op, "n", n, 1);
  return kernels::pieces(n, block);
}

kernels::PatternPtr block_lists(const Op& op, const Tensor& chosen, std::int64_t block, std::int64_t n,
                                std::int64_t skipped, const char* name) {
  const std::int64_t blocks = blocks_in(op, block, n);
  op.check_dtype(chosen, DType::int64);
  const int r = chosen.rank();
  if ((r != 2 && r != 3) || chosen.size(-2) != blocks - 2 * skipped || (r == 3 && chosen.size(0) < 1))
    op.fail_shape("chosen " + chosen.shape().str() + " must be [h, " + number(blocks - 2 * skipped) +
                  ", r] or without the heads: " + number(n) + " tokens are " + number(blocks) + " blocks of " +
                  number(block));
  const std::int64_t heads = r == 3 ? chosen.size(0) : 1, count = chosen.size(-1);
  const Tensor dense = contiguous(chosen.detach());
  const auto* from = detail::elements<const std::int64_t>(dense);
  pool::Vector<std::int64_t> begins, kept;
  const Shape bytes{heads, blocks + 1, sizeof(std::int64_t)};  // lists of none are in `chosen` for nothing
  begins.reserve(static_cast<std::size_t>(numel(bytes)) / sizeof(std::int64_t));
  kept.reserve(static_cast<std::size_t>(dense.numel()));
  begins.push_back(0);
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t row = 0; row < blocks; ++row) {
      if (row >= skipped && row < blocks - skipped) {
        const auto list = kept.insert(kept.end(), from, from + count);
        from += count;
        for (auto b = list; b != kept.end(); ++b)
          if (*b < 0 || *b >= blocks) op.fail_index("block " + number(*b) + " is not in [0, " + number(blocks) + ")");
        std::sort(list, kept.end());
        kept.erase(std::unique(list, kept.end()), kept.end());
      }
      begins.push_back(static_cast<std::int64_t>(kept.size()));
    }
  return kernels::block_lists_pattern(heads, n, block, std::move(begins), std::move(kept),
                                      name + ("(" + number(block) + ")"));
}

/// Throws unless two patterns can be one.
void check_agree(const Op& op, const kernels::Pattern& a, const kernels::Pattern& b) {
  const auto differ = [&](const char* what, std::int64_t x, std::int64_t y, std::int64_t any) {
    if (x != y && x != any && y != any)
      op.fail_shape("`" + a.name + "` is for " + number(x) + what + " and `" + b.name + "` for " + number(y));
  };
  differ(" tokens", a.size.tokens, b.size.tokens, 0);
  differ(" examples", a.size.batch, b.size.batch, 1);
  differ(" heads", a.size.heads, b.size.heads, 1);
}

}  // namespace

AttentionPattern AttentionPattern::causal() {
  return AttentionPattern(kernels::band_pattern(0, kernels::unbounded, "causal"));
}

AttentionPattern AttentionPattern::band(std::int64_t l, Here here) {
  check_size({"AttentionPattern::band", here}, "l", l, 1);
  return AttentionPattern(kernels::band_pattern(0, l - 1, "band(" + number(l) + ")"));
}

AttentionPattern AttentionPattern::sliding_window(std::int64_t w, Here here) {
  const Op op{"AttentionPattern::sliding_window", here};
  check_size(op, "w", w, 2);
  if (w % 2 != 0) op.fail_value("w = " + number(w) + " is not even: it is half a window to each side");
  return AttentionPattern(kernels::band_pattern(-w / 2, w / 2, "sliding_window(" + number(w) + ")"));
}

AttentionPattern AttentionPattern::strided(std::int64_t l, Here here) {
  check_size({"AttentionPattern::strided", here}, "l", l, 1);
  return AttentionPattern(kernels::stride_pattern(l, "strided(" + number(l) + ")"));
}

AttentionPattern AttentionPattern::fixed(std::int64_t l, std::int64_t c, Here here) {
  const Op op{"AttentionPattern::fixed", here};
  check_size(op, "l", l, 1);
  if (c < 1 || c > l) op.fail_value("c = " + number(c) + " is not in [1, l = " + number(l) + "]");
  const std::string size = number(l);
  return AttentionPattern(kernels::near_blocks_pattern(l, 0, 0, "local_blocks(" + size + ")")) |
         AttentionPattern(kernels::block_ends_pattern(l, c, "block_ends(" + size + ", " + number(c) + ")"));
}

AttentionPattern AttentionPattern::local_blocks(std::int64_t block, std::int64_t before, std::int64_t after,
                                                Here here) {
  const Op op{"AttentionPattern::local_blocks", here};
  check_size(op, "block", block, 1);
  check_size(op, "before", before, 0);
  check_size(op, "after", after, 0);
  const auto near = [&](std::int64_t blocks) { return std::min(blocks, most_size / block + 1); };  // that is all
  return AttentionPattern(kernels::near_blocks_pattern(
      block, near(before), near(after),
      "local_blocks(" + number(block) + ", " + number(before) + ", " + number(after) + ")"));
}

AttentionPattern AttentionPattern::padding(const Tensor& mask, Here here) {
  return AttentionPattern(
      marks({"AttentionPattern::padding", here}, mask, "key_padding_mask", false, Side::keys, "padding"));
}

AttentionPattern AttentionPattern::seeing_queries(const Tensor& blind, Here here) {
  return AttentionPattern(
      marks({"AttentionPattern::seeing_queries", here}, blind, "blind", false, Side::queries, "seeing_queries"));
}

AttentionPattern AttentionPattern::global_keys(const Tensor& global, Here here) {
  return AttentionPattern(
      marks({"AttentionPattern::global_keys", here}, global, "global", true, Side::keys, "global_keys"));
}

AttentionPattern AttentionPattern::global_tokens(const Tensor& global, Here here) {
  const Op op{"AttentionPattern::global_tokens", here};
  return AttentionPattern(marks(op, global, "global", true, Side::keys, "global_keys")) |
         AttentionPattern(marks(op, global, "global", true, Side::queries, "global_queries"));
}

AttentionPattern AttentionPattern::documents(const Tensor& ids, Here here) {
  const Op op{"AttentionPattern::documents", here};
  Tensor x = checked_tokens(op, ids, "ids");
  if (x.dtype() == DType::int32) x = to(x, DType::int64);
  op.check_dtype(x, DType::int64);
  const auto* from = detail::elements<const std::int64_t>(x);
  return AttentionPattern(kernels::documents_pattern(x.rank() == 2 ? x.size(0) : 1, x.size(-1),
                                                     std::vector<std::int64_t>(from, from + x.numel()), "documents"));
}

AttentionPattern AttentionPattern::chosen_blocks(const Tensor& chosen, std::int64_t block, std::int64_t n, Here here) {
  return AttentionPattern(block_lists({"AttentionPattern::chosen_blocks", here}, chosen, block, n, 0, "chosen_blocks"));
}

AttentionPattern AttentionPattern::bigbird(const Tensor& chosen, std::int64_t block, std::int64_t n, Here here) {
  const Op op{"AttentionPattern::bigbird", here};
  const std::int64_t blocks = blocks_in(op, block, n);
  if (blocks < 2) op.fail_value(number(n) + " tokens are fewer than two blocks of " + number(block));
  const AttentionPattern random(block_lists(op, chosen, block, n, 1, "random_blocks"));
  Tensor ends = op.empty({n}, DType::boolean);
  auto* end = detail::elements<bool>(ends);
  std::fill_n(end, n, false);
  std::fill_n(end, block, true);
  std::fill(end + (blocks - 1) * block, end + n, true);
  return local_blocks(block, 1, 1, here) | global_tokens(ends, here) | random;
}

Tensor AttentionPattern::draw_blocks(std::int64_t heads, std::int64_t count, std::int64_t block, std::int64_t n,
                                     Generator& g, Here here) {
  const Op op{"AttentionPattern::draw_blocks", here};
  check_size(op, "heads", heads, 1);
  check_size(op, "count", count, 0);
  const std::int64_t blocks = blocks_in(op, block, n), rows = std::max<std::int64_t>(blocks - 2, 0);
  for (std::int64_t row = 1; row <= std::min<std::int64_t>(rows, 2); ++row) {           // others have no fewer
    const std::int64_t have = blocks - 5 + (row == 1 ? 1 : 0) + (row == rows ? 1 : 0);  // a neighbour may be an end
    if (have < count)
      op.fail_value("count = " + number(count) + ": block " + number(row) + " of " + number(blocks) + " has only " +
                    number(have) + " that it does not see anyway");
  }
  Tensor chosen = op.empty({heads, rows, count}, DType::int64);
  auto* to = detail::elements<std::int64_t>(chosen);
  const RandomKey key = g.next();
  if (count == 0) return chosen;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t row = 1; row <= rows; ++row) {
      std::vector<std::int64_t> others;
      for (std::int64_t b = 0; b < blocks; ++b)
        if (!is_seen_anyway(row, b, blocks)) others.push_back(b);
      const auto have = static_cast<std::int64_t>(others.size());
      for (std::int64_t i = 0; i < count; ++i, ++to) {  // the first places of a shuffle
        const auto words = philox(key, static_cast<std::uint64_t>((h * blocks + row) * count + i));
        const auto at = i + static_cast<std::int64_t>(((std::uint64_t{words[0]} << 32) | words[1]) %
                                                      static_cast<std::uint64_t>(have - i));
        std::swap(others[static_cast<std::size_t>(i)], others[static_cast<std::size_t>(at)]);
        *to = others[static_cast<std::size_t>(i)];
      }
    }
  return chosen;
}

AttentionPattern operator&(const AttentionPattern::Operand& left, const AttentionPattern::Operand& right) {
  const AttentionPattern &a = left.pattern(), &b = right.pattern();
  if (a.sees_all() || b.sees_all()) return a.sees_all() ? b : a;
  check_agree({"AttentionPattern &", left.here()}, *a.pattern_, *b.pattern_);
  return AttentionPattern(kernels::both_patterns(a.pattern_, b.pattern_));
}

AttentionPattern operator|(const AttentionPattern::Operand& left, const AttentionPattern::Operand& right) {
  const AttentionPattern &a = left.pattern(), &b = right.pattern();
  if (a.sees_all() || b.sees_all()) return {};
  check_agree({"AttentionPattern |", left.here()}, *a.pattern_, *b.pattern_);
  return AttentionPattern(kernels::either_pattern(a.pattern_, b.pattern_));
}

}  // namespace attune
