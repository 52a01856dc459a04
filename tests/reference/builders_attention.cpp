// Attention beyond the exact one, as published repositories have it: fast-transformers' Linear Transformer, lucidrains'
// Performer and Linformer.

#include "tests/reference/builders.h"

namespace attune::tests {

namespace {

using std::int64_t;

constexpr nn::LinearOptions no_bias{.bias = false};

Tensor split(const Tensor& x, int64_t heads) { return reshape(x, {x.size(0), x.size(1), heads, x.size(2) / heads}); }

Built features_of_elu(Config& c, bool causal) {
  c.get<int64_t>("query_dimensions");
  c.expect("feature_map", "elu(x)+1");
  auto m = std::make_unique<nn::LinearAttention>(
      LinearAttentionOptions{.causal = causal, .epsilon = c.get<double>("eps", 1e-6)});
  const auto lengths = c.get<std::vector<int64_t>>("key_lengths", {});
  auto run = [&m = *m, lengths](Inputs& in) -> Tensors {
    const Tensor keys = in["keys"];
    Tensor valid = in.any({"key_lengths"}), hidden;
    if (!valid.defined() && !lengths.empty()) valid = index_tensor(lengths);
    if (valid.defined()) hidden = ge(arange(keys.size(1)), unsqueeze(valid, 1));
    return {m(in["queries"], keys, in["values"], hidden)};
  };
  return {std::move(m), run};
}

nn::PerformerOptions performer_options(Config& c) {
  const std::map<std::string, Activation> activations{
      {"relu", Activation::relu}, {"gelu", Activation::gelu}, {"sigmoid", Activation::sigmoid}};
  const auto f = activations.find(c.get<std::string>("kernel_fn", "relu"));
  if (f == activations.end()) c.fail("kernel_fn", "not understood");
  nn::PerformerOptions o = nn::PerformerOptions::lucidrains();
  o.features = c.get<int64_t>("nb_features", 0);
  o.kernel =
      c.get<bool>("generalized_attention", false) ? nn::PerformerKernel::generalized : nn::PerformerKernel::softmax;
  o.activation = f->second;
  o.causal = c.get<bool>("causal", false);
  c.get<int64_t>("ortho_scaling", 0);  // of features that are drawn; a case has its own
  c.get<int64_t>("feature_redraw_interval", 1000);
  c.expect("no_projection", false);
  return o;
}

/// Between [batch, heads, length, dim] and [batch, length, heads, dim].
Tensor swapped(const Tensor& x) { return permute(x, {0, 2, 1, 3}); }

/// Attention with its projections, under their published names.
struct PerformerSelfAttention : nn::Module {
  PerformerSelfAttention(int64_t dim, int64_t h, int64_t head, bool in_bias, bool out_bias,
                         const nn::PerformerOptions& o)
      : heads(h),
        fast(child<nn::PerformerAttention>("fast_attention", head, o)),
        to_q(child<nn::Linear>("to_q", dim, h * head, nn::LinearOptions{.bias = in_bias})),
        to_k(child<nn::Linear>("to_k", dim, h * head, nn::LinearOptions{.bias = in_bias})),
        to_v(child<nn::Linear>("to_v", dim, h * head, nn::LinearOptions{.bias = in_bias})),
        to_out(child<nn::Linear>("to_out", h * head, dim, nn::LinearOptions{.bias = out_bias})) {}
  Tensor operator()(const Tensor& x, const Tensor& context, const Tensor& hidden) const {
    return to_out(
        flatten(fast(split(to_q(x), heads), split(to_k(context), heads), split(to_v(context), heads), hidden), 2, 3));
  }
  int64_t heads;
  nn::PerformerAttention& fast;
  nn::Linear &to_q, &to_k, &to_v, &to_out;
};

struct LinformerSelfAttention : nn::LinformerAttention {
  LinformerSelfAttention(int64_t dim, int64_t h, int64_t head, bool one_key_head, const nn::LinformerOptions& o)
      : LinformerAttention(h, o),
        heads(h),
        key_heads(one_key_head ? 1 : h),
        to_q(child<nn::Linear>("to_q", dim, h * head, no_bias)),
        to_k(child<nn::Linear>("to_k", dim, key_heads * head, no_bias)),
        to_v(o.sharing == nn::LinformerSharing::key_value ? nullptr
                                                          : &child<nn::Linear>("to_v", dim, key_heads * head, no_bias)),
        to_out(child<nn::Linear>("to_out", h * head, dim)) {}
  Tensor attend(const Tensor& x, const Tensor& context) const {
    const Tensor k = split(to_k(context), key_heads), v = to_v ? split((*to_v)(context), key_heads) : k;
    return to_out(flatten((*this)(split(to_q(x), heads), k, v), 2, 3));
  }
  int64_t heads, key_heads;
  nn::Linear &to_q, &to_k;
  nn::Linear* to_v;
  nn::Linear& to_out;
};

}  // namespace

Built linear_attention_layer(Config& c) { return features_of_elu(c, false); }
Built causal_linear_attention_layer(Config& c) { return features_of_elu(c, true); }

Built fast_attention_layer(Config& c) {
  auto m = std::make_unique<nn::PerformerAttention>(c.integer("dim_heads"), performer_options(c));
  auto run = [&m = *m](Inputs& in) -> Tensors {
    return {swapped(m(swapped(in["q"]), swapped(in["k"]), swapped(in["v"])))};
  };
  return {std::move(m), run};
}

Built performer_self_attention_layer(Config& c) {
  c.expect("local_heads", 0);
  c.expect("dropout", 0.0);
  auto m = std::make_unique<PerformerSelfAttention>(c.integer("dim"), c.get<int64_t>("heads", 8),
                                                    c.get<int64_t>("dim_head", 64), c.get<bool>("qkv_bias", false),
                                                    c.get<bool>("attn_out_bias", true), performer_options(c));
  auto run = [&m = *m](Inputs& in) -> Tensors {
    const Tensor x = in["x"], context = in.any({"context"}),
                 shown = in.any({context.defined() ? "context_mask" : "mask"});
    return {m(x, context.defined() ? context : x, shown.defined() ? logical_not(shown) : Tensor())};
  };
  return {std::move(m), run};
}

Built linformer_self_attention_layer(Config& c) {
  const int64_t dim = c.integer("dim"), heads = c.get<int64_t>("heads", 8);
  const bool shared = c.get<bool>("share_kv", false);
  const nn::LinformerOptions o{.length = c.integer("seq_len"),
                               .projected = c.get<int64_t>("k", 256),
                               .sharing = shared ? nn::LinformerSharing::key_value : nn::LinformerSharing::heads,
                               .dropout = c.get<double>("dropout", 0)};
  auto m = std::make_unique<LinformerSelfAttention>(dim, heads, c.get<int64_t>("dim_head", dim / heads),
                                                    c.get<bool>("one_kv_head", false), o);
  auto run = [&m = *m](Inputs& in) -> Tensors {
    const Tensor x = in["x"], context = in.any({"context"});
    return {m.attend(x, context.defined() ? context : x)};
  };
  return {std::move(m), run};
}

}  // namespace attune::tests
