// Which queries see which keys, without a matrix of them: a pattern says of a rectangle of pairs whether none, some or
// all are seen, in a time that does not grow with the rectangle, and of the pairs of a small one each by itself.
//
// Queries and keys are positions of one sequence: of t queries beside s keys, query i stands at i + s - t. Patterns of
// a sequence of their own (`tokens`) are asked about its positions alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autograd/kernels/size.h"
#include "autograd/runtime/memory.h"

namespace attune::kernels {

/// Positions [begin, end).
struct Span {
  Size begin = 0, end = 0;
  Size size() const { return end - begin; }
};

enum class Seen : signed char { none, some, all };

/// What a pattern was made for: 1 row or head stands for any number, 0 tokens for any length.
struct PatternSize {
  Size batch = 1, heads = 1, tokens = 0;
};

class Pattern {
 public:
  Pattern(const PatternSize& of, std::string by_name) : size(of), name(std::move(by_name)) {}
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  virtual ~Pattern() = default;

  /// `some` may also be said of none or all, where it would take long to know. Neither span is empty.
  virtual Seen seen(Size b, Size h, Span queries, Span keys) const = 0;
  /// Bit i of bits[r]: whether query i of the span sees key r of it, for up to 64 queries. Bits beyond are arbitrary.
  virtual void look(Size b, Size h, Span queries, Span keys, std::uint64_t* bits) const = 0;

  const PatternSize size;
  const std::string name;
};

using PatternPtr = std::shared_ptr<const Pattern>;

/// low <= query - key <= high; `unbounded` either way.
inline constexpr Size unbounded = Size{1} << 60;
PatternPtr band_pattern(Size low, Size high, std::string name);
/// Queries and keys a multiple of `stride` apart.
PatternPtr stride_pattern(Size stride, std::string name);
/// Keys in the query's block, up to `before` blocks before it and `after` behind it.
PatternPtr near_blocks_pattern(Size block, Size before, Size after, std::string name);
/// The last `count` keys of each block.
PatternPtr block_ends_pattern(Size block, Size count, std::string name);

enum class Side : signed char { queries, keys };
/// All pairs whose query (or key) is marked: that is `marking` in `given` [batch, tokens].
PatternPtr marks_pattern(Size batch, Size tokens, const bool* given, bool marking, Side side, std::string name);
/// Pairs of one document: `ids` [batch, tokens].
PatternPtr documents_pattern(Size batch, Size tokens, std::vector<std::int64_t> ids, std::string name);
/// Blocks that blocks of queries see: for each head, then block of queries, an ascending list without repetitions, one
/// behind the other in `blocks`; list i is [begins[i], begins[i + 1]) of it.
PatternPtr block_lists_pattern(Size heads, Size tokens, Size block, pool::Vector<Size> begins,
                               pool::Vector<Size> blocks, std::string name);

/// What both show, and what one of them shows. The sizes must agree where neither stands for any.
PatternPtr both_patterns(PatternPtr a, PatternPtr b);
PatternPtr either_pattern(PatternPtr a, PatternPtr b);
/// The first of the positions that a pattern was made for.
PatternPtr first_positions(PatternPtr of, Size tokens);

}  // namespace attune::kernels
