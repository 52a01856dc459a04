#include "tests/reference/builders.h"

#include <algorithm>

namespace attune::tests {

namespace {

using std::int64_t;

// ---- layers of one tensor

template <class M>
Built on_one_input(std::unique_ptr<M> m) {
  auto run = [&m = *m](Inputs& in) -> Tensors { return {m(in.needed({"x", "input"}))}; };
  return {std::move(m), run};
}

Built linear_layer(Config& c) {
  return on_one_input(std::make_unique<nn::Linear>(c.integer("in_features"), c.integer("out_features"),
                                                   nn::LinearOptions{.bias = c.get<bool>("bias", true)}));
}

Built layer_norm_layer(Config& c) {
  const bool list = c["normalized_shape"].is_array();
  const Shape shape =
      list ? Shape(c.get<std::vector<int64_t>>("normalized_shape")) : Shape{c.integer("normalized_shape")};
  return on_one_input(std::make_unique<nn::LayerNorm>(
      shape,
      nn::LayerNormOptions{.eps = c.get<double>("eps", 1e-5), .affine = c.get<bool>("elementwise_affine", true)}));
}

Built embedding_layer(Config& c) {
  const int64_t n = c.integer("num_embeddings");
  int64_t padding = -1;
  if (c.has("padding_idx") && !c["padding_idx"].is_null()) {
    padding = c.integer("padding_idx");
    if (padding < 0) padding += n;
  }
  c.expect("max_norm", nullptr);
  c.expect("norm_type", 2.0);
  c.expect("scale_grad_by_freq", false);
  c.expect("sparse", false);
  return on_one_input(
      std::make_unique<nn::Embedding>(n, c.integer("embedding_dim"), nn::EmbeddingOptions{.padding_index = padding}));
}

Built conv1d_layer(Config& c) {
  const std::map<std::string, nn::PaddingMode> modes{{"zeros", nn::PaddingMode::zeros},
                                                     {"reflect", nn::PaddingMode::reflect},
                                                     {"replicate", nn::PaddingMode::replicate},
                                                     {"circular", nn::PaddingMode::circular}};
  const auto mode = modes.find(c.get<std::string>("padding_mode", "zeros"));
  if (mode == modes.end()) c.fail("padding_mode", "not understood");
  int64_t padding = 0;
  if (c.has("padding") && c["padding"].is_string()) {
    const std::string name = c.get<std::string>("padding");
    if (name != "same" && name != "valid") c.fail("padding", "neither \"same\" nor \"valid\"");
    padding = name == "same" ? same_padding : valid_padding;
  } else {
    padding = c.single("padding", 0);
  }
  return on_one_input(std::make_unique<nn::Conv1d>(c.integer("in_channels"), c.integer("out_channels"),
                                                   c.single("kernel_size", 0),
                                                   nn::Conv1dOptions{.stride = c.single("stride", 1),
                                                                     .padding = padding,
                                                                     .dilation = c.single("dilation", 1),
                                                                     .groups = c.single("groups", 1),
                                                                     .bias = c.get<bool>("bias", true),
                                                                     .padding_mode = mode->second}));
}

// ---- recurrent

Activation nonlinearity(Config& c) {
  const std::string name = c.get<std::string>("nonlinearity", "tanh");
  if (name != "tanh" && name != "relu") c.fail("nonlinearity", "neither \"tanh\" nor \"relu\"");
  return name == "tanh" ? Activation::tanh : Activation::relu;
}

nn::RecurrentOptions recurrent_options(Config& c) {
  nn::RecurrentOptions o;
  o.layers = c.get<int64_t>("num_layers", 1);
  o.bias = c.get<bool>("bias", true);
  o.batch_first = c.get<bool>("batch_first", false);
  o.dropout = c.get<double>("dropout", 0);
  o.bidirectional = c.get<bool>("bidirectional", false);
  return o;
}

/// With lengths, as through pack_padded_sequence and pad_packed_sequence.
template <class M, class State>
Built recurrent_layer(Config& c, std::unique_ptr<M> m, State state) {
  const bool batch_first = c.get<bool>("batch_first", false);
  const auto lengths = c.get<std::vector<int64_t>>("lengths", {});
  c.expect("enforce_sorted", false);
  const int64_t total = c.get<int64_t>("total_length", 0);
  auto run = [&m = *m, batch_first, lengths, total, state](Inputs& in) -> Tensors {
    Tensor steps = in.any({"lengths"});
    if (!steps.defined() && !lengths.empty()) steps = index_tensor(lengths);
    RecurrentResult r = m(in.needed({"x", "input"}), state(in), steps);
    if (steps.defined()) {  // pad_packed_sequence pads to the longest
      const std::vector<int64_t> all = steps.to_vector<int64_t>();
      const int64_t longest = total > 0 ? total : *std::max_element(all.begin(), all.end());
      r.output = slice(r.output, batch_first ? 1 : 0, 0, longest);
    }
    return r.c.defined() ? Tensors{r.output, r.h, r.c} : Tensors{r.output, r.h};
  };
  return {std::move(m), run};
}

Tensor hidden_state(Inputs& in) { return in.any({"h0", "hx", "h_0"}); }
LstmState lstm_states(Inputs& in) { return {hidden_state(in), in.any({"c0", "cx", "c_0"})}; }

Built lstm_layer(Config& c) {
  auto o = recurrent_options(c);
  o.proj_size = c.get<int64_t>("proj_size", 0);
  return recurrent_layer(c, std::make_unique<nn::LSTM>(c.integer("input_size"), c.integer("hidden_size"), o),
                         lstm_states);
}

Built gru_layer(Config& c) {
  const auto o = recurrent_options(c);
  return recurrent_layer(c, std::make_unique<nn::GRU>(c.integer("input_size"), c.integer("hidden_size"), o),
                         hidden_state);
}

Built rnn_layer(Config& c) {
  auto o = recurrent_options(c);
  o.activation = nonlinearity(c);
  return recurrent_layer(c, std::make_unique<nn::RNN>(c.integer("input_size"), c.integer("hidden_size"), o),
                         hidden_state);
}

nn::CellOptions cell_options(Config& c) { return {.bias = c.get<bool>("bias", true)}; }

Built lstm_cell_layer(Config& c) {
  auto m = std::make_unique<nn::LSTMCell>(c.integer("input_size"), c.integer("hidden_size"), cell_options(c));
  auto run = [&m = *m](Inputs& in) -> Tensors {
    const LstmState s = m(in.needed({"x", "input"}), lstm_states(in));
    return {s.h, s.c};
  };
  return {std::move(m), run};
}

template <class Cell>
Built plain_cell(std::unique_ptr<Cell> m) {
  auto run = [&m = *m](Inputs& in) -> Tensors { return {m(in.needed({"x", "input"}), hidden_state(in))}; };
  return {std::move(m), run};
}

Built gru_cell_layer(Config& c) {
  return plain_cell(std::make_unique<nn::GRUCell>(c.integer("input_size"), c.integer("hidden_size"), cell_options(c)));
}

Built rnn_cell_layer(Config& c) {
  return plain_cell(std::make_unique<nn::RNNCell>(c.integer("input_size"), c.integer("hidden_size"), nonlinearity(c),
                                                  cell_options(c)));
}

// ---- attention

/// Between a case's layout and [b, t, d]: batch first, time first, or one sequence without a batch.
struct Layout {
  bool batch_first, single;
  Layout(bool first, const Tensor& like) : batch_first(first), single(like.rank() == 2) {}
  Tensor in(const Tensor& x) const { return single ? unsqueeze(x, 0) : batch_first ? x : transpose(x, 0, 1); }
  Tensor out(const Tensor& x) const { return single ? squeeze(x, 0) : batch_first ? x : transpose(x, 0, 1); }
};

/// torch's masks: bool hides, floating is added; attention masks are [t, s] or [b h, t, s], padding masks [b, s].
nn::MultiheadCall masked(const Layout& layout, int64_t heads, bool causal, const Tensor& attention,
                         const Tensor& padding) {
  nn::MultiheadCall call{.causal = causal};
  const auto add_bias = [&](const Tensor& bias) {
    call.attention_bias = call.attention_bias.defined() ? call.attention_bias + bias : bias;
  };
  if (attention.defined()) {
    const Tensor m =
        attention.rank() == 2 ? attention : reshape(attention, {-1, heads, attention.size(-2), attention.size(-1)});
    if (is_floating(m.dtype()))
      add_bias(m);
    else
      call.attention_mask = m;
  }
  if (padding.defined()) {
    const Tensor p = layout.single ? unsqueeze(padding, 0) : padding;
    if (is_floating(p.dtype()))
      add_bias(reshape(p, {p.size(0), 1, 1, p.size(1)}));
    else
      call.key_padding_mask = p;
  }
  return call;
}

Built multihead_attention(Config& c) {
  const int64_t heads = c.integer("num_heads");
  auto m = std::make_unique<nn::MultiheadAttention>(
      c.integer("embed_dim"), heads,
      nn::MultiheadOptions{.bias = c.get<bool>("bias", true),
                           .dropout = c.get<double>("dropout", 0),
                           .key_dim = c.get<int64_t>("kdim", 0),
                           .value_dim = c.get<int64_t>("vdim", 0),
                           .bias_kv = c.get<bool>("add_bias_kv", false),
                           .zero_attention = c.get<bool>("add_zero_attn", false)});
  const std::string averaged = "values, weights averaged over heads", outputs = c.get<std::string>("outputs", averaged);
  if (outputs != averaged && outputs != "values, weights" && outputs != "values") c.fail("outputs", "not understood");
  const bool weights = c.get<bool>("need_weights", outputs != "values");
  const bool average = c.get<bool>("average_attn_weights", outputs == averaged);
  const bool causal = c.get<bool>("causal", false), batch_first = c.get<bool>("batch_first", true);
  auto run = [&m = *m, heads, weights, average, causal, batch_first](Inputs& in) -> Tensors {
    const Tensor query = in["query"];
    const Layout layout(batch_first, query);
    nn::MultiheadCall call =
        masked(layout, heads, causal, in.any({"attn_mask", "attention_mask"}), in.any({"key_padding_mask"}));
    call.need_weights = weights;
    call.average_weights = average;
    const AttentionResult a = m(layout.in(query), layout.in(in["key"]), layout.in(in["value"]), call);
    if (!weights) return {layout.out(a.output)};
    return {layout.out(a.output), layout.single ? squeeze(a.weights, 0) : a.weights};
  };
  return {std::move(m), run};
}

nn::TransformerOptions transformer_options(Config& c) {
  const std::map<std::string, Activation> activations{{"relu", Activation::relu}, {"gelu", Activation::gelu}};
  const auto f = activations.find(c.get<std::string>("activation", "relu"));
  if (f == activations.end()) c.fail("activation", "neither \"relu\" nor \"gelu\"");
  return {.d_ff = c.get<int64_t>("dim_feedforward", 2048),
          .dropout = c.get<double>("dropout", 0.1),
          .activation = f->second,
          .pre_norm = c.get<bool>("norm_first", false),
          .eps = c.get<double>("layer_norm_eps", 1e-5)};
}

template <class Layer>
std::unique_ptr<Layer> transformer_layer(Config& c) {
  return std::make_unique<Layer>(c.integer("d_model"), c.integer("nhead"), transformer_options(c));
}

/// A stack's final norm is an argument of its own: `norm`, true or, as in torch, null.
template <class Stack>
std::unique_ptr<Stack> transformer_stack(Config& c) {
  nn::TransformerOptions o = transformer_options(c);
  o.final_norm = c.get<bool>("norm", false);
  return std::make_unique<Stack>(c.integer("num_layers"), c.integer("d_model"), c.integer("nhead"), o);
}

/// torch.nn.Transformer: both stacks, each with its final norm.
struct Transformer : nn::Module {
  Transformer(int64_t encoder_layers, int64_t decoder_layers, int64_t d_model, int64_t heads,
              const nn::TransformerOptions& o)
      : encoder(child<nn::TransformerEncoder>("encoder", encoder_layers, d_model, heads, o)),
        decoder(child<nn::TransformerDecoder>("decoder", decoder_layers, d_model, heads, o)) {}

  nn::TransformerEncoder& encoder;
  nn::TransformerDecoder& decoder;
};

bool causal_self_attention(Config& c) {
  const std::string mask = c.get<std::string>("self_attention_mask", "none");
  if (mask != "causal" && mask != "none") c.fail("self_attention_mask", "neither \"causal\" nor \"none\"");
  return mask == "causal";
}

template <class M>
Built encoder(Config& c, std::unique_ptr<M> m) {
  const bool causal = causal_self_attention(c), batch_first = c.get<bool>("batch_first", false);
  auto run = [&m = *m, causal, batch_first, heads = c.integer("nhead")](Inputs& in) -> Tensors {
    const Tensor x = in.needed({"x", "src"});
    const Layout layout(batch_first, x);
    return {layout.out(m(
        layout.in(x), masked(layout, heads, causal, in.any({"src_mask", "mask"}), in.any({"src_key_padding_mask"}))))};
  };
  return {std::move(m), run};
}

template <class M>
Built decoder(Config& c, std::unique_ptr<M> m) {
  const bool causal = causal_self_attention(c), batch_first = c.get<bool>("batch_first", false);
  auto run = [&m = *m, causal, batch_first, heads = c.integer("nhead")](Inputs& in) -> Tensors {
    const Tensor x = in.needed({"x", "tgt"});
    const Layout layout(batch_first, x);
    const auto self = masked(layout, heads, causal, in.any({"tgt_mask"}), in.any({"tgt_key_padding_mask"})),
               cross = masked(layout, heads, false, in.any({"memory_mask"}), in.any({"memory_key_padding_mask"}));
    return {layout.out(m(layout.in(x), layout.in(in["memory"]), self, cross))};
  };
  return {std::move(m), run};
}

Built encoder_layer(Config& c) { return encoder(c, transformer_layer<nn::TransformerEncoderLayer>(c)); }
Built decoder_layer(Config& c) { return decoder(c, transformer_layer<nn::TransformerDecoderLayer>(c)); }
Built encoder_stack(Config& c) { return encoder(c, transformer_stack<nn::TransformerEncoder>(c)); }
Built decoder_stack(Config& c) { return decoder(c, transformer_stack<nn::TransformerDecoder>(c)); }

Built transformer(Config& c) {
  nn::TransformerOptions o = transformer_options(c);
  o.final_norm = true;
  auto m =
      std::make_unique<Transformer>(c.get<int64_t>("num_encoder_layers", 6), c.get<int64_t>("num_decoder_layers", 6),
                                    c.integer("d_model"), c.integer("nhead"), o);
  const bool causal = causal_self_attention(c), batch_first = c.get<bool>("batch_first", false);
  auto run = [&m = *m, causal, batch_first, heads = c.integer("nhead")](Inputs& in) -> Tensors {
    const Tensor x = in["src"], y = in["tgt"];
    const Layout layout(batch_first, x);
    const auto source = masked(layout, heads, false, in.any({"src_mask"}), in.any({"src_key_padding_mask"})),
               self = masked(layout, heads, causal, in.any({"tgt_mask"}), in.any({"tgt_key_padding_mask"})),
               cross = masked(layout, heads, false, in.any({"memory_mask"}), in.any({"memory_key_padding_mask"}));
    const Tensor memory = m.encoder(layout.in(x), source);
    return {layout.out(m.decoder(layout.in(y), memory, self, cross))};
  };
  return {std::move(m), run};
}

}  // namespace

const std::map<std::string, Built (*)(Config&)>& builders() {
  static const std::map<std::string, Built (*)(Config&)> all{
      {"Attention", pytorch_seq2seq_attention},
      {"CausalLinearAttention", causal_linear_attention_layer},
      {"Conv1d", conv1d_layer},
      {"Decoder", pytorch_seq2seq_decoder},
      {"ElmoLstm", elmo_lstm},
      {"Embedding", embedding_layer},
      {"Encoder", pytorch_seq2seq_encoder},
      {"FastAttention", fast_attention_layer},
      {"GRU", gru_layer},
      {"GRUCell", gru_cell_layer},
      {"GlobalAttention", global_attention},
      {"LSTM", lstm_layer},
      {"LSTMCell", lstm_cell_layer},
      {"LayerNorm", layer_norm_layer},
      {"Linear", linear_layer},
      {"LstmCellWithProjection", lstm_cell_with_projection},
      {"LinearAttention", linear_attention_layer},
      {"LinformerSelfAttention", linformer_self_attention_layer},
      {"MultiheadAttention", multihead_attention},
      {"RNN", rnn_layer},
      {"RNNCell", rnn_cell_layer},
      {"SelfAttention", performer_self_attention_layer},
      {"Seq2Seq", pytorch_seq2seq},
      {"ScalarMix", scalar_mix},
      {"StackedBidirectionalLstm", stacked_bidirectional_lstm},
      {"Transformer", transformer},
      {"TransformerDecoder", decoder_stack},
      {"TransformerDecoderLayer", decoder_layer},
      {"TransformerEncoder", encoder_stack},
      {"TransformerEncoderLayer", encoder_layer},
      {"_ElmoCharacterEncoder", elmo_character_encoder},
  };
  return all;
}

}  // namespace attune::tests
