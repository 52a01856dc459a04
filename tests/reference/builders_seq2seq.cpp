// Published programs that translate, as Attune's models: OpenNMT-py's additive attention, and pytorch-seq2seq's models
// with an LSTM's state (notebook 1) and with additive attention (notebook 3; 4 adds masks). Their weights stand in
// other matrices than Attune's, so a case's module holds the published ones, and Attune's runs on pieces of them:
// gradients go to the published names.

#include "tests/reference/builders.h"

namespace attune::tests {

namespace {

using std::int64_t;

/// Matrices under published names: "attention.attn_fc" has a weight [out, in] and perhaps a bias [out].
struct Published : nn::Module {
  struct Leaf : nn::Module {
    void add(const std::string& name, const Shape& shape) { parameter(name, zeros(shape, DType::float64)); }
  };
  void linear(const std::string& name, int64_t out, int64_t in, bool bias = true) {
    Leaf& leaf = child<Leaf>(name);
    leaf.add("weight", {out, in});
    if (bias) leaf.add("bias", {out});
  }
  void embedding(const std::string& name, int64_t n, int64_t d) { linear(name, n, d, false); }
  void recurrent(const std::string& name, int64_t gates, int64_t in, int64_t hidden, int64_t layers, bool both) {
    Leaf& leaf = child<Leaf>(name);
    for (int64_t i = 0; i < layers; ++i)
      for (const char* way : {"", "_reverse"}) {
        if (*way != 0 && !both) continue;
        const std::string end = "_l" + std::to_string(i) + way;
        leaf.add("weight_ih" + end, {gates * hidden, i == 0 ? in : (both ? 2 : 1) * hidden});
        leaf.add("weight_hh" + end, {gates * hidden, hidden});
        leaf.add("bias_ih" + end, {gates * hidden});
        leaf.add("bias_hh" + end, {gates * hidden});
      }
  }
  Tensor get(const std::string& name) const {
    for (const auto& [path, p] : named_parameters())
      if (path == name) return p;
    throw std::runtime_error("the published module has no " + name);
  }
};

/// Attune's module with what `value` makes of the published weights, by its own parameters' names.
template <class M>
Tensors with(M& m, const std::function<Tensor(const std::string& name)>& value, const std::function<Tensors()>& f) {
  m.to(DType::float64);
  m.eval();
  Tensors values;
  for (const auto& [name, p] : m.named_parameters()) values.push_back(value(name));
  return m.with_parameters(values, f);
}

Tensor columns(const Tensor& w, int64_t from, int64_t to) { return slice(w, 1, from, to); }
/// Hidden keys [b, n] of sequences of these lengths [b].
Tensor behind(const Tensor& lengths, int64_t n) {
  return lengths.defined() ? ge(unsqueeze(arange(n), 0), unsqueeze(lengths, 1)) : Tensor();
}

// ---- the model with additive attention

nn::AdditiveSeq2SeqConfig additive_config(Config& c) {
  nn::AdditiveSeq2SeqConfig o{.d_hidden = c.integer("decoder_hidden_dim"),
                              .d_encoder = c.integer("encoder_hidden_dim"),
                              .d_attention = c.integer("decoder_hidden_dim"),
                              .d_maxout = 0,
                              .readout_after = true,
                              .both_ends = true,
                              .attention_bias = true};
  c.get<double>("dropout", 0);
  return o;
}

void add_attention(Published& p, const std::string& at, const nn::AdditiveSeq2SeqConfig& o) {
  p.linear(at + "attn_fc", o.d_hidden, o.d_hidden + 2 * o.d_encoder);
  p.linear(at + "v_fc", 1, o.d_hidden, false);
}

Tensor attention_value(const Published& p, const std::string& at, const nn::AdditiveSeq2SeqConfig& o,
                       const std::string& name) {
  const Tensor w = p.get(at + "attn_fc.weight");
  if (name == "query_weight") return columns(w, 0, o.d_hidden);
  if (name == "key_weight") return columns(w, o.d_hidden, w.size(1));
  if (name == "bias") return p.get(at + "attn_fc.bias");
  return select(p.get(at + "v_fc.weight"), 0, 0);
}

void add_decoder(Published& p, const std::string& at, const nn::AdditiveSeq2SeqConfig& o) {
  add_attention(p, at + "attention.", o);
  p.embedding(at + "embedding", o.vocabulary, o.d_embedding);
  p.recurrent(at + "rnn", 3, o.d_embedding + 2 * o.d_encoder, o.d_hidden, 1, false);
  p.linear(at + "fc_out", o.vocabulary, o.d_hidden + 2 * o.d_encoder + o.d_embedding);
}

Tensor decoder_value(const Published& p, const std::string& at, const nn::AdditiveSeq2SeqConfig& o,
                     const std::string& name) {
  if (name.starts_with("attention.")) return attention_value(p, at + "attention.", o, name.substr(10));
  const int64_t words = o.d_embedding, context = 2 * o.d_encoder, state = o.d_hidden;
  const Tensor gates = p.get(at + "rnn.weight_ih_l0"), head = p.get(at + "fc_out.weight");
  if (name == "embedding.weight") return p.get(at + "embedding.weight");
  if (name == "word_gates.weight") return columns(gates, 0, words);
  if (name == "word_gates.bias") return p.get(at + "rnn.bias_ih_l0");
  if (name == "context_gates.weight") return columns(gates, words, words + context);
  if (name == "recurrent_weight") return p.get(at + "rnn.weight_hh_l0");
  if (name == "recurrent_bias") return p.get(at + "rnn.bias_hh_l0");
  if (name == "head.bias") return p.get(at + "fc_out.bias");
  return cat({columns(head, 0, state), columns(head, state + context, head.size(1)),  // state, word, context
              columns(head, state, state + context)},
             1);
}

void add_encoder(Published& p, const std::string& at, const nn::AdditiveSeq2SeqConfig& o) {
  p.embedding(at + "embedding", o.source_vocabulary, o.d_source_embedding);
  p.recurrent(at + "rnn", 3, o.d_source_embedding, o.d_encoder, 1, true);
  p.linear(at + "fc", o.d_hidden, 2 * o.d_encoder);
}

Tensor encoder_value(const Published& p, const std::string& at, const std::string& name) {
  return p.get(at + (name.starts_with("state.") ? "fc." + name.substr(6) : name));
}

Tensor time_first(const Tensor& x) { return transpose(x, 0, 1); }

/// Notebook 4's mask is true where it shows.
Tensor hidden_by(Inputs& in) {
  const Tensor mask = in.any({"mask"});
  return mask.defined() ? logical_not(to(mask, DType::boolean)) : Tensor();
}

Built additive_encoder(Config& c) {
  nn::AdditiveSeq2SeqConfig o = additive_config(c);
  o.source_vocabulary = c.integer("input_dim");
  o.d_source_embedding = c.integer("embedding_dim");
  auto p = std::make_unique<Published>();
  add_encoder(*p, "", o);
  auto m = std::make_shared<nn::AdditiveSeq2Seq::Encoder>(o);
  auto run = [&p = *p, m](Inputs& in) -> Tensors {
    const Tensor tokens = time_first(in.needed({"src", "input"}));
    const Tensor lengths = in.any({"src_len", "lengths"});
    return with(
        *m, [&](const std::string& name) { return encoder_value(p, "", name); },
        [&]() -> Tensors {
          const auto r = (*m)(tokens, lengths);
          return {time_first(r.annotations), r.state};
        });
  };
  return {std::move(p), run};
}

Built additive_decoder(Config& c) {
  nn::AdditiveSeq2SeqConfig o = additive_config(c);
  o.vocabulary = c.integer("output_dim");
  o.d_embedding = c.integer("embedding_dim");
  c.expect("outputs", "prediction, hidden, attention weights");
  auto p = std::make_unique<Published>();
  add_decoder(*p, "", o);
  auto m = std::make_shared<nn::AdditiveSeq2Seq::Decoder>(o);
  auto run = [&p = *p, m, o](Inputs& in) -> Tensors {
    const Tensor token = unsqueeze(in["input"], 1), state = in["hidden"];
    const Tensor annotations = time_first(in["encoder_outputs"]), hidden = hidden_by(in);
    return with(
        *m, [&](const std::string& name) { return decoder_value(p, "", o, name); },
        [&]() -> Tensors {
          const auto r = (*m)(token, state, m->attention.memory(annotations, hidden));
          return {squeeze(r.logits, 1), r.state, squeeze(r.alignments, 1)};
        });
  };
  return {std::move(p), run};
}

/// Logits as the notebooks give them: time first, zeros at the start token's place.
Tensor behind_zeros(const Tensor& logits) { return pad(time_first(logits), 0, 1, 0); }

Built additive_whole(Config& c) {
  nn::AdditiveSeq2SeqConfig o = additive_config(c);
  o.source_vocabulary = c.integer("input_dim");
  o.vocabulary = c.integer("output_dim");
  const int64_t d = c.get<int64_t>("embedding_dim", 0);
  o.d_source_embedding = c.get<int64_t>("encoder_embedding_dim", d);
  o.d_embedding = c.get<int64_t>("decoder_embedding_dim", d);
  c.expect("teacher_forcing_ratio", 1.0);
  auto p = std::make_unique<Published>();
  add_encoder(*p, "encoder.", o);
  add_decoder(*p, "decoder.", o);
  auto m = std::make_shared<nn::AdditiveSeq2Seq>(o);
  auto run = [&p = *p, m, o](Inputs& in) -> Tensors {
    const Tensor source = time_first(in["src"]), target = time_first(in["trg"]);
    const Tensor padding = behind(in.any({"src_len", "lengths"}), source.size(1));
    return with(
        *m,
        [&](const std::string& name) {
          return name.starts_with("encoder.") ? encoder_value(p, "encoder.", name.substr(8))
                                              : decoder_value(p, "decoder.", o, name.substr(8));
        },
        [&]() -> Tensors {
          return {behind_zeros((*m)(source, columns(target, 0, target.size(1) - 1), {.key_padding_mask = padding}))};
        });
  };
  return {std::move(p), run};
}

// ---- the model with one state

Tensor vanilla_value(const Published& p, const std::string& name) {
  if (name == "source_embedding.weight") return p.get("encoder.embedding.weight");
  if (name == "embedding.weight") return p.get("decoder.embedding.weight");
  if (name.starts_with("head.")) return p.get("decoder.fc_out." + name.substr(5));
  const auto dot = name.find('.');
  return p.get(name.substr(0, dot) + ".rnn" + name.substr(dot));
}

Built vanilla_whole(Config& c) {
  const int64_t d = c.get<int64_t>("embedding_dim", 0);
  c.expect("teacher_forcing_ratio", 1.0);
  c.get<double>("dropout", 0);
  const nn::VanillaSeq2SeqConfig o{.source_vocabulary = c.integer("input_dim"),
                                   .vocabulary = c.integer("output_dim"),
                                   .d_embedding = c.get<int64_t>("encoder_embedding_dim", d),
                                   .d_hidden = c.integer("hidden_dim"),
                                   .layers = c.get<int64_t>("n_layers", 1),
                                   .reverse_source = false};
  if (c.get<int64_t>("decoder_embedding_dim", d) != o.d_embedding) c.fail("decoder_embedding_dim", "not the encoder's");
  auto p = std::make_unique<Published>();
  p->embedding("encoder.embedding", o.source_vocabulary, o.d_embedding);
  p->recurrent("encoder.rnn", 4, o.d_embedding, o.d_hidden, o.layers, false);
  p->embedding("decoder.embedding", o.vocabulary, o.d_embedding);
  p->recurrent("decoder.rnn", 4, o.d_embedding, o.d_hidden, o.layers, false);
  p->linear("decoder.fc_out", o.vocabulary, o.d_hidden);
  auto m = std::make_shared<nn::VanillaSeq2Seq>(o);
  auto run = [&p = *p, m](Inputs& in) -> Tensors {
    const Tensor source = time_first(in["src"]), target = time_first(in["trg"]);
    return with(
        *m, [&](const std::string& name) { return vanilla_value(p, name); },
        [&]() -> Tensors { return {behind_zeros((*m)(source, columns(target, 0, target.size(1) - 1)))}; });
  };
  return {std::move(p), run};
}

/// Notebook 1's halves: an embedding and an LSTM, and the decoder's head.
struct LstmHalf : nn::Module {
  LstmHalf(int64_t n, int64_t d, int64_t hidden, int64_t layers, bool decoder)
      : embedding(child<nn::Embedding>("embedding", n, d)),
        rnn(child<nn::LSTM>("rnn", d, hidden, nn::RecurrentOptions{.layers = layers})),
        fc_out(decoder ? &child<nn::Linear>("fc_out", hidden, n) : nullptr) {}
  nn::Embedding& embedding;
  nn::LSTM& rnn;
  nn::Linear* fc_out;
};

Built vanilla_half(Config& c, bool decoder) {
  c.get<double>("dropout", 0);
  auto m = std::make_unique<LstmHalf>(c.integer(decoder ? "output_dim" : "input_dim"), c.integer("embedding_dim"),
                                      c.integer("hidden_dim"), c.get<int64_t>("n_layers", 1), decoder);
  auto run = [&m = *m](Inputs& in) -> Tensors {
    const Tensor tokens = in.needed({"src", "input"});
    const RecurrentResult r =
        m.rnn(m.embedding(m.fc_out ? unsqueeze(tokens, 0) : tokens), {in.any({"hidden"}), in.any({"cell"})});
    if (!m.fc_out) return {r.h, r.c};
    return {(*m.fc_out)(select(r.output, 0, 0)), r.h, r.c};
  };
  return {std::move(m), run};
}

}  // namespace

Built pytorch_seq2seq_encoder(Config& c) {
  return c.has("encoder_hidden_dim") ? additive_encoder(c) : vanilla_half(c, false);
}
Built pytorch_seq2seq_decoder(Config& c) {
  return c.has("encoder_hidden_dim") ? additive_decoder(c) : vanilla_half(c, true);
}
Built pytorch_seq2seq(Config& c) { return c.has("encoder_hidden_dim") ? additive_whole(c) : vanilla_whole(c); }

Built pytorch_seq2seq_attention(Config& c) {
  const nn::AdditiveSeq2SeqConfig o = additive_config(c);
  auto p = std::make_unique<Published>();
  add_attention(*p, "", o);
  auto m = std::make_shared<nn::AdditiveAttention>(o.d_hidden, 2 * o.d_encoder, o.d_hidden,
                                                   nn::AdditiveOptions{.bias = true});
  auto run = [&p = *p, m, o](Inputs& in) -> Tensors {
    const Tensor state = in["hidden"], annotations = time_first(in["encoder_outputs"]), hidden = hidden_by(in);
    return with(
        *m, [&](const std::string& name) { return attention_value(p, "", o, name); },
        [&]() -> Tensors { return {(*m)(state, m->memory(annotations, hidden)).weights}; });
  };
  return {std::move(p), run};
}

/// OpenNMT-py: additive attention, then a linear layer over the context and the query.
Built global_attention(Config& c) {
  const int64_t dim = c.integer("dim");
  c.expect("attn_type", "mlp");
  c.expect("attn_func", "softmax");
  c.expect("coverage", false);
  auto p = std::make_unique<Published>();
  p->linear("linear_context", dim, dim, false);
  p->linear("linear_query", dim, dim);
  p->linear("v", 1, dim, false);
  p->linear("linear_out", dim, 2 * dim);
  auto m = std::make_shared<nn::AdditiveAttention>(dim, dim, dim, nn::AdditiveOptions{.bias = true});
  auto run = [&p = *p, m](Inputs& in) -> Tensors {
    const Tensor query = in.needed({"src", "source"}), keys = in.needed({"enc_out", "memory_bank"});
    const Tensor padding = behind(in.any({"src_len", "memory_lengths"}), keys.size(1));
    return with(
        *m,
        [&](const std::string& name) -> Tensor {
          if (name == "score_weight") return select(p.get("v.weight"), 0, 0);
          return p.get(name == "query_weight" ? "linear_query.weight"
                       : name == "key_weight" ? "linear_context.weight"
                                              : "linear_query.bias");
        },
        [&]() -> Tensors {
          const nn::AdditiveResult r = (*m)(query, m->memory(keys, padding));
          return {linear(cat({r.context, query}, -1), p.get("linear_out.weight"), p.get("linear_out.bias")), r.weights};
        });
  };
  return {std::move(p), run};
}

}  // namespace attune::tests
