// Transformer blocks and stacks: the residual formulas, chunks, masks, gradients, names.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

nn::TransformerOptions small(bool pre_norm, std::int64_t chunks = 1) {
  return {.d_ff = 5, .dropout = 0, .activation = Activation::gelu, .pre_norm = pre_norm, .ff_chunks = chunks};
}

/// The sublayers of a block with the weights of `state` below `prefix`, in plain operations.
struct Parts {
  const nn::StateDict& w;
  std::string prefix;
  Tensor at(const std::string& name) const { return w.at(prefix + name); }
  Tensor norm(const std::string& name, const Tensor& x) const {
    return layer_norm(x, at(name + ".weight"), at(name + ".bias"));
  }
  Tensor feed(const Tensor& x) const {
    return linear(gelu(linear(x, at("linear1.weight"), at("linear1.bias"))), at("linear2.weight"), at("linear2.bias"));
  }
  Tensor attend(const std::string& name, const Tensor& x, const Tensor& memory, const nn::MultiheadCall& call) const {
    nn::MultiheadAttention m(x.size(2), 2);
    m.to(float64);
    m.load_state_dict({{"in_proj_weight", at(name + ".in_proj_weight")},
                       {"in_proj_bias", at(name + ".in_proj_bias")},
                       {"out_proj.weight", at(name + ".out_proj.weight")},
                       {"out_proj.bias", at(name + ".out_proj.bias")}});
    return m(x, memory, memory, call).output.detach();
  }
};

const Tensor padding = flags({0, 0, 0, 0, 0, 1}, {2, 3});

std::string names(nn::Module& m) {
  std::string all;
  for (const auto& [name, p] : m.state_dict()) all += name + " ";
  return all;
}

}  // namespace

TEST_CASE("TransformerEncoderLayer: pre-norm and post-norm by their formulas") {
  const Tensor x = normal({2, 3, 4});
  for (const bool pre : {false, true}) {
    nn::TransformerEncoderLayer m(4, 2, small(pre));
    randomize(m);
    const nn::StateDict state = m.state_dict();
    const Parts p{state, ""};
    const nn::MultiheadCall call{.causal = true, .key_padding_mask = padding};
    Tensor y;
    if (pre) {
      const Tensor n = p.norm("norm1", x), h = x + p.attend("self_attn", n, n, call);
      y = h + p.feed(p.norm("norm2", h));
    } else {
      const Tensor h = p.norm("norm1", x + p.attend("self_attn", x, x, call));
      y = p.norm("norm2", h + p.feed(h));
    }
    CHECK(close(m(x, call), Plain(y)));
    CHECK(check_gradients(
              m, [&](const Tensors& in) { return Tensors{m(in[0], call)}; }, {normal_leaf({2, 3, 4})},
              /*second_order=*/pre) == "");
  }
}

TEST_CASE("TransformerDecoderLayer: pre-norm and post-norm by their formulas") {
  const Tensor x = normal({2, 4, 4}, 1), memory = normal({2, 3, 4}, 2);
  for (const bool pre : {false, true}) {
    nn::TransformerDecoderLayer m(4, 2, small(pre));
    randomize(m);
    const nn::StateDict state = m.state_dict();
    const Parts p{state, ""};
    const nn::MultiheadCall self{.causal = true}, cross{.key_padding_mask = padding};
    Tensor y;
    if (pre) {
      const Tensor n = p.norm("norm1", x), h = x + p.attend("self_attn", n, n, self);
      const Tensor g = h + p.attend("multihead_attn", p.norm("norm2", h), memory, cross);
      y = g + p.feed(p.norm("norm3", g));
    } else {
      const Tensor h = p.norm("norm1", x + p.attend("self_attn", x, x, self));
      const Tensor g = p.norm("norm2", h + p.attend("multihead_attn", h, memory, cross));
      y = p.norm("norm3", g + p.feed(g));
    }
    CHECK(close(m(x, memory, self, cross), Plain(y)));
    CHECK(same(m(x, memory), m(x, memory, {.causal = true})));  // causal by itself
    CHECK(!close(m(x, memory), Plain(m(x, memory, nn::MultiheadCall{}))));
    CHECK(check_gradients(
              m, [&](const Tensors& in) { return Tensors{m(in[0], in[1], self, cross)}; },
              {normal_leaf({2, 4, 4}, 1), normal_leaf({2, 3, 4}, 2)}, /*second_order=*/false) == "");
  }
}

TEST_CASE("transformer: chunked feed-forward gives the same, forward and backward") {
  for (const bool pre : {false, true})
    for (const std::int64_t chunks : {2, 3, 100}) {
      nn::TransformerEncoderLayer whole(4, 2, small(pre)), cut(4, 2, small(pre, chunks));
      nn::TransformerDecoderLayer whole_decoder(4, 2, small(pre)), cut_decoder(4, 2, small(pre, chunks));
      randomize(whole), randomize(cut), randomize(whole_decoder), randomize(cut_decoder);
      const Tensor x = normal({2, 7, 4}, 1), memory = normal({2, 3, 4}, 2), dy = normal({2, 7, 4}, 3);
      const auto compare = [&](const Tensor& a, nn::Module& of_a, const Tensor& b, nn::Module& of_b) {
        CHECK(close(b, Plain(a), 1e-13));
        const Tensors ga = grad({a}, of_a.parameters(), {.cotangents = {dy}});
        const Tensors gb = grad({b}, of_b.parameters(), {.cotangents = {dy}});
        for (std::size_t i = 0; i < ga.size(); ++i) CHECK(close(gb[i], Plain(ga[i]), 1e-12));
      };
      compare(whole(x), whole, cut(x), cut);
      compare(whole_decoder(x, memory), whole_decoder, cut_decoder(x, memory), cut_decoder);
    }
}

TEST_CASE("transformer: the causal mask keeps the future out") {
  nn::TransformerEncoder m(2, 4, 2, small(true));
  randomize(m);
  const Tensor x = normal({1, 6, 4}), changed = cat({slice(x, 1, 0, 4), normal({1, 2, 4}, 8)}, 1);
  const Tensor a = m(x, {.causal = true}), b = m(changed, {.causal = true});
  CHECK(close(slice(a, 1, 0, 4), Plain(slice(b, 1, 0, 4)), 1e-13));
  CHECK(!close(slice(a, 1, 4), Plain(slice(b, 1, 4)), 1e-3));
  CHECK(!close(slice(m(x), 1, 0, 4), Plain(slice(m(changed), 1, 0, 4)), 1e-3));
  // Padding keys have no influence either.
  const Tensor last = flags({0, 0, 0, 0, 1, 1}, {1, 6});
  CHECK(close(slice(m(x, {.key_padding_mask = last}), 1, 0, 4),
              Plain(slice(m(changed, {.key_padding_mask = last}), 1, 0, 4)), 1e-13));
}

TEST_CASE("transformer: stacks are their layers, with a final norm where asked for") {
  const Tensor x = normal({2, 3, 4}, 1), memory = normal({2, 5, 4}, 2);
  for (const bool pre : {false, true})
    for (const std::optional<bool> final_norm :
         {std::optional<bool>{}, std::optional<bool>{true}, std::optional<bool>{false}}) {
      nn::TransformerOptions o = small(pre);
      o.final_norm = final_norm;
      nn::TransformerEncoder encoder(2, 4, 2, o);
      nn::TransformerDecoder decoder(2, 4, 2, o);
      randomize(encoder), randomize(decoder);
      const nn::StateDict state = encoder.state_dict(), decoder_state = decoder.state_dict();
      const bool has_norm = final_norm.value_or(pre);
      CHECK(state.contains("norm.weight") == has_norm);
      CHECK(decoder_state.contains("norm.weight") == has_norm);
      const auto layer_state = [](const nn::StateDict& all, int i) {
        const std::string prefix = "layers." + std::to_string(i) + ".";
        nn::StateDict out;
        for (const auto& [name, value] : all)
          if (name.starts_with(prefix)) out[name.substr(prefix.size())] = value;
        return out;
      };
      Tensor h = x, g = x;
      for (int i = 0; i < 2; ++i) {
        nn::TransformerEncoderLayer layer(4, 2, o);
        nn::TransformerDecoderLayer decoder_layer(4, 2, o);
        layer.to(float64), decoder_layer.to(float64);
        layer.load_state_dict(layer_state(state, i));
        decoder_layer.load_state_dict(layer_state(decoder_state, i));
        h = layer(h, {.causal = true});
        g = decoder_layer(g, memory);
      }
      if (has_norm) h = Parts{state, ""}.norm("norm", h), g = Parts{decoder_state, ""}.norm("norm", g);
      CHECK(same(encoder(x, {.causal = true}), h));
      CHECK(same(decoder(x, memory), g));
    }
  nn::TransformerEncoder none(0, 4, 2, small(false));
  CHECK(none(x).impl() == x.impl());
}

TEST_CASE("transformer: names, modes, errors") {
  nn::TransformerEncoderLayer encoder(4, 2);
  nn::TransformerDecoderLayer decoder(4, 2);
  const std::string attention =
      "in_proj_bias self_attn.in_proj_weight self_attn.out_proj.bias self_attn.out_proj.weight ";
  CHECK(names(encoder) ==
        "linear1.bias linear1.weight linear2.bias linear2.weight norm1.bias norm1.weight norm2.bias norm2.weight "
        "self_attn." +
            attention);
  CHECK(names(decoder) ==
        "linear1.bias linear1.weight linear2.bias linear2.weight multihead_attn.in_proj_bias "
        "multihead_attn.in_proj_weight multihead_attn.out_proj.bias multihead_attn.out_proj.weight norm1.bias "
        "norm1.weight norm2.bias norm2.weight norm3.bias norm3.weight self_attn." +
            attention);

  Generator g(1), h(1);
  const auto options = [](Generator& from) {
    return nn::TransformerOptions{.d_ff = 8, .dropout = 0.5, .generator = &from};
  };
  nn::TransformerEncoder a(2, 4, 2, options(g)), b(2, 4, 2, options(h));
  b.load_state_dict(a.state_dict());
  const Tensor x = to(normal({2, 3, 4}), float32);
  CHECK(same(a(x), b(x)));
  CHECK(!same(a(x), a(x)));
  a.eval();
  CHECK(same(a(x), a(x)));

  CHECK(thrown([] { nn::TransformerEncoderLayer(5, 2); }) ==
        "ValueError: MultiheadAttention: heads = 2 does not divide d_model = 5");
  CHECK(thrown([] { nn::TransformerEncoderLayer(4, 2, {.d_ff = 0}); }) ==
        "ValueError: Linear: out = 0 must be at least 1");
  CHECK(thrown([] { nn::TransformerEncoderLayer(4, 2, {.ff_chunks = 0}); }) ==
        "ValueError: TransformerEncoderLayer: ff_chunks = 0 must be at least 1");
  CHECK(thrown([] {
          nn::TransformerDecoderLayer(4, 2, {.dropout = 1.5});
        }).starts_with("ValueError: MultiheadAttention: dropout = 1.5"));
  const nn::TransformerOptions mixing{.mechanism = nn::LinformerOptions{.length = 8}};
  const std::string not_causal =
      ": a Linformer cannot be causal: each projected key and value is a mixture of all positions, the future among "
      "them";
  CHECK(thrown([&] { nn::TransformerDecoderLayer(8, 2, mixing); }) ==
        "ValueError: TransformerDecoderLayer" + not_causal);
  for (const int layers : {0, 2})
    CHECK(thrown([&] { nn::TransformerDecoder(layers, 8, 2, mixing); }) ==
          "ValueError: TransformerDecoder" + not_causal);
  CHECK(thrown([&] { nn::TransformerEncoder(2, 8, 2, mixing); }) == "");
  CHECK(thrown([] { nn::TransformerEncoder(-1, 4, 2); }) ==
        "ValueError: TransformerEncoder: layers = -1 must be at least 0");
  CHECK(thrown([&] {
          encoder(zeros({2, 3, 5}));
        }).find("self_attn: multihead_attention: query [2, 3, 5]") != std::string::npos);
}
