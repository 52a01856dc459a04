// AllenNLP's parts of ELMo, and its bidirectional LSTM with highway connections, as Attune's modules.

#include <algorithm>

#include "tests/reference/builders.h"

namespace attune::tests {

namespace {

using std::int64_t;

/// Lengths [b] of an input, or of the configuration: undefined without.
Tensor lengths_of(Inputs& in, const std::vector<int64_t>& configured) {
  const Tensor mask = in.any({"mask"});
  if (mask.defined()) return sum(to(to(mask, DType::boolean), DType::int64), {1});
  const Tensor given = in.any({"lengths", "batch_lengths"});
  return given.defined() || configured.empty() ? given : index_tensor(configured);
}

/// Initial states as the case names them.
LstmState initial_of(Inputs& in) {
  return {in.any({"initial_state.0", "states.0", "h0", "hx"}), in.any({"initial_state.1", "states.1", "c0", "cx"})};
}

/// As far as the longest sequence goes: what becomes of a packed one.
Tensor to_longest(const Tensor& x, int axis, const Tensor& lengths) {
  if (!lengths.defined()) return x;
  const auto all = lengths.to_vector<int64_t>();
  return slice(x, axis, 0, all.empty() ? 0 : *std::max_element(all.begin(), all.end()));
}

/// A module that holds weights under published names.
struct Named : nn::Module {
  void linear(const std::string& name, const Shape& weight, bool bias = true) {
    Leaf& l = child<Leaf>(name);
    l.add("weight", weight);
    if (bias) l.add("bias", {weight[0]});
  }
  void add(const std::string& name, const Shape& shape) { parameter(name, zeros(shape, DType::float64)); }
  Tensor get(const std::string& name) const {
    for (const auto& [path, p] : named_parameters())
      if (path == name) return p;
    throw std::runtime_error("the published module has no " + name);
  }

 private:
  struct Leaf : nn::Module {
    void add(const std::string& name, const Shape& shape) { parameter(name, zeros(shape, DType::float64)); }
  };
};

/// A highway layer's matrix or bias: the published gate lets the input through, Attune's what is new.
Tensor gate_turned(const Tensor& w) {
  const Tensors parts = chunk(w, 2, 0);
  return cat({parts[0], -parts[1]}, 0);
}

double clip(Config& c, const std::string& name) { return c.get<double>(name, 0); }

}  // namespace

Built elmo_character_encoder(Config& c) {
  nn::ElmoConfig o;
  const nlohmann::json cnn = c["char_cnn"], lstm = c["lstm"];
  c.get<std::vector<std::string>>("sentences", {});  // which the characters are of
  o.characters = cnn.at("n_characters");
  o.char_dim = cnn.at("embedding").at("dim");
  o.highway = cnn.at("n_highway");
  o.projection = lstm.at("projection_dim");
  const std::string f = cnn.at("activation");
  if (f != "relu" && f != "tanh") c.fail("char_cnn", "of an unknown activation");
  o.activation = f == "relu" ? Activation::relu : Activation::tanh;
  o.filters.clear();
  for (const auto& filter : cnn.at("filters")) o.filters.push_back({filter.at(0), filter.at(1)});

  auto published = std::make_unique<Named>();
  published->add("_char_embedding_weights", {o.characters, o.char_dim});
  int64_t features = 0;
  for (std::size_t i = 0; i < o.filters.size(); ++i) {
    published->linear("char_conv_" + std::to_string(i), {o.filters[i].count, o.char_dim, o.filters[i].width});
    features += o.filters[i].count;
  }
  for (int64_t i = 0; i < o.highway; ++i)
    published->linear("_highways._layers." + std::to_string(i), {2 * features, features});
  published->linear("_projection", {o.projection, features});

  auto m = std::make_shared<nn::ElmoCharacterEncoder>(o);
  m->to(DType::float64);
  const auto value = [](const Named& p, const std::string& name) {
    const std::string rest = name.substr(std::string("words.").size());
    if (rest == "embedding.weight") return p.get("_char_embedding_weights");
    if (rest.starts_with("conv")) return p.get("char_conv_" + rest.substr(4));
    if (rest.starts_with("highway.")) return gate_turned(p.get("_highways._layers." + rest.substr(8)));
    return p.get("_" + rest);
  };
  auto run = [&p = *published, m, value](Inputs& in) -> Tensors {
    Tensors values;
    for (const auto& [name, own] : m->named_parameters()) values.push_back(value(p, name));
    const Tensor characters = in.needed({"character_ids", "inputs"});
    return m->with_parameters(values, [&]() -> Tensors {
      const nn::ElmoWords w = (*m)(characters);
      return {w.vectors, logical_not(w.key_padding_mask)};
    });
  };
  return {std::move(published), run};
}

Built lstm_cell_with_projection(Config& c) {
  auto m = std::make_unique<nn::ElmoLstmLayer>(
      c.integer("input_size"), c.integer("hidden_size"), c.integer("cell_size"), !c.get<bool>("go_forward", true),
      clip(c, "memory_cell_clip_value"), clip(c, "state_projection_clip_value"));
  c.get<double>("recurrent_dropout_probability", 0);
  const auto configured = c.get<std::vector<int64_t>>("batch_lengths", {});
  auto run = [&m = *m, configured](Inputs& in) -> Tensors {
    LstmState s = initial_of(in);
    for (Tensor* t : {&s.h, &s.c})
      if (t->defined() && t->rank() == 3) *t = squeeze(*t, 0);
    const RecurrentResult r = m(in.needed({"inputs", "x"}), s, lengths_of(in, configured));
    return {r.output, unsqueeze(r.h, 0), unsqueeze(r.c, 0)};
  };
  return {std::move(m), run};
}

/// Each call goes on from the states that the one before left; the inputs are the same ones, or each call's own.
Built elmo_lstm(Config& c) {
  auto m = std::make_unique<nn::ElmoLstm>(c.integer("input_size"), c.integer("hidden_size"), c.integer("cell_size"),
                                          c.integer("num_layers"), clip(c, "memory_cell_clip_value"),
                                          clip(c, "state_projection_clip_value"));
  c.get<double>("recurrent_dropout_probability", 0);
  c.get<bool>("requires_grad", true);
  const bool stateful = c.get<bool>("stateful", true);
  const int64_t calls = c.get<int64_t>("calls", 1);
  auto run = [&m = *m, stateful, calls](Inputs& in) -> Tensors {
    nn::ElmoState state;
    const LstmState given = initial_of(in);
    Tensors outputs;
    for (int64_t i = 0; i < calls; ++i) {
      const std::string n = std::to_string(i);
      const Tensor x = in.needed({"inputs", "inputs." + n, "inputs_" + n, "x"});
      const Tensor mask = in.any({"mask", "mask." + n, "mask_" + n});
      const Tensor lengths = mask.defined() ? sum(to(to(mask, DType::boolean), DType::int64), {1}) : lengths_of(in, {});
      const LstmState before = i == 0 && given.h.defined() ? given : state.rows(x.size(0));
      const RecurrentResult r = m(x, before, lengths);
      if (stateful) state.keep(r);
      outputs.push_back(r.output);
    }
    return outputs;
  };
  return {std::move(m), run};
}

Built scalar_mix(Config& c) {
  auto m = std::make_unique<nn::ScalarMix>(c.integer("mixture_size"),
                                           nn::ScalarMixOptions{.layer_norm = c.get<bool>("do_layer_norm", false)});
  c.get<bool>("trainable", true);
  c.get<std::vector<double>>("initial_scalar_parameters", {});
  auto run = [&m = *m, n = c.integer("mixture_size")](Inputs& in) -> Tensors {
    Tensors all;
    for (int64_t i = 0; i < n; ++i) all.push_back(in["tensors." + std::to_string(i)]);
    const Tensor mask = in.any({"mask"});
    return {m(stack(all), mask.defined() ? logical_not(to(mask, DType::boolean)) : Tensor())};
  };
  return {std::move(m), run};
}

/// Initial states are one for both directions of a layer. What the published loop carries on for a sequence that a step
/// does not reach is detached from its graph: no gradient comes from the last state of a shorter sequence forward, nor
/// reaches its initial state backward. Attune's has both, so they are detached here.
Built stacked_bidirectional_lstm(Config& c) {
  auto m = std::make_unique<nn::HighwayLSTM>(
      c.integer("input_size"), c.integer("hidden_size"),
      nn::HighwayLstmOptions{.layers = c.integer("num_layers"), .highway = c.get<bool>("use_highway", true)});
  c.get<double>("recurrent_dropout_probability", 0);
  c.get<double>("layer_dropout_probability", 0);
  const auto configured = c.get<std::vector<int64_t>>("lengths", {});
  auto run = [&m = *m, configured](Inputs& in) -> Tensors {
    const Tensor lengths = lengths_of(in, configured);
    // States [2 L, B, H] without the gradients of shorter sequences in one direction.
    const auto cut = [&](const Tensor& s, int64_t way) {
      if (!s.defined() || !lengths.defined()) return s;
      const Tensor here = reshape(eq(fmod(arange(s.size(0), DType::float64), 2), way), {s.size(0), 1, 1});
      return where(logical_and(here, reshape(lt(lengths, amax(lengths)), {1, s.size(1), 1})), s.detach(), s);
    };
    LstmState s = initial_of(in);
    for (Tensor* t : {&s.h, &s.c})
      if (t->defined()) *t = cut(repeat_interleave(*t, 2, 0), 1);
    const RecurrentResult r = m(in.needed({"x", "inputs"}), s, lengths);
    return {to_longest(r.output, 1, lengths), cut(r.h, 0), cut(r.c, 0)};
  };
  return {std::move(m), run};
}

}  // namespace attune::tests
