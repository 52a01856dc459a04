// Which queries see which keys: sparse attention that is exact on what is seen, and does not compute the rest.
//
//     const auto pattern = AttentionPattern::sliding_window(512) | AttentionPattern::global_tokens(global);
//     Tensor y = scaled_dot_product_attention(q, k, v, {.pattern = pattern}).output;
//
// Queries and keys are positions of one sequence: of t queries beside s keys, query i stands at p = i + s - t, below
// also the position of a query, beside the position j of a key.
#pragma once

#include <memory>
#include <string>

#include "autograd/tensor/tensor.h"

namespace attune {

class Generator;
namespace kernels {
class Pattern;
}

/// A value: what is seen, by a rule and not by a matrix. Memory is linear in the length, and so is the time of what
/// sees a bounded number of keys. Of the matrix of scores only tiles are computed in which something is seen, 16 keys
/// wide at the least and 64 queries high, forward and backward; AttentionOptions::pattern says when the whole matrix
/// is. Patterns are combined by `&` (what both show) and `|` (what either shows).
/// Those that hold tokens or blocks of a sequence fit that length alone; what is made of [b, n] masks may differ by
/// example, blocks by head.
class AttentionPattern {
 public:
  /// Everything is seen.
  AttentionPattern() = default;

  /// j <= p.
  static AttentionPattern causal();
  /// The last l keys, the query's own among them: 0 <= p - j < l (Child et al. 2019; GPT-3, Brown et al. 2020). Throws
  /// ValueError unless l >= 1, as the next three do for their sizes.
  static AttentionPattern band(std::int64_t l, Here here = Here::current());
  /// |p - j| <= w / 2 (Longformer, Beltagy et al. 2020). Throws ValueError unless w is even and positive.
  static AttentionPattern sliding_window(std::int64_t w, Here here = Here::current());
  /// Every l-th key from the query's own on, both ways: l divides p - j. The strided attention of the Sparse
  /// Transformer (Child et al. 2019) is (band(l) | strided(l)) & causal().
  static AttentionPattern strided(std::int64_t l, Here here = Here::current());
  /// The fixed attention of the Sparse Transformer, without its causality: keys of the query's own block of l, and the
  /// last c of each block. Throws ValueError unless 1 <= c <= l.
  static AttentionPattern fixed(std::int64_t l, std::int64_t c, Here here = Here::current());
  /// Keys of the query's block and of `before` blocks before it and `after` behind it. Throws ValueError unless
  /// block >= 1 and the others are not negative.
  static AttentionPattern local_blocks(std::int64_t block, std::int64_t before = 0, std::int64_t after = 0,
                                       Here here = Here::current());

  // Of a sequence of n tokens. Masks are bool [n] or [b, n]; ShapeError and DTypeError for others.

  /// Keys that are not padding: true hides.
  static AttentionPattern padding(const Tensor& key_padding_mask, Here here = Here::current());
  /// Queries that see, true being those that see nothing.
  static AttentionPattern seeing_queries(const Tensor& blind, Here here = Here::current());
  /// Pairs of the same document: ids [n] or [b, n], int64 or int32, equal within a document.
  static AttentionPattern documents(const Tensor& ids, Here here = Here::current());
  /// Keys that every query sees: true marks.
  static AttentionPattern global_keys(const Tensor& global, Here here = Here::current());
  /// The same, and these tokens see every key themselves.
  static AttentionPattern global_tokens(const Tensor& global, Here here = Here::current());
  /// Blocks of keys by block of queries: chosen [blocks, r] or [h, blocks, r] int64, r blocks of keys for each of the
  /// ceil(n / block) blocks of queries; repetitions count once. Throws ShapeError for another number of blocks and
  /// IndexError for a block that there is not.
  static AttentionPattern chosen_blocks(const Tensor& chosen, std::int64_t block, std::int64_t n,
                                        Here here = Here::current());
  /// BigBird (Zaheer et al. 2020): the first and the last block see and are seen by all; the others see the blocks
  /// beside them, themselves, and those chosen [blocks - 2, r] or [h, blocks - 2, r] for the blocks between.
  static AttentionPattern bigbird(const Tensor& chosen, std::int64_t block, std::int64_t n,
                                  Here here = Here::current());
  /// Drawn for bigbird(): [heads, blocks - 2, count] int64, for each block different ones that it does not see anyway.
  /// Throws ValueError if there are not so many.
  static Tensor draw_blocks(std::int64_t heads, std::int64_t count, std::int64_t block, std::int64_t n, Generator& g,
                            Here here = Here::current());

  /// One side of an operator. It brings the call site along, which an operator cannot take as a default argument.
  class Operand {
   public:
    Operand(const AttentionPattern& pattern, Here here = Here::current()) : pattern_(pattern), here_(here) {}
    const AttentionPattern& pattern() const { return pattern_; }
    Here here() const { return here_; }

   private:
    const AttentionPattern& pattern_;
    Here here_;
  };
  /// Throws ShapeError for patterns of different lengths, examples or heads.
  friend AttentionPattern operator&(const Operand& a, const Operand& b);
  friend AttentionPattern operator|(const Operand& a, const Operand& b);

  /// Whether it is the pattern of no restriction.
  bool sees_all() const { return pattern_ == nullptr; }
  std::int64_t batch() const;   ///< examples it was made for; 1: any number
  std::int64_t heads() const;   ///< 1: any number
  std::int64_t tokens() const;  ///< 0: any length
  /// Of the first n tokens of those that it was made for; a pattern of any length is that already. Throws ValueError if
  /// it was made for fewer.
  AttentionPattern first(std::int64_t n, Here here = Here::current()) const;
  /// Why it does not fit scores [b, h, t, s], as a part of an error's sentence; empty if it does.
  std::string misfit(std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t s) const;

  /// How it was made: "(band(4) | strided(4)) & causal".
  std::string str() const;
  /// A picture in text, of one example and head: a character for each pair, or for each square of pairs if there are
  /// more than 64 a side: # seen, + some of them, . hidden; a query to a line.
  std::string picture(std::int64_t t, std::int64_t s, std::int64_t b = 0, std::int64_t h = 0,
                      Here here = Here::current()) const;
  /// As a matrix, bool [t, s] or [b, h, t, s] if it differs by example or head: true hides.
  Tensor mask(std::int64_t t, std::int64_t s, Here here = Here::current()) const;
  /// What is computed of it: int32 [b, h, ceil(t / 64), ceil(s / 16)], 2 for tiles that are seen whole, 1 for those in
  /// which some pairs are, 0 for those that are skipped.
  Tensor tiles(std::int64_t t, std::int64_t s, Here here = Here::current()) const;
  /// The share of tiles that are not skipped, and so of exact attention's time.
  double density(std::int64_t t, std::int64_t s, Here here = Here::current()) const;

  /// For the kernels; null: everything is seen.
  const std::shared_ptr<const kernels::Pattern>& rule() const { return pattern_; }

 private:
  explicit AttentionPattern(std::shared_ptr<const kernels::Pattern> p) : pattern_(std::move(p)) {}
  std::shared_ptr<const kernels::Pattern> pattern_;
};

}  // namespace attune
