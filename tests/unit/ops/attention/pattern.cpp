// Patterns: each against its rule pair by pair, and attention by random combinations of them against attention with
// the same as a matrix, in values and gradients of both orders.

#include "tests/unit/attention_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

/// What an exception says, behind its type.
std::string message(const std::function<void()>& f) {
  const std::string text = thrown(f);
  return text.substr(text.find(": ") + 2);
}

/// Whether the query at position p sees the key at position j, in example b and head h.
using Rule = std::function<bool(std::int64_t b, std::int64_t h, std::int64_t p, std::int64_t j)>;

/// A pattern beside the rule that it should be.
struct Ruled {
  AttentionPattern pattern;
  Rule rule;
};

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  std::int64_t q = a / b;
  while (q * b > a) --q;
  return q;
}

bool near(std::int64_t block, std::int64_t before, std::int64_t after, std::int64_t p, std::int64_t j) {
  const std::int64_t d = floor_div(p, block) - floor_div(j, block);
  return -after <= d && d <= before;
}

/// Draws patterns for b examples, h heads and n tokens.
struct Draw {
  std::mt19937_64 bits;
  std::int64_t b, h, n;

  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(std::max<std::int64_t>(limit, 1)));
  }
  /// bool [n] or [b, n].
  Tensor mask(std::int64_t one_in) {
    const Shape shape = below(2) == 0 ? Shape{n} : Shape{b, n};
    Values v;
    for (std::int64_t i = 0; i < numel(shape); ++i) v.push_back(below(one_in) == 0);
    return flags(v, shape);
  }
  static bool at(const Plain& m, std::int64_t row, std::int64_t i) {
    return (m.shape.rank() == 1 ? m[{i}] : m[{row, i}]) != 0;
  }

  Ruled of_positions() {
    const std::int64_t l = 1 + below(40), c = 1 + below(l);
    switch (below(6)) {
      case 0: return {AttentionPattern::causal(), [](auto, auto, auto p, auto j) { return j <= p; }};
      case 1: return {AttentionPattern::band(l), [l](auto, auto, auto p, auto j) { return p - j >= 0 && p - j < l; }};
      case 2:
        return {AttentionPattern::sliding_window(2 * l),
                [l](auto, auto, auto p, auto j) { return std::abs(p - j) <= l; }};
      case 3: return {AttentionPattern::strided(l), [l](auto, auto, auto p, auto j) { return (p - j) % l == 0; }};
      case 4:
        return {AttentionPattern::fixed(l, c),
                [l, c](auto, auto, auto p, auto j) { return near(l, 0, 0, p, j) || j % l >= l - c; }};
      default:
        return {AttentionPattern::local_blocks(l, c % 3, c % 2),
                [l, c](auto, auto, auto p, auto j) { return near(l, c % 3, c % 2, p, j); }};
    }
  }

  Ruled of_tokens() {
    const Plain often(mask(2)), seldom(mask(30));
    const auto tensor_of = [](const Plain& x) { return flags(x.v, x.shape); };
    switch (below(5)) {
      case 0:
        return {AttentionPattern::padding(tensor_of(often)),
                [often](auto e, auto, auto, auto j) { return !at(often, e, j); }};
      case 1:
        return {AttentionPattern::seeing_queries(tensor_of(often)),
                [often](auto e, auto, auto p, auto) { return !at(often, e, p); }};
      case 2:
        return {AttentionPattern::global_keys(tensor_of(seldom)),
                [seldom](auto e, auto, auto, auto j) { return at(seldom, e, j); }};
      case 3:
        return {AttentionPattern::global_tokens(tensor_of(seldom)),
                [seldom](auto e, auto, auto p, auto j) { return at(seldom, e, p) || at(seldom, e, j); }};
      default: {
        Plain ids({b, n});
        std::int64_t id = 0;
        for (double& v : ids.v) v = static_cast<double>(below(25) == 0 ? ++id : below(60) == 0 ? 0 : id);
        return {AttentionPattern::documents(tensor(ids.v, ids.shape, int64)), [ids](auto e, auto, auto p, auto j) {
                  return ids[{e, p}] == ids[{e, j}];
                }};
      }
    }
  }

  Ruled of_blocks() {
    const std::int64_t block = 1 + below(20), blocks = (n + block - 1) / block, r = below(3);
    const bool bigbird = blocks >= 2 && below(2) == 0;
    Plain chosen({below(2) == 0 ? 1 : h, bigbird ? blocks - 2 : blocks, r});
    for (double& v : chosen.v) v = static_cast<double>(below(blocks));
    const Rule listed = [=](auto, auto head, auto p, auto j) {
      const std::int64_t row = p / block - (bigbird ? 1 : 0);
      if (row < 0 || row >= chosen.shape[1]) return false;
      for (std::int64_t i = 0; i < r; ++i)
        if (chosen[{chosen.shape[0] == 1 ? 0 : head, row, i}] == static_cast<double>(j / block)) return true;
      return false;
    };
    const Tensor as_tensor = tensor(chosen.v, chosen.shape, int64);
    if (!bigbird) return {AttentionPattern::chosen_blocks(as_tensor, block, n), listed};
    return {AttentionPattern::bigbird(as_tensor, block, n), [=](auto e, auto head, auto p, auto j) {
              const auto is_end = [=](std::int64_t i) { return i / block == 0 || i / block == blocks - 1; };
              return is_end(p) || is_end(j) || near(block, 1, 1, p, j) || listed(e, head, p, j);
            }};
  }

  Ruled one() {
    const std::int64_t kind = below(3);
    return kind == 0 ? of_positions() : kind == 1 ? of_tokens() : of_blocks();
  }
  Ruled combination(std::int64_t depth) {
    if (depth == 0) return one();
    const Ruled x = combination(below(depth)), y = combination(below(depth));
    if (below(2) == 0)
      return {x.pattern & y.pattern,
              [x, y](auto e, auto g, auto p, auto j) { return x.rule(e, g, p, j) && y.rule(e, g, p, j); }};
    return {x.pattern | y.pattern,
            [x, y](auto e, auto g, auto p, auto j) { return x.rule(e, g, p, j) || y.rule(e, g, p, j); }};
  }
};

/// True hides, [b, h, t, s].
Tensor by_rule(const Ruled& x, std::int64_t b, std::int64_t h, std::int64_t t, std::int64_t s) {
  Values v;
  for_indices({b, h, t, s}, [&](const Dims& at) { v.push_back(!x.rule(at[0], at[1], at[2] + s - t, at[3])); });
  return flags(v, {b, h, t, s});
}

Tensor spread(const Tensor& mask, const Shape& shape) { return contiguous(expand(mask, shape)); }

}  // namespace

TEST_CASE("AttentionPattern: matrix and tiles of random combinations are those of their rules") {
  Draw draw{std::mt19937_64(3), 2, 3, 0};
  for (int i = 0; i < 60; ++i) {
    draw.n = 1 + draw.below(170);
    const Ruled x = draw.combination(draw.below(4));
    const std::int64_t s = draw.n, t = 1 + draw.below(s);
    INFO(x.pattern.str(), " ", t, " ", s);
    const Tensor expected = by_rule(x, 2, 3, t, s);
    REQUIRE(same(spread(x.pattern.mask(t, s), {2, 3, t, s}), expected));
    const Tensor tiles = spread(x.pattern.tiles(t, s), {2, 3, (t + 63) / 64, (s + 15) / 16});
    const Plain kinds(tiles), hidden(expected);
    for_indices(kinds.shape, [&](const Dims& at) {
      bool any = false, all = true;
      for (std::int64_t q = 64 * at[2]; q < std::min(64 * at[2] + 64, t); ++q)
        for (std::int64_t k = 16 * at[3]; k < std::min(16 * at[3] + 16, s); ++k)
          (hidden[{at[0], at[1], q, k}] == 0 ? any : all) = hidden[{at[0], at[1], q, k}] == 0;
      CHECK(kinds[at] == (all ? 2 : any ? 1 : 0));
    });
  }
}

TEST_CASE("AttentionPattern: attention by it is attention by its matrix, to second order") {
  Draw draw{std::mt19937_64(5), 2, 4, 0};
  for (int i = 0; i < 40; ++i) {
    const bool groups = i >= 36;  // of keys, in the backward pass
    draw.n = groups ? 400 : 1 + draw.below(i < 30 ? 150 : 420);
    const Ruled x = draw.combination(draw.below(4));
    const std::int64_t s = draw.n, t = groups || draw.below(2) == 0 ? s : 1 + draw.below(s),
                       keys = draw.below(2) == 0 ? 2 : 4, d = groups ? 20 : 5, e = groups ? 24 : 3;
    INFO(x.pattern.str(), " ", t, " ", s, " ", keys);
    const Tensors xs{normal({2, 4, t, d}, 1), normal({2, keys, s, d}, 2), normal({2, keys, s, e}, 3)};
    const Tensor dy = normal({2, 4, t, e}, 4);
    const bool causal = draw.below(4) == 0, drops = draw.below(4) == 0;
    Generator g(7), same_again(7);
    AttentionOptions o{.causal = causal, .dropout = drops ? 0.3 : 0.0, .generator = &g, .grouped_heads = keys != 4};
    AttentionOptions dense = o;
    o.pattern = x.pattern;
    dense.attention_mask = by_rule(x, 2, 4, t, s);
    if (draw.below(2) == 0) {
      o.attention_mask = gt(normal({draw.below(2) == 0 ? 1 : 2, 1, draw.below(2) == 0 ? 1 : t, s}, 11), 0.5);
      dense.attention_mask = logical_or(dense.attention_mask, o.attention_mask);
    }
    dense.generator = &same_again;
    const Tensors found = all_orders(xs, o, dy), expected = all_orders(xs, dense, dy);
    for (std::size_t n = 0; n < found.size(); ++n) {
      INFO(n);
      CHECK(close(found[n], Plain(expected[n]), 1e-10));
    }
  }
}

TEST_CASE("AttentionPattern: beside masks and a bias that takes a gradient; weights; float32") {
  const std::int64_t n = 150;
  const auto pattern = AttentionPattern::band(20) | AttentionPattern::strided(31);
  for (const DType dtype : {float32, float64}) {
    const auto draw = [&](const Shape& shape, std::uint64_t seed) { return to(normal(shape, seed), dtype); };
    const Tensor mask = gt(normal({1, 2, n, n}, 9), 0.8), bias = draw({1, 2, n, n}, 4);
    const Tensors xs{draw({1, 2, n, 8}, 1), draw({1, 2, n, 8}, 2), draw({1, 2, n, 8}, 3), bias};
    const auto run = [&](const Tensor& hidden, const AttentionPattern& p, bool weights) {
      Tensors in;
      for (const Tensor& x : xs) in.push_back(clone(x).requires_grad_());
      const AttentionResult a = scaled_dot_product_attention(
          in[0], in[1], in[2], {.attention_mask = hidden, .bias = in[3], .pattern = p}, weights);
      Tensors all = grad({a.output}, in, {.cotangents = {draw({1, 2, n, 8}, 5)}});
      all.push_back(a.output.detach());
      return all;
    };
    const Tensors expected = run(logical_or(mask, pattern.mask(n, n)), {}, false);
    for (const bool weights : {false, true}) {
      const Tensors found = run(mask, pattern, weights);
      for (std::size_t i = 0; i < found.size(); ++i)
        CHECK(close(found[i], Plain(expected[i]), dtype == float32 ? 1e-4 : 1e-10));
    }
  }
}

TEST_CASE("AttentionPattern: what is hidden may hold NaN; rows that see nothing are zeros") {
  const std::int64_t n = 200;
  Values hidden(static_cast<std::size_t>(n)), blind = hidden;
  for (std::size_t i : {0u, 17u, 100u, 101u, 199u}) hidden[i] = 1;
  for (std::size_t i = 60; i < 140; ++i) blind[i] = 1;
  const auto pattern = AttentionPattern::sliding_window(40) & AttentionPattern::padding(flags(hidden, {n})) &
                       AttentionPattern::seeing_queries(flags(blind, {n}));
  const Tensor at_hidden = flags(hidden, {n, 1}), at_blind = flags(blind, {n, 1});
  for (const DType dtype : {float32, float64}) {
    const auto run = [&](double what) {
      Tensors in;
      for (std::uint64_t i = 0; i < 3; ++i)
        in.push_back(masked_fill(to(normal({1, 2, n, 6}, i), dtype), i == 0 ? at_blind : at_hidden, what)
                         .detach()
                         .requires_grad_());
      const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], {.pattern = pattern}).output;
      Tensors all = grad({y}, in, {.cotangents = {to(normal({1, 2, n, 6}, 8), dtype)}});
      all.push_back(y.detach());
      return all;
    };
    const Tensors clean = run(0);
    CHECK(same(where(at_blind, clean[3], 0), zeros_like(clean[3])));
    CHECK(same(where(at_blind, clean[0], 0), zeros_like(clean[0])));
    CHECK(same(where(at_hidden, clean[1], 0), zeros_like(clean[1])));
    for (const double what : {not_a_number, inf, -inf}) {
      const Tensors found = run(what);
      for (std::size_t i = 0; i < 4; ++i) CHECK(same(found[i], clean[i]));
    }
  }
}

TEST_CASE("AttentionPattern: no queries") {
  for (const auto& pattern : {AttentionPattern::band(20), AttentionPattern::documents(zeros({70}, int64))}) {
    const Tensor q = normal({1, 2, 0, 8}, 1).requires_grad_(), k = normal({1, 2, 70, 8}, 2).requires_grad_();
    const Tensor y = scaled_dot_product_attention(q, k, k, {.pattern = pattern}).output;
    CHECK(y.shape() == q.shape());
    const Tensors dx = grad({y}, {q, k}, {.cotangents = {zeros_like(y)}});
    CHECK(dx[0].shape() == q.shape());
    CHECK(same(dx[1], zeros_like(k)));
  }
}

TEST_CASE("AttentionPattern: what it costs") {
  const auto window = AttentionPattern::sliding_window(512);
  CHECK(window.density(8192, 8192) < 1.2 * 513 / 8192);
  CHECK(window.density(8192, 8192) > 513.0 / 8192);
  Generator g(1);
  const Tensor chosen = AttentionPattern::draw_blocks(2, 3, 64, 8192, g);
  const double blocks = 8192 / 64;
  const double seen = (2 * blocks + (blocks - 2) * 8) / (blocks * blocks);  // less where two of the eight are one
  CHECK(AttentionPattern::bigbird(chosen, 64, 8192).density(8192, 8192) == doctest::Approx(seen).epsilon(0.02));
  CHECK(AttentionPattern().density(100, 100) == 1);
}

TEST_CASE("AttentionPattern: drawn blocks") {
  Generator g(4), again(4);
  const std::int64_t blocks = 12;
  const Tensor chosen = AttentionPattern::draw_blocks(3, 2, 8, 8 * blocks - 3, g);
  REQUIRE(chosen.shape() == Shape{3, blocks - 2, 2});
  CHECK(same(chosen, AttentionPattern::draw_blocks(3, 2, 8, 8 * blocks - 3, again)));
  CHECK(!same(chosen, AttentionPattern::draw_blocks(3, 2, 8, 8 * blocks - 3, again)));
  const Plain c(chosen);
  bool heads_differ = false;
  for_indices({3, blocks - 2}, [&](const Dims& at) {
    const auto row = static_cast<double>(at[1] + 1), a = c[{at[0], at[1], 0}], b = c[{at[0], at[1], 1}];
    CHECK(a != b);
    for (const double x : {a, b}) CHECK((x >= 1 && x < blocks - 1 && std::abs(x - row) > 1));
    heads_differ |= a != c[{0, at[1], 0}];
  });
  CHECK(heads_differ);
}

TEST_CASE("AttentionPattern: as text") {
  const auto strided = (AttentionPattern::band(2) | AttentionPattern::strided(3)) & AttentionPattern::causal();
  CHECK(strided.str() == "(band(2) | strided(3)) & causal");
  CHECK(strided.picture(5, 5) == "#....\n##...\n.##..\n#.##.\n.#.##\n");
  CHECK(strided.picture(2, 5) == "#.##.\n.#.##\n");
  CHECK(AttentionPattern().str() == "all");
  CHECK(AttentionPattern().picture(1, 2) == "##\n");
  const std::string large = AttentionPattern::band(16).picture(1024, 1024);
  CHECK(large.size() == 64 * 65);
  CHECK(large.substr(65, 5) == "++...");
}

TEST_CASE("AttentionPattern: errors") {
  using P = AttentionPattern;
  const Tensor mask = flags({0, 1, 0, 0}, {4});
  CHECK(message([] { P::band(0); }).starts_with("AttentionPattern::band: l = 0 is not in [1, "));
  CHECK(message([] { P::strided(0); }).starts_with("AttentionPattern::strided: l = 0"));
  CHECK(message([] { P::sliding_window(5); }).starts_with("AttentionPattern::sliding_window: w = 5 is not even"));
  CHECK(message([] { P::sliding_window(0); }).starts_with("AttentionPattern::sliding_window: w = 0"));
  CHECK(message([] { P::fixed(4, 5); }).starts_with("AttentionPattern::fixed: c = 5 is not in [1, l = 4]"));
  CHECK(message([] { P::local_blocks(4, -1); }).starts_with("AttentionPattern::local_blocks: before = -1"));
  CHECK(message([] { P::padding(zeros({4})); }).starts_with("AttentionPattern::padding: "));
  CHECK(message([] {
          P::padding(flags({1, 0}, {1, 1, 2}));
        }).starts_with("AttentionPattern::padding: key_padding_mask [1, 1, 2] must be [n] or [b, n]"));
  CHECK_THROWS_AS(P::documents(zeros({4})), DTypeError);
  CHECK_THROWS_AS(P::chosen_blocks(full({1, 2}, 2, int64), 2, 4), ShapeError);
  CHECK(message([] {
          P::chosen_blocks(full({2, 1}, 2, int64), 2, 4);
        }).starts_with("AttentionPattern::chosen_blocks: block 2 is not in [0, 2)"));
  CHECK(message([] {
          P::bigbird(full({1, 1}, 0, int64), 2, 8);
        })
            .starts_with("AttentionPattern::bigbird: chosen [1, 1] must be [h, 2, r] or without the heads: 8 tokens "
                         "are 4 blocks of 2"));
  Generator g(1);
  CHECK(message([&] {
          P::draw_blocks(1, 2, 2, 10, g);
        }).starts_with("AttentionPattern::draw_blocks: count = 2: block 1 of 5 has only 1"));
  // Huge numbers ask for no memory first.
  CHECK(message([&] {
          P::draw_blocks(1, std::int64_t{1} << 39, 2, 14, g);
        }).starts_with("AttentionPattern::draw_blocks: count = 549755813888: block 1 of 7 has only 3"));
  CHECK(message([&] {
          P::draw_blocks(1, 3, 2, 14, g);
        }).starts_with("AttentionPattern::draw_blocks: count = 3: block 2 of 7 has only 2"));
  CHECK(P::draw_blocks(1, 2, 2, 14, g).shape() == Shape{1, 5, 2});
  CHECK(P::draw_blocks(3, std::int64_t{1} << 39, 8, 15, g).numel() == 0);  // no block that would draw
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK(P::draw_blocks(huge, 0, 1, 100, g).numel() == 0);
  for (const std::function<void()>& f :
       std::initializer_list<std::function<void()>>{[&] { P::draw_blocks(1, 3, 1, huge, g); },
                                                    [&] {
                                                      P::chosen_blocks(zeros({huge, 0}, int64), 1, huge);
                                                    },
                                                    [&] {
                                                      P::chosen_blocks(zeros({huge, 1, 0}, int64), 1, 1);
                                                    },
                                                    [&] {
                                                      P::bigbird(zeros({0, 1}, int64), huge / 2, huge);
                                                    }})
    CHECK(refusal<MemoryError>(f).starts_with("AttentionPattern::"));
  CHECK(message([] { P::bigbird(zeros({0, 1}, int64), 4, 0); }).starts_with("AttentionPattern::bigbird: n = 0"));
  CHECK(message([&] {
          P::padding(mask) & P::documents(zeros({5}, int64));
        }).starts_with("AttentionPattern &: `padding` is for 4 tokens and `documents` for 5"));
  CHECK_THROWS_AS(P::padding(flags({0, 1, 1, 0}, {2, 2})) | P::padding(flags({0, 1, 1, 0, 1, 1}, {3, 2})), ShapeError);
  const auto line_of = [&](const std::function<void()>& f) {
    try {
      f();
    } catch (const ShapeError& e) {
      return e.where().str();
    }
    return std::string();
  };
  const P other = P::documents(zeros({5}, int64));
  const std::string next = "pattern.cpp:" + std::to_string(__LINE__ + 1);
  CHECK(line_of([&] { P::padding(mask) & other; }) == next);
  const std::string later = "pattern.cpp:" + std::to_string(__LINE__ + 1);
  CHECK(line_of([&] { P::padding(mask) | other; }) == later);
  const Tensor x = zeros({1, 2, 5, 3});
  const auto attend_by = [&](const P& p) {
    return message([&] { scaled_dot_product_attention(x, x, x, {.pattern = p}); });
  };
  CHECK(attend_by(P::padding(mask))
            .starts_with("scaled_dot_product_attention: the pattern `padding` is for 4 tokens, not for 5 keys"));
  CHECK(attend_by(P::padding(flags({0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 5}))).find("2 examples") != std::string::npos);
  CHECK(attend_by(P::chosen_blocks(zeros({3, 1, 1}, int64), 5, 5)).find("3 heads") != std::string::npos);
  CHECK_THROWS_AS(P::padding(mask).mask(5, 5), ShapeError);
  CHECK_THROWS_AS(P::padding(mask).picture(4, 4, 1), IndexError);
}
