// BERT and T5 as a user of PyTorch's C++ library writes them, under the published names; attune_models.cpp is the other
// side.

#include "bench/torch/torch_common.h"

namespace F = torch::nn::functional;
namespace nn = torch::nn;

namespace bench::torch_side {

namespace {

constexpr auto s = bench::text;

nn::LayerNorm layer_norm(double eps) { return nn::LayerNorm(nn::LayerNormOptions({s.d}).eps(eps)); }
nn::Linear without_bias(std::int64_t in, std::int64_t out) {
  return nn::Linear(nn::LinearOptions(in, out).bias(false));
}

Tensor in_heads(const Tensor& x) { return x.view({x.size(0), x.size(1), s.heads, s.head_dim()}).transpose(1, 2); }
Tensor from_heads(const Tensor& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), s.d}); }

// ---- BERT

struct BertLayerImpl : nn::Module {
  BertLayerImpl() {
    query = register_module("attention_self_query", nn::Linear(s.d, s.d));
    key = register_module("attention_self_key", nn::Linear(s.d, s.d));
    value = register_module("attention_self_value", nn::Linear(s.d, s.d));
    attention_output = register_module("attention_output_dense", nn::Linear(s.d, s.d));
    attention_norm = register_module("attention_output_LayerNorm", layer_norm(1e-12));
    up = register_module("intermediate_dense", nn::Linear(s.d, s.d_ff));
    down = register_module("output_dense", nn::Linear(s.d_ff, s.d));
    norm = register_module("output_LayerNorm", layer_norm(1e-12));
  }
  Tensor forward(const Tensor& x) {
    const Tensor scores = torch::matmul(in_heads(query(x)), in_heads(key(x)).transpose(-2, -1));
    const Tensor p = torch::softmax(scores / std::sqrt(double(s.head_dim())), -1);
    const Tensor attended = attention_output(from_heads(torch::matmul(p, in_heads(value(x)))));
    const Tensor h = attention_norm(x + attended);
    return norm(h + down(torch::gelu(up(h))));
  }
  nn::Linear query{nullptr}, key{nullptr}, value{nullptr}, attention_output{nullptr}, up{nullptr}, down{nullptr};
  nn::LayerNorm attention_norm{nullptr}, norm{nullptr};
};
TORCH_MODULE(BertLayer);

struct Bert : nn::Module {
  Bert() {
    words = register_module("bert_embeddings_word_embeddings", nn::Embedding(s.vocabulary, s.d));
    positions = register_module("bert_embeddings_position_embeddings", nn::Embedding(s.length, s.d));
    types = register_module("bert_embeddings_token_type_embeddings", nn::Embedding(2, s.d));
    norm = register_module("bert_embeddings_LayerNorm", layer_norm(1e-12));
    for (std::int64_t i = 0; i < s.layers; ++i) layers->push_back(BertLayer());
    register_module("bert_encoder_layer", layers);
    pooler = register_module("bert_pooler_dense", nn::Linear(s.d, s.d));
    bias = register_parameter("cls_predictions_bias", torch::zeros({s.vocabulary}));
    transform = register_module("cls_predictions_transform_dense", nn::Linear(s.d, s.d));
    transform_norm = register_module("cls_predictions_transform_LayerNorm", layer_norm(1e-12));
    next_sentence = register_module("cls_seq_relationship", nn::Linear(s.d, 2));
  }
  template <class Part>
  Tensor loss(const Part& part) {
    const Tensor t = part(tokens);
    Tensor x = norm(words(t) + types(part(token_types)) + positions->weight.narrow(0, 0, t.size(1)));
    for (auto& layer : *layers) x = layer->as<BertLayer>()->forward(x);
    const Tensor logits = F::linear(transform_norm(torch::gelu(transform(x))), words->weight, bias);
    const Tensor next = next_sentence(torch::tanh(pooler(x.select(1, 0))));
    return F::cross_entropy(logits.flatten(0, 1), part(word_targets).flatten()) + F::cross_entropy(next, part(follows));
  }

  nn::Embedding words{nullptr}, positions{nullptr}, types{nullptr};
  nn::LayerNorm norm{nullptr}, transform_norm{nullptr};
  nn::ModuleList layers;
  nn::Linear pooler{nullptr}, transform{nullptr}, next_sentence{nullptr};
  Tensor bias;
  Tensor tokens = given_classes("tokens", {s.batch, s.length}, s.vocabulary);
  Tensor token_types = given_classes("types", {s.batch, s.length}, 2);
  Tensor word_targets =
      torch::tensor(bench::masked_classes("words", s.tokens(), s.vocabulary)).view({s.batch, s.length});
  Tensor follows = given_classes("follows", {s.batch}, 2);
};

// ---- T5

struct RmsNormImpl : nn::Module {
  RmsNormImpl() { weight = register_parameter("weight", torch::ones({s.d})); }
  Tensor forward(const Tensor& x) { return weight * (x * torch::rsqrt(x.pow(2).mean(-1, true) + 1e-6)); }
  Tensor weight;
};
TORCH_MODULE(RmsNorm);

struct T5AttentionImpl : nn::Module {
  explicit T5AttentionImpl(bool with_positions) {
    q = register_module("q", without_bias(s.d, s.d));
    k = register_module("k", without_bias(s.d, s.d));
    v = register_module("v", without_bias(s.d, s.d));
    o = register_module("o", without_bias(s.d, s.d));
    if (with_positions) positions = register_module("relative_attention_bias", nn::Embedding(32, s.heads));
  }
  /// `bias` is added to the scores, which are not divided; undefined: nothing is.
  Tensor forward(const Tensor& x, const Tensor& memory, const Tensor& bias) {
    Tensor scores = torch::matmul(in_heads(q(x)), in_heads(k(memory)).transpose(-2, -1));
    if (bias.defined()) scores = scores + bias;
    return o(from_heads(torch::matmul(torch::softmax(scores, -1), in_heads(v(memory)))));
  }
  nn::Linear q{nullptr}, k{nullptr}, v{nullptr}, o{nullptr};
  nn::Embedding positions{nullptr};
};
TORCH_MODULE(T5Attention);

struct T5BlockImpl : nn::Module {
  T5BlockImpl(bool decoder, bool with_positions) {
    norm = register_module("layer_0_layer_norm", RmsNorm());
    attention = register_module("layer_0_SelfAttention", T5Attention(with_positions));
    if (decoder) {
      cross_norm = register_module("layer_1_layer_norm", RmsNorm());
      cross_attention = register_module("layer_1_EncDecAttention", T5Attention(false));
    }
    const std::string last = decoder ? "layer_2_" : "layer_1_";
    feed_forward_norm = register_module(last + "layer_norm", RmsNorm());
    wi = register_module(last + "DenseReluDense_wi_0", without_bias(s.d, s.d_ff));
    up = register_module(last + "DenseReluDense_wi_1", without_bias(s.d, s.d_ff));
    wo = register_module(last + "DenseReluDense_wo", without_bias(s.d_ff, s.d));
  }
  Tensor forward(Tensor x, const Tensor& bias, const Tensor& memory) {
    const Tensor y = norm(x);
    x = x + attention(y, y, bias);
    if (!cross_attention.is_empty()) x = x + cross_attention(cross_norm(x), memory, Tensor());
    const Tensor z = feed_forward_norm(x);
    return x + wo(torch::gelu(wi(z), "tanh") * up(z));
  }
  RmsNorm norm{nullptr}, cross_norm{nullptr}, feed_forward_norm{nullptr};
  T5Attention attention{nullptr}, cross_attention{nullptr};
  nn::Linear wi{nullptr}, up{nullptr}, wo{nullptr};
};
TORCH_MODULE(T5Block);

/// Of each query and key. As published, in single precision.
Tensor position_buckets(std::int64_t n, bool bidirectional) {
  const Tensor places = torch::arange(n);
  const Tensor relative = places.unsqueeze(0) - places.unsqueeze(1);
  const std::int64_t buckets = bidirectional ? 16 : 32, exact = buckets / 2;
  const Tensor distance = bidirectional ? relative.abs() : (-relative).clamp_min(0);
  const Tensor share = torch::log(distance.to(torch::kFloat) / double(exact)) / std::log(128.0 / double(exact));
  const Tensor far = (exact + (share * double(buckets - exact)).to(torch::kInt64)).clamp_max(buckets - 1);
  const Tensor bucket = torch::where(distance < exact, distance, far);
  return bidirectional ? bucket + (relative > 0).to(torch::kInt64) * buckets : bucket;
}

struct T5StackImpl : nn::Module {
  explicit T5StackImpl(bool decodes) : decoder(decodes) {
    for (std::int64_t i = 0; i < s.layers; ++i) block->push_back(T5Block(decoder, i == 0));
    register_module("block", block);
    final_norm = register_module("final_layer_norm", RmsNorm());
  }
  Tensor forward(Tensor x, const Tensor& memory) {
    const std::int64_t n = x.size(1);
    if (!buckets.defined() || buckets.size(0) != n) {
      buckets = position_buckets(n, !decoder);
      hidden = torch::ones({n, n}, torch::kBool).triu(1);
    }
    Tensor bias = block[0]->as<T5Block>()->attention->positions(buckets).permute({2, 0, 1}).unsqueeze(0);
    if (decoder) bias = bias.masked_fill(hidden, -std::numeric_limits<float>::infinity());
    for (auto& b : *block) x = b->as<T5Block>()->forward(x, bias, memory);
    return final_norm(x);
  }
  bool decoder;
  nn::ModuleList block;
  RmsNorm final_norm{nullptr};
  Tensor buckets, hidden;
};
TORCH_MODULE(T5Stack);

struct T5 : nn::Module {
  T5() {
    shared = register_module("shared", nn::Embedding(s.vocabulary, s.d));
    encoder = register_module("encoder", T5Stack(false));
    decoder = register_module("decoder", T5Stack(true));
    head = register_module("lm_head", without_bias(s.d, s.vocabulary));
  }
  template <class Part>
  Tensor loss(const Part& part) {
    const Tensor said = part(labels);
    const Tensor seen = torch::cat({torch::zeros({said.size(0), 1}, torch::kInt64), said.slice(1, 0, -1)}, 1);
    const Tensor logits = head(decoder(shared(seen), encoder(shared(part(source)), Tensor())));
    return F::cross_entropy(logits.flatten(0, 1), said.flatten());
  }
  nn::Embedding shared{nullptr};
  T5Stack encoder{nullptr}, decoder{nullptr};
  nn::Linear head{nullptr};
  Tensor source = given_classes("source", {s.batch, s.length}, s.vocabulary);
  Tensor labels = given_classes("labels", {s.batch, s.length}, s.vocabulary);
};

}  // namespace

std::vector<bench::Workload> model_workloads() {
  std::vector<bench::Workload> all{training<Bert>("bert_step", s), training<T5>("t5_step", s)};
  for (bench::Workload& w : seq2seq_workloads()) all.push_back(std::move(w));
  for (bench::Workload& w : gpt2_workloads()) all.push_back(std::move(w));
  return all;
}

}  // namespace bench::torch_side
