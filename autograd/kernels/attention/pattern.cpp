#include "autograd/kernels/attention/pattern.h"

#include <algorithm>

#include "autograd/kernels/attention/attention_tile.h"

namespace attune::kernels {

namespace {

constexpr std::uint64_t every = ~std::uint64_t{0};

/// Bits [begin, end), as far as they are among the 64.
std::uint64_t bits_of(Size begin, Size end) {
  begin = std::max(begin, Size{0});
  end = std::min(end, tile_queries);
  if (begin >= end) return 0;
  return (end - begin == 64 ? every : (std::uint64_t{1} << (end - begin)) - 1) << begin;
}

Size floor_div(Size a, Size b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/// Of how many are so, among `all`.
Seen seen_of(Size count, Size all) { return count == 0 ? Seen::none : count == all ? Seen::all : Seen::some; }

/// A difference from `least` to `most` lies in [low, high].
Seen seen_between(Size least, Size most, Size low, Size high) {
  if (most < low || least > high) return Seen::none;
  return least >= low && most <= high ? Seen::all : Seen::some;
}

class Band final : public Pattern {
 public:
  Band(Size low, Size high, std::string by_name) : Pattern({}, std::move(by_name)), low_(low), high_(high) {}
  Seen seen(Size, Size, Span q, Span k) const override {
    return seen_between(q.begin - (k.end - 1), q.end - 1 - k.begin, low_, high_);
  }
  void look(Size, Size, Span q, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) {
      const Size first = k.begin + r - q.begin;  // the query at the key's place
      bits[r] = bits_of(first + low_, first + high_ + 1);
    }
  }

 private:
  Size low_, high_;
};

class Stride final : public Pattern {
 public:
  Stride(Size stride, std::string by_name) : Pattern({}, std::move(by_name)), stride_(stride) {}
  Seen seen(Size, Size, Span q, Span k) const override {
    const Size least = q.begin - (k.end - 1), most = q.end - 1 - k.begin;
    if (stride_ == 1) return Seen::all;
    if (floor_div(most, stride_) * stride_ < least) return Seen::none;
    return least == most ? Seen::all : Seen::some;
  }
  void look(Size, Size, Span q, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) {
      const Size first = k.begin + r - q.begin;
      bits[r] = 0;
      for (Size i = first - floor_div(first, stride_) * stride_; i < tile_queries; i += stride_)
        bits[r] |= std::uint64_t{1} << i;
    }
  }

 private:
  Size stride_;
};

class NearBlocks final : public Pattern {
 public:
  NearBlocks(Size block, Size before, Size after, std::string by_name)
      : Pattern({}, std::move(by_name)), block_(block), before_(before), after_(after) {}
  Seen seen(Size, Size, Span q, Span k) const override {
    const auto of = [this](Size position) { return floor_div(position, block_); };
    return seen_between(of(q.begin) - of(k.end - 1), of(q.end - 1) - of(k.begin), -after_, before_);
  }
  void look(Size, Size, Span q, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) {
      const Size block = floor_div(k.begin + r, block_);
      bits[r] = bits_of((block - after_) * block_ - q.begin, (block + before_ + 1) * block_ - q.begin);
    }
  }

 private:
  Size block_, before_, after_;
};

class BlockEnds final : public Pattern {
 public:
  BlockEnds(Size block, Size count, std::string by_name)
      : Pattern({}, std::move(by_name)), block_(block), count_(count) {}
  Seen seen(Size, Size, Span, Span k) const override { return seen_of(below(k.end) - below(k.begin), k.size()); }
  void look(Size, Size, Span, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) bits[r] = (k.begin + r) % block_ >= block_ - count_ ? every : 0;
  }

 private:
  /// How many ends are below a position.
  Size below(Size position) const {
    return position / block_ * count_ + std::max(position % block_ - (block_ - count_), Size{0});
  }
  Size block_, count_;
};

class Marks final : public Pattern {
 public:
  Marks(Size batch, Size tokens, const bool* given, bool marking, Side side, std::string by_name)
      : Pattern({.batch = batch, .tokens = tokens}, std::move(by_name)), side_(side) {
    below_.reserve(static_cast<std::size_t>(batch * (tokens + 1)));
    for (Size b = 0; b < batch; ++b) {
      below_.push_back(0);
      for (Size i = 0; i < tokens; ++i) below_.push_back(below_.back() + (given[b * tokens + i] == marking ? 1 : 0));
    }
  }
  Seen seen(Size b, Size, Span q, Span k) const override {
    const Span of = side_ == Side::queries ? q : k;
    const Size* below = row(b);
    return seen_of(below[of.end] - below[of.begin], of.size());
  }
  void look(Size b, Size, Span q, Span k, std::uint64_t* bits) const override {
    const Size* below = row(b);
    const auto marked = [below](Size i) { return below[i + 1] != below[i]; };
    if (side_ == Side::keys) {
      for (Size r = 0; r < k.size(); ++r) bits[r] = marked(k.begin + r) ? every : 0;
      return;
    }
    std::uint64_t word = 0;
    for (Size i = 0; i < q.size(); ++i) word |= std::uint64_t{marked(q.begin + i)} << i;
    std::fill_n(bits, k.size(), word);
  }

 private:
  const Size* row(Size b) const { return below_.data() + (size.batch == 1 ? 0 : b) * (size.tokens + 1); }
  Side side_;
  pool::Vector<Size> below_;  // how many are marked before each position
};

class Documents final : public Pattern {
 public:
  Documents(Size batch, Size tokens, std::vector<std::int64_t> ids, std::string by_name)
      : Pattern({.batch = batch, .tokens = tokens}, std::move(by_name)), ids_(std::move(ids)) {
    // Extremes of ranges: a tree a row, leaves [tokens, 2 tokens), node i over 2 i and 2 i + 1.
    extremes_.resize(2 * ids_.size());
    for (Size b = 0; b < batch; ++b) {
      Extremes* tree = extremes_.data() + 2 * b * tokens;
      for (Size i = 0; i < tokens; ++i) tree[tokens + i] = {id(b, i), id(b, i)};
      for (Size i = tokens - 1; i > 0; --i) tree[i] = joint(tree[2 * i], tree[2 * i + 1]);
    }
  }
  Seen seen(Size b, Size, Span q, Span k) const override {
    const Extremes of_q = extremes(b, q), of_k = extremes(b, k);
    if (of_q.least > of_k.most || of_k.least > of_q.most) return Seen::none;
    return of_q.least == of_q.most && of_k.least == of_k.most ? Seen::all : Seen::some;
  }
  void look(Size b, Size, Span q, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) {
      const std::int64_t own = id(b, k.begin + r);
      bits[r] = 0;
      for (Size i = 0; i < q.size(); ++i) bits[r] |= std::uint64_t{id(b, q.begin + i) == own} << i;
    }
  }

 private:
  struct Extremes {
    std::int64_t least = 0, most = 0;
  };
  static Extremes joint(const Extremes& a, const Extremes& b) {
    return {std::min(a.least, b.least), std::max(a.most, b.most)};
  }
  std::int64_t id(Size b, Size i) const {
    return ids_[static_cast<std::size_t>((size.batch == 1 ? 0 : b) * size.tokens + i)];
  }
  Extremes extremes(Size b, Span of) const {
    const Size n = size.tokens;
    const Extremes* tree = extremes_.data() + (size.batch == 1 ? 0 : b) * 2 * n;
    Extremes all = tree[n + of.begin];
    for (Size l = of.begin + n, r = of.end + n; l < r; l /= 2, r /= 2) {
      if (l % 2 == 1) all = joint(all, tree[l++]);
      if (r % 2 == 1) all = joint(all, tree[--r]);
    }
    return all;
  }
  std::vector<std::int64_t> ids_;
  std::vector<Extremes> extremes_;
};

class BlockLists final : public Pattern {
 public:
  BlockLists(Size heads, Size tokens, Size block, pool::Vector<Size> begins, pool::Vector<Size> blocks,
             std::string by_name)
      : Pattern({.heads = heads, .tokens = tokens}, std::move(by_name)),
        block_(block),
        rows_(pieces(tokens, block)),
        begins_(std::move(begins)),
        blocks_(std::move(blocks)) {}
  Seen seen(Size, Size h, Span q, Span k) const override {
    const Size first = k.begin / block_, last = (k.end - 1) / block_;
    bool any = false, all = true;
    for (Size row = q.begin / block_; row <= (q.end - 1) / block_; ++row) {
      const Size count = position(h, row, last + 1) - position(h, row, first);
      any |= count > 0;
      all &= count == last - first + 1;
    }
    return all ? Seen::all : any ? Seen::some : Seen::none;
  }
  void look(Size, Size h, Span q, Span k, std::uint64_t* bits) const override {
    for (Size r = 0; r < k.size(); ++r) {
      const Size block = (k.begin + r) / block_;
      if (r > 0 && (k.begin + r) % block_ != 0) {
        bits[r] = bits[r - 1];
        continue;
      }
      bits[r] = 0;
      for (Size row = q.begin / block_; row <= (q.end - 1) / block_; ++row)
        if (position(h, row, block + 1) != position(h, row, block))
          bits[r] |= bits_of(row * block_ - q.begin, (row + 1) * block_ - q.begin);
    }
  }

 private:
  /// How many of a row's blocks lie before `block`.
  Size position(Size h, Size row, Size block) const {
    const auto at = static_cast<std::size_t>((size.heads == 1 ? 0 : h) * rows_ + row);
    const Size *begin = blocks_.data() + begins_[at], *end = blocks_.data() + begins_[at + 1];
    return std::lower_bound(begin, end, block) - begin;
  }
  Size block_, rows_;
  pool::Vector<Size> begins_, blocks_;
};

PatternSize joint_size(const PatternSize& a, const PatternSize& b) {
  return {std::max(a.batch, b.batch), std::max(a.heads, b.heads), std::max(a.tokens, b.tokens)};
}

std::string in_product(const std::string& name) { return name.find(" | ") == name.npos ? name : "(" + name + ")"; }

/// Both or either, which differ in what settles a rectangle at once.
template <bool both>
class Combined final : public Pattern {
 public:
  Combined(PatternPtr a, PatternPtr b)
      : Pattern(joint_size(a->size, b->size),
                both ? in_product(a->name) + " & " + in_product(b->name) : a->name + " | " + b->name),
        a_(std::move(a)),
        b_(std::move(b)) {}
  Seen seen(Size b, Size h, Span q, Span k) const override {
    const Seen x = a_->seen(b, h, q, k);
    if (x == settles_) return x;
    const Seen y = b_->seen(b, h, q, k);
    if (y == settles_) return y;
    return x == y ? x : Seen::some;
  }
  void look(Size b, Size h, Span q, Span k, std::uint64_t* bits) const override {
    a_->look(b, h, q, k, bits);
    constexpr Size most = 32;
    std::uint64_t other[most];
    for (Size r = 0; r < k.size(); r += most) {
      const Span some{k.begin + r, std::min(k.begin + r + most, k.end)};
      b_->look(b, h, q, some, other);
      for (Size i = 0; i < some.size(); ++i) bits[r + i] = both ? bits[r + i] & other[i] : bits[r + i] | other[i];
    }
  }

 private:
  static constexpr Seen settles_ = both ? Seen::none : Seen::all;
  PatternPtr a_, b_;
};

class First final : public Pattern {
 public:
  First(PatternPtr of, Size tokens)
      : Pattern({of->size.batch, of->size.heads, tokens}, "the first " + std::to_string(tokens) + " of " + of->name),
        of_(std::move(of)) {}
  Seen seen(Size b, Size h, Span q, Span k) const override { return of_->seen(b, h, q, k); }
  void look(Size b, Size h, Span q, Span k, std::uint64_t* bits) const override { of_->look(b, h, q, k, bits); }

 private:
  PatternPtr of_;
};

}  // namespace

PatternPtr band_pattern(Size low, Size high, std::string name) {
  return std::make_shared<Band>(low, high, std::move(name));
}
PatternPtr stride_pattern(Size stride, std::string name) { return std::make_shared<Stride>(stride, std::move(name)); }
PatternPtr near_blocks_pattern(Size block, Size before, Size after, std::string name) {
  return std::make_shared<NearBlocks>(block, before, after, std::move(name));
}
PatternPtr block_ends_pattern(Size block, Size count, std::string name) {
  return std::make_shared<BlockEnds>(block, count, std::move(name));
}
PatternPtr marks_pattern(Size batch, Size tokens, const bool* given, bool marking, Side side, std::string name) {
  return std::make_shared<Marks>(batch, tokens, given, marking, side, std::move(name));
}
PatternPtr documents_pattern(Size batch, Size tokens, std::vector<std::int64_t> ids, std::string name) {
  return std::make_shared<Documents>(batch, tokens, std::move(ids), std::move(name));
}
PatternPtr block_lists_pattern(Size heads, Size tokens, Size block, pool::Vector<Size> begins,
                               pool::Vector<Size> blocks, std::string name) {
  return std::make_shared<BlockLists>(heads, tokens, block, std::move(begins), std::move(blocks), std::move(name));
}
PatternPtr both_patterns(PatternPtr a, PatternPtr b) {
  return std::make_shared<Combined<true>>(std::move(a), std::move(b));
}
PatternPtr either_pattern(PatternPtr a, PatternPtr b) {
  return std::make_shared<Combined<false>>(std::move(a), std::move(b));
}

PatternPtr first_positions(PatternPtr of, Size tokens) { return std::make_shared<First>(std::move(of), tokens); }

}  // namespace attune::kernels
