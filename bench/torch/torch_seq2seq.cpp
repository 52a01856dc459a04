// Models of translation as a user of PyTorch's C++ library writes them, under the names that Attune's have;
// attune_models.cpp is the other side.

#include "bench/torch/torch_common.h"

namespace F = torch::nn::functional;
namespace nn = torch::nn;

namespace bench::torch_side {

namespace {

constexpr auto s = bench::translation;

nn::Linear without_bias(std::int64_t in, std::int64_t out) {
  return nn::Linear(nn::LinearOptions(in, out).bias(false));
}

/// The start token, 1, and the labels [b, t] but the last.
Tensor shifted_right(const Tensor& labels) {
  return torch::cat({torch::ones({labels.size(0), 1}, torch::kInt64), labels.slice(1, 0, -1)}, 1);
}

struct Sentences {
  Tensor source = given_classes("source", {s.batch, s.length}, s.vocabulary);
  Tensor labels = given_classes("labels", {s.batch, s.length}, s.vocabulary);
};

// ---- a recurrent encoder and decoder with additive attention

struct AdditiveEncoderImpl : nn::Module {
  AdditiveEncoderImpl() {
    embedding = register_module("embedding", nn::Embedding(s.vocabulary, s.d));
    rnn = register_module("rnn", nn::GRU(nn::GRUOptions(s.d, s.d).bidirectional(true)));
    state = register_module("state", nn::Linear(s.d, s.d));
  }
  nn::Embedding embedding{nullptr};
  nn::GRU rnn{nullptr};
  nn::Linear state{nullptr};
};
TORCH_MODULE(AdditiveEncoder);

/// The gates of words before the steps, or (`cell`) words and contexts together in each.
struct AdditiveDecoderImpl : nn::Module {
  explicit AdditiveDecoderImpl(bool cell) : as_cell(cell) {
    embedding = register_module("embedding", nn::Embedding(s.vocabulary, s.d));
    query_weight = register_parameter("attention_query_weight", torch::empty({s.d, s.d}));
    key_weight = register_parameter("attention_key_weight", torch::empty({s.d, 2 * s.d}));
    score_weight = register_parameter("attention_score_weight", torch::empty({s.d}));
    word_gates = register_module("word_gates", nn::Linear(s.d, 3 * s.d));
    context_gates = register_module("context_gates", without_bias(2 * s.d, 3 * s.d));
    recurrent_weight = register_parameter("recurrent_weight", torch::empty({3 * s.d, s.d}));
    recurrent_bias = register_parameter("recurrent_bias", torch::empty({3 * s.d}));
    readout = register_module("readout", nn::Linear(4 * s.d, 2 * s.d_maxout));
    head = register_module("head", nn::Linear(s.d_maxout, s.vocabulary));
  }
  Tensor gru(const Tensor& of_input, const Tensor& state) const {
    const auto x = of_input.chunk(3, 1), h = F::linear(state, recurrent_weight, recurrent_bias).chunk(3, 1);
    const Tensor reset = torch::sigmoid(x[0] + h[0]), update = torch::sigmoid(x[1] + h[1]);
    const Tensor next = torch::tanh(x[2] + reset * h[2]);
    return next + update * (state - next);
  }
  /// Logits [t, b, vocabulary] of tokens [t, b], from a state [b, d] over annotations [b, n, 2 d].
  Tensor forward(const Tensor& tokens, Tensor state, const Tensor& annotations) {
    const Tensor words = embedding(tokens), keys = F::linear(annotations, key_weight);
    const auto inputs = (as_cell ? words : word_gates(words)).unbind(0);
    const Tensor both = as_cell ? torch::cat({word_gates->weight, context_gates->weight}, 1) : Tensor();
    std::vector<Tensor> states, contexts;
    for (const Tensor& input : inputs) {
      const Tensor compared = torch::tanh(F::linear(state, query_weight).unsqueeze(1) + keys);
      const Tensor weights = torch::softmax(torch::matmul(compared, score_weight), -1);
      const Tensor context = torch::bmm(weights.unsqueeze(1), annotations).squeeze(1);
      states.push_back(state);
      contexts.push_back(context);
      state = as_cell ? torch::gru_cell(torch::cat({input, context}, 1), state, both, recurrent_weight,
                                        word_gates->bias, recurrent_bias)
                      : gru(input + context_gates(context), state);
    }
    const auto pairs = readout(torch::cat({torch::stack(states), words, torch::stack(contexts)}, 2)).chunk(2, 2);
    return head(torch::maximum(pairs[0], pairs[1]));
  }
  bool as_cell;
  nn::Embedding embedding{nullptr};
  Tensor query_weight, key_weight, score_weight, recurrent_weight, recurrent_bias;
  nn::Linear word_gates{nullptr}, context_gates{nullptr}, readout{nullptr}, head{nullptr};
};
TORCH_MODULE(AdditiveDecoder);

struct Additive : nn::Module {
  explicit Additive(bool cell) {
    encoder = register_module("encoder", AdditiveEncoder());
    decoder = register_module("decoder", AdditiveDecoder(cell));
  }
  template <class Part>
  Tensor loss(const Part& part) {
    const Tensor said = part(text.labels);
    const auto [annotations, last] = encoder->rnn(encoder->embedding(part(text.source).t()));
    const Tensor state = torch::tanh(encoder->state(last[1]));
    const Tensor logits = decoder(shifted_right(said).t(), state, annotations.transpose(0, 1).contiguous());
    return F::cross_entropy(logits.flatten(0, 1), said.t().flatten());
  }
  AdditiveEncoder encoder{nullptr};
  AdditiveDecoder decoder{nullptr};
  Sentences text;
};

// ---- the Transformer

Tensor hidden_future(std::int64_t n) { return torch::full({n, n}, -std::numeric_limits<float>::infinity()).triu(1); }

/// The library's own stacks, whose tensors are [t, b, d].
struct LibraryStacks : nn::Module {
  LibraryStacks() {
    encoder = register_module(
        "encoder", nn::TransformerEncoder(nn::TransformerEncoderOptions(
                       nn::TransformerEncoderLayerOptions(s.d, s.heads).dim_feedforward(s.d_ff).dropout(0), s.layers)));
    decoder = register_module(
        "decoder", nn::TransformerDecoder(nn::TransformerDecoderOptions(
                       nn::TransformerDecoderLayerOptions(s.d, s.heads).dim_feedforward(s.d_ff).dropout(0), s.layers)));
  }
  Tensor forward(const Tensor& source, const Tensor& target, const Tensor& mask) {
    const Tensor memory = encoder(source.transpose(0, 1));
    return decoder(target.transpose(0, 1), memory, mask).transpose(0, 1);
  }
  nn::TransformerEncoder encoder{nullptr};
  nn::TransformerDecoder decoder{nullptr};
};

struct HeadsImpl : nn::Module {
  HeadsImpl() {
    in_proj = register_module("in_proj", nn::Linear(s.d, 3 * s.d));
    out_proj = register_module("out_proj", nn::Linear(s.d, s.d));
  }
  /// Heads [parts, b, h, t, d / h] of rows [from, from + parts) of the projections of x [b, t, d].
  std::vector<Tensor> projected(const Tensor& x, std::int64_t from, std::int64_t parts) {
    const Tensor y = F::linear(x, in_proj->weight.narrow(0, from * s.d, parts * s.d),
                               in_proj->bias.narrow(0, from * s.d, parts * s.d));
    return y.view({x.size(0), x.size(1), parts, s.heads, s.head_dim()}).permute({2, 0, 3, 1, 4}).unbind(0);
  }
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
    Tensor scores = torch::matmul(q, k.transpose(-2, -1)) / std::sqrt(double(s.head_dim()));
    if (mask.defined()) scores = scores + mask;
    const Tensor y = torch::matmul(torch::softmax(scores, -1), v);
    return out_proj(y.transpose(1, 2).reshape({q.size(0), q.size(2), s.d}));
  }
  Tensor over_self(const Tensor& x, const Tensor& mask) {
    const auto parts = projected(x, 0, 3);
    return attend(parts[0], parts[1], parts[2], mask);
  }
  Tensor over(const Tensor& memory, const Tensor& x) {
    const auto of_memory = projected(memory, 1, 2);
    return attend(projected(x, 0, 1)[0], of_memory[0], of_memory[1], Tensor());
  }
  nn::Linear in_proj{nullptr}, out_proj{nullptr};
};
TORCH_MODULE(Heads);

struct PostNormLayerImpl : nn::Module {
  explicit PostNormLayerImpl(bool decoder) {
    self_attn = register_module("self_attn", Heads());
    if (decoder) multihead_attn = register_module("multihead_attn", Heads());
    linear1 = register_module("linear1", nn::Linear(s.d, s.d_ff));
    linear2 = register_module("linear2", nn::Linear(s.d_ff, s.d));
    for (int i = 1; i <= (decoder ? 3 : 2); ++i)
      norms.push_back(register_module("norm" + std::to_string(i), nn::LayerNorm(nn::LayerNormOptions({s.d}))));
  }
  Tensor forward(const Tensor& x, const Tensor& mask, const Tensor& memory) {
    Tensor h = norms[0](x + self_attn->over_self(x, mask));
    if (memory.defined()) h = norms[1](h + multihead_attn->over(memory, h));
    return norms.back()(h + linear2(torch::relu(linear1(h))));
  }
  Heads self_attn{nullptr}, multihead_attn{nullptr};
  nn::Linear linear1{nullptr}, linear2{nullptr};
  std::vector<nn::LayerNorm> norms;
};
TORCH_MODULE(PostNormLayer);

struct StackImpl : nn::Module {
  explicit StackImpl(bool decoder) {
    for (std::int64_t i = 0; i < s.layers; ++i) layers->push_back(PostNormLayer(decoder));
    register_module("layers", layers);
  }
  Tensor forward(Tensor x, const Tensor& mask, const Tensor& memory) {
    for (auto& layer : *layers) x = layer->as<PostNormLayer>()->forward(x, mask, memory);
    return x;
  }
  nn::ModuleList layers;
};
TORCH_MODULE(Stack);

/// Stacks of the same in operations, whose tensors are [b, t, d].
struct OwnStacks : nn::Module {
  OwnStacks() {
    encoder = register_module("encoder", Stack(false));
    decoder = register_module("decoder", Stack(true));
  }
  Tensor forward(const Tensor& source, const Tensor& target, const Tensor& mask) {
    return decoder(target, mask, encoder(source, Tensor(), Tensor()));
  }
  Stack encoder{nullptr}, decoder{nullptr};
};

Tensor sinusoids() {
  const Tensor place = torch::arange(s.length, torch::kDouble).unsqueeze(1);
  const Tensor angle = place * torch::pow(10000, -torch::arange(0, s.d, 2, torch::kDouble) / double(s.d));
  return torch::stack({torch::sin(angle), torch::cos(angle)}, 2).flatten(1).to(torch::kFloat);
}

/// `Stacks` are "encoder" and "decoder" among this module's children.
template <class Stacks>
struct Transformer : Stacks {
  Transformer() { table = this->register_module("source_embedding", nn::Embedding(s.vocabulary, s.d)); }
  Tensor embed(const Tensor& tokens) {
    return table(tokens) * std::sqrt(double(s.d)) + positions.narrow(0, 0, tokens.size(1));
  }
  template <class Part>
  Tensor loss(const Part& part) {
    const Tensor said = part(text.labels);
    const auto n = said.size(1);
    if (!mask.defined() || mask.size(0) != n) mask = hidden_future(n);
    const Tensor y = Stacks::forward(embed(part(text.source)), embed(shifted_right(said)), mask);
    return F::cross_entropy(F::linear(y, table->weight).flatten(0, 1), said.flatten(),
                            F::CrossEntropyFuncOptions().label_smoothing(s.label_smoothing));
  }
  nn::Embedding table{nullptr};
  Tensor positions = sinusoids(), mask;
  Sentences text;
};

}  // namespace

std::vector<bench::Workload> seq2seq_workloads() {
  return {training<Additive>("additive_step", s, false), training<Additive>("additive_step:cell", s, true),
          training<Transformer<LibraryStacks>>("translation_step", s),
          training<Transformer<OwnStacks>>("translation_step:matmul", s)};
}

}  // namespace bench::torch_side
