// Attention by any mechanism: each behind the one interface is what it is by itself; blocks take it as an option.

#include "autograd/tape/checkpoint.h"
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

constexpr std::int64_t n = 12, heads = 2, d = 3;

std::vector<nn::AttentionMechanism> mechanisms() {
  return {{},
          AttentionPattern::sliding_window(4),
          LocalOptions{.chunk = 4},
          LshOptions{.hashes = 2, .chunk = 4},
          LinearAttentionOptions{},
          nn::PerformerOptions{.features = 5},
          nn::LinformerOptions{.length = n, .projected = 3}};
}

bool can_be_causal(const nn::AttentionMechanism& m) { return m.linformer() == nullptr; }

/// The same without the interface.
Tensor directly(nn::HeadsAttention& m, const Tensor& q, const Tensor& k, const Tensor& v, bool causal,
                const Tensor& hidden) {
  const auto swapped = [](const Tensor& x) { return permute(x, {0, 2, 1, 3}); };
  const nn::AttentionMechanism& given = m.mechanism;
  if (given.local()) return local_attention(q, k, v, {.chunk = 4, .causal = causal}, hidden);
  if (given.linear()) return nn::LinearAttention({.causal = causal})(q, k, v, hidden);
  if (given.lsh()) {
    LshOptions o = *given.lsh();
    o.causal = causal;
    Generator g(77);
    const Tensor buckets = lsh_buckets(q, lsh_rotations(o, q.size(0), heads, d, n, q.dtype(), g), o, hidden);
    return lsh_attention(q, v, buckets, o, hidden);
  }
  for (const auto& [path, child] : m.named_modules()) {
    if (auto* p = dynamic_cast<nn::PerformerAttention*>(child)) {
      p->options.causal = causal;
      return (*p)(q, k, v, hidden);
    }
    if (auto* l = dynamic_cast<nn::LinformerAttention*>(child)) return (*l)(q, k, v, hidden);
  }
  const Tensor mask = hidden.defined() ? reshape(hidden, {q.size(0), 1, 1, n}) : Tensor();
  return swapped(scaled_dot_product_attention(swapped(q), swapped(k), swapped(v),
                                              {.attention_mask = mask,
                                               .causal = causal,
                                               .pattern = given.pattern() ? *given.pattern() : AttentionPattern()})
                     .output);
}

}  // namespace

TEST_CASE("HeadsAttention: each mechanism is what it is by itself") {
  const Tensor q = normal({2, n, heads, d}, 1), k = normal({2, n, heads, d}, 2), v = normal({2, n, heads, d}, 3);
  Values hides(2 * n);
  for (const std::size_t i : {9, 10, 11, 23}) hides[i] = 1;
  for (const auto& given : mechanisms())
    for (const bool causal : {false, true})
      for (const bool masked : {false, true}) {
        INFO(given.name(), causal, masked);
        nn::HeadsAttention m(heads, d, given);
        m.to(float64);
        const Tensor hidden = masked ? flags(hides, {2, n}) : Tensor();
        const nn::HeadsCall call{.causal = causal, .key_padding_mask = hidden};
        if (causal && !can_be_causal(given)) {
          CHECK(thrown([&] { m(q, k, v, call); }) ==
                "ValueError: heads_attention: a Linformer cannot be causal: each projected key and value is a mixture "
                "of all positions, the future among them");
          continue;
        }
        default_generator().seed(77);
        const Tensor y = m(q, k, v, call);
        CHECK(same(y, directly(m, q, k, v, causal, hidden)));
        if (!causal) continue;
        // The future moves nothing.
        Tensors xs{clone(q).requires_grad_(), clone(k).requires_grad_(), clone(v).requires_grad_()};
        default_generator().seed(77);
        const Tensor part = slice(m(xs[0], xs[1], xs[2], call), 1, 0, 6);
        for (const Tensor& g : grad({sum(square(part))}, xs, {.allow_unused = true}))
          if (g.defined()) CHECK(same(slice(g, 1, 6), zeros_like(slice(g, 1, 6))));
      }
}

TEST_CASE("HeadsAttention: no examples and no tokens give empty results; masks that do not fit are refused alike") {
  for (const nn::AttentionMechanism& given : mechanisms()) {
    INFO(given.name());
    const nn::HeadsAttention m(heads, d, given);
    for (const auto& [b, length] : {std::pair{0, 5}, {2, 0}, {0, 0}})
      for (const bool causal : {false, true})
        for (const bool masked : {false, true}) {
          if (causal && !can_be_causal(given)) continue;
          Tensors xs;
          for (int i = 0; i < 3; ++i) xs.push_back(zeros({b, length, heads, d}).requires_grad_());
          const Tensor hidden = masked ? zeros({b, length}, boolean) : Tensor();
          const Tensor y = m(xs[0], xs[1], xs[2], {.causal = causal, .key_padding_mask = hidden});
          CHECK(y.shape() == Shape{b, length, heads, d});
          sum(y).backward();
        }
    const Tensor x = zeros({2, 5, heads, d});
    CHECK(thrown([&] {
            m(x, x, x, {.key_padding_mask = zeros({2, 4}, boolean)});
          }).find(": key_padding_mask [2, 4] must be ") != std::string::npos);
    CHECK(thrown([&] { m(x, x, x, {.key_padding_mask = zeros({2, 5})}); }).starts_with("DTypeError: "));
  }
}

TEST_CASE("MultiheadAttention and Transformer blocks take a mechanism as an option") {
  const Tensor x = normal({2, n, 6}, 1);
  for (const auto& given : mechanisms()) {
    INFO(given.name());
    nn::MultiheadAttention m(6, heads, {.mechanism = given});
    randomize(m);
    CHECK(Shape(m.state_dict().at("in_proj_weight").shape()) == Shape{given.shares_keys() ? 12 : 18, 6});
    const nn::MultiheadCall call{.causal = can_be_causal(given)};
    default_generator().seed(5);
    const Tensor y = m(x, call).output;
    CHECK(y.shape() == x.shape());
    // From the projections by hand.
    const nn::StateDict w = m.state_dict();
    const auto rows = [&](std::int64_t i) {
      const Tensor part = linear(x, slice(w.at("in_proj_weight"), 0, 6 * i, 6 * i + 6),
                                 slice(w.at("in_proj_bias"), 0, 6 * i, 6 * i + 6));
      return reshape(part, {2, n, heads, d});
    };
    nn::HeadsAttention inside(heads, d, given);
    inside.to(float64);
    nn::StateDict below;
    for (const auto& [name, value] : w)
      if (name.starts_with("mechanism.")) below[name.substr(10)] = value;
    inside.load_state_dict(below);
    default_generator().seed(5);
    const Tensor q = rows(0), k = given.shares_keys() ? q : rows(1), v = rows(given.shares_keys() ? 1 : 2);
    const Tensor joined = flatten(inside(q, k, v, {.causal = call.causal}), 2, 3);
    CHECK(close(y, Plain(linear(joined, w.at("out_proj.weight"), w.at("out_proj.bias"))), 1e-12));

    nn::TransformerEncoder blocks(2, 6, heads, {.d_ff = 8, .dropout = 0.1, .pre_norm = true, .mechanism = given});
    blocks.to(float64);
    const Tensors leaves{clone(x).requires_grad_()};
    Tensors found = grad({sum(blocks(leaves[0], call))}, leaves);
    CHECK(all(eq(found[0] - found[0], 0)));
    // Run again in the backward pass, it is the same function.
    blocks.requires_grad_(false);
    const auto twice = [&](bool again) {
      default_generator().seed(9);
      Tensor in = clone(x).requires_grad_();
      const Tensor out =
          again ? checkpoint([&](const Tensors& t) { return Tensors{blocks(t[0], call)}; }, {in})[0] : blocks(in, call);
      return grad({sum(square(out))}, {in})[0];
    };
    CHECK(close(twice(true), Plain(twice(false)), 1e-12));
  }
}

TEST_CASE("mechanisms: the weights of exact attention fit, but for LSH's keys") {
  nn::TransformerEncoder exact(1, 6, heads, {.d_ff = 8});
  for (const auto& given : mechanisms()) {
    nn::TransformerEncoder other(1, 6, heads, {.d_ff = 8, .mechanism = given});
    const nn::LoadReport r = other.load_state_dict(exact.state_dict(), {.strict = false, .skip_misshaped = true});
    CHECK(r.unexpected.empty());
    CHECK(r.misshaped.size() == (given.shares_keys() ? 2 : 0));
    for (const std::string& name : r.missing) CHECK(name.find(".mechanism.") != std::string::npos);
  }
}

TEST_CASE("mechanisms: errors, at construction where they can be known") {
  const auto made = [](const nn::AttentionMechanism& m) {
    return thrown([&] { nn::TransformerEncoderLayer layer(6, 2, {.mechanism = m}); });
  };
  CHECK(made(LocalOptions{.chunk = 0}) == "ValueError: HeadsAttention: chunk = 0 is not in [1, 2147483647]");
  CHECK(made(LshOptions{.buckets = {3}}) == "ValueError: HeadsAttention: buckets must be even and positive, got [3]");
  CHECK(made(nn::PerformerOptions{.features = -1}) ==
        "ValueError: PerformerAttention: features = -1 must be at least 0");
  CHECK(made(nn::LinformerOptions{}) == "ValueError: LinformerAttention: length = 0 must be at least 1");
  CHECK(made(nn::LinformerOptions{.length = 9, .causal = true})
            .starts_with("ValueError: LinformerAttention: attention "
                         "cannot be causal"));
  CHECK(thrown([] { nn::MultiheadAttention m(8, 4, {.key_heads = 2, .mechanism = LinearAttentionOptions{}}); }) ==
        "ValueError: MultiheadAttention: key_heads = 2 does not go with linear attention");
  CHECK(thrown([] { nn::MultiheadAttention m(8, 4, {.zero_attention = true, .mechanism = LocalOptions{}}); }) ==
        "ValueError: MultiheadAttention: zero_attention does not go with local attention");
  const AttentionPattern three = AttentionPattern::chosen_blocks(zeros({3, 2, 1}, int64), 2, 4);
  CHECK(made(three) == "ValueError: MultiheadAttention: the pattern is made for 3 heads, not for 2");
  nn::MultiheadAttention m(6, 2, {.mechanism = LinearAttentionOptions{}});
  const Tensor x = zeros({1, 4, 6});
  CHECK(thrown([&] {
          m(x, {.attention_mask = zeros({4, 4}, boolean)});
        }) == "ValueError: multihead_attention: linear attention has no scores of pairs: it takes no attention_mask");
  CHECK(thrown([&] { m(x, {.need_weights = true}); }) ==
        "ValueError: multihead_attention: linear attention has no scores of pairs: it takes no need_weights");
  nn::KeyValueCache cache;
  nn::MultiheadAttention(6, 2).append(x, x, cache);
  CHECK(thrown([&] { m.append(x, x, cache); }) == "ValueError: MultiheadAttention: no cache with linear attention");
  CHECK(thrown([&] { m.step(x, cache, {}); }) == "ValueError: MultiheadAttention: no cache with linear attention");
  const nn::HeadsAttention heads(2, 4, LinearAttentionOptions{});
  const Tensor four = zeros({1, 5, 2, 4}), three_heads = zeros({1, 5, 3, 4}), wider = zeros({1, 5, 2, 5});
  CHECK(thrown([&] { heads(three_heads, three_heads, three_heads); }) ==
        "ShapeError: heads_attention: q [1, 5, 3, 4] must be [batch, length, 2, 4]");
  CHECK(thrown([&] { heads(four, wider, four); }) ==
        "ShapeError: heads_attention: k [1, 5, 2, 5] must be [batch, length, 2, 4]");
  CHECK(thrown([] {
          nn::LinformerAttention bad(-1, {.length = 8, .projected = 4, .sharing = nn::LinformerSharing::none});
        }) == "ValueError: LinformerAttention: heads = -1 must be at least 1");
}
