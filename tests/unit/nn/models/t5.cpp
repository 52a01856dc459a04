// T5 apart from its cases (reference_models): positions, the formula, padding, initialisation, dropout, errors.

#include <doctest/doctest.h>

#include <set>

#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::T5Config small() {
  return {.vocabulary = 17,
          .d_model = 10,
          .d_kv = 3,
          .d_ff = 14,
          .heads = 2,
          .layers = 2,
          .decoder_layers = 3,
          .buckets = 8,
          .max_distance = 9,
          .dropout = 0,
          .padding_token = 2,
          .end_token = 1,
          .start_token = 3};
}

nn::T5Config gated() {
  nn::T5Config c = small();
  c.activation = Activation::gelu_tanh;
  c.gated = true;
  c.tied = false;
  return c;
}

Tensor tokens(std::int64_t b, std::int64_t n) { return randint(0, 17, {b, n}); }
Tensor mask(const NestedValues& v, const Shape& shape) { return to(index_tensor(v, shape), boolean); }

// ---- the model once more, of plain operations

Tensor plain_norm(const Tensor& x, const Tensor& weight, double eps) {
  return x / sqrt(mean(square(x), {-1}, true) + eps) * weight;
}

/// The published names, where `hidden` [b, 1, t, s] has what a query does not see.
struct Composed {
  const nn::StateDict w;
  const nn::T5Config c;

  const Tensor& at(const std::string& name) const { return w.at(name + ".weight"); }
  Tensor linear(const Tensor& x, const std::string& name) const { return matmul(x, transpose(at(name))); }
  Tensor norm(const Tensor& x, const std::string& name) const { return plain_norm(x, at(name), c.eps); }
  Tensor heads(const Tensor& x) const { return transpose(reshape(x, {x.size(0), x.size(1), c.heads, c.d_kv}), 1, 2); }
  Tensor attention(const Tensor& x, const Tensor& memory, const std::string& name, const Tensor& bias,
                   const Tensor& hidden) const {
    Tensor scores = matmul(heads(linear(x, name + ".q")), transpose(heads(linear(memory, name + ".k")))) + bias;
    scores = masked_fill(scores, hidden, -inf);
    const Tensor y = transpose(matmul(softmax(scores), heads(linear(memory, name + ".v"))), 1, 2);
    return linear(reshape(y, {x.size(0), x.size(1), c.heads * c.d_kv}), name + ".o");
  }
  Tensor feed_forward(const Tensor& x, const std::string& name) const {
    if (!c.gated) return linear(relu(linear(x, name + ".wi")), name + ".wo");
    return linear(gelu_tanh(linear(x, name + ".wi_0")) * linear(x, name + ".wi_1"), name + ".wo");
  }
  Tensor bias(const std::string& stack, std::int64_t n, bool both) const {
    const Tensor& table = at(stack + ".block.0.layer.0.SelfAttention.relative_attention_bias");
    const nn::RelativeBiasOptions o{.buckets = c.buckets, .max_distance = c.max_distance, .bidirectional = both};
    return unsqueeze(permute(index(table, {nn::relative_position_buckets(n, n, o)}), {2, 0, 1}), 0);
  }

  Tensor stack_of(const std::string& stack, std::int64_t layers, Tensor x, const Tensor& hidden, const Tensor& memory,
                  const Tensor& memory_hidden) const {
    const Tensor positions = bias(stack, x.size(1), !memory.defined());
    for (std::int64_t i = 0; i < layers; ++i) {
      const std::string name = stack + ".block." + std::to_string(i) + ".layer.";
      Tensor y = norm(x, name + "0.layer_norm");
      x = x + attention(y, y, name + "0.SelfAttention", positions, hidden);
      if (memory.defined()) {
        y = norm(x, name + "1.layer_norm");
        x = x + attention(y, memory, name + "1.EncDecAttention", scalar(0, float64), memory_hidden);
      }
      const std::string last = name + (memory.defined() ? "2" : "1");
      x = x + feed_forward(norm(x, last + ".layer_norm"), last + ".DenseReluDense");
    }
    return norm(x, stack + ".final_layer_norm");
  }
  Tensor operator()(const Tensor& source, const Tensor& target, const Tensor& hidden_source,
                    const Tensor& hidden_target) const {
    const auto embedded = [&](const Tensor& ids) { return index(at("shared"), {ids}); };
    const auto as_mask = [](const Tensor& m) { return reshape(m, {m.size(0), 1, 1, m.size(1)}); };
    const Tensor memory = stack_of("encoder", c.layers, embedded(source), as_mask(hidden_source), {}, {});
    const std::int64_t t = target.size(1);
    const Tensor later = triu(ones({t, t}, boolean), 1);
    const Tensor y = stack_of("decoder", c.decoder_layers, embedded(target), logical_or(as_mask(hidden_target), later),
                              memory, as_mask(hidden_source));
    if (!c.tied) return linear(y, "lm_head");
    return matmul(y, transpose(at("shared"))) / std::sqrt(static_cast<double>(c.d_model));
  }
};

TEST_CASE("T5: a stack's position bias is its table by buckets, also of the last queries alone") {
  nn::T5 model(small());
  for (const nn::T5::Stack* stack : {&model.encoder, &model.decoder}) {
    const Tensor& table = stack->block[0].attention.relative_attention_bias->weight;
    for (const auto& [queries, keys] : {std::pair<std::int64_t, std::int64_t>{13, 13}, {1, 1}, {1, 12}, {4, 12}}) {
      const Plain bias(stack->position_bias(queries, keys)), by_bucket(table);
      const nn::RelativeBiasOptions o{.buckets = 8, .max_distance = 9, .bidirectional = stack == &model.encoder};
      const Plain buckets(nn::relative_position_buckets(queries, keys, o, keys - queries));
      REQUIRE(bias.shape == Shape{1, 2, queries, keys});
      for_indices(bias.shape, [&](const Dims& at) {
        CHECK(bias[at] == by_bucket[{static_cast<std::int64_t>(buckets[{at[2], at[3]}]), at[1]}]);
      });
    }
    CHECK(stack->position_bias(0, 0).shape() == Shape{1, 2, 0, 0});
  }
}

TEST_CASE("T5 is what its formulas say, in both forms") {
  for (nn::T5Config c : {small(), gated()})
    for (const bool tied : {true, false}) {
      c.tied = tied;
      CAPTURE(c.gated);
      nn::T5 model(c);
      model.to(float64);
      const Tensor source = tokens(2, 13), target = tokens(2, 11);  // longer than max_distance
      const Tensor hidden_source =
          mask({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, {2, 13});
      const Tensor hidden_target = mask({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1}, {2, 11});
      const Tensor y =
          model(source, target, {.key_padding_mask = hidden_source, .decoder_key_padding_mask = hidden_target});
      CHECK(y.shape() == Shape{2, 11, 17});
      const Composed composed{model.shared_state_dict(), c};
      CHECK(close(y, Plain(composed(source, target, hidden_source, hidden_target)), 1e-12));
      const Tensor open_source = zeros({2, 13}, boolean), open_target = zeros({2, 11}, boolean);
      CHECK(close(model(source, target), Plain(composed(source, target, open_source, open_target)), 1e-12));
    }
}

TEST_CASE("T5 passes gradcheck to second order") {
  for (nn::T5Config c : {small(), gated()}) {
    c.vocabulary = 10;
    c.d_model = 4;
    c.d_ff = 5;
    c.layers = c.decoder_layers = 1;
    c.activation = c.gated ? c.activation : Activation::gelu;  // relu has a kink, which differences may cross
    nn::T5 model(c);
    model.to(float64);
    const Tensor source = randint(0, 10, {2, 4}), labels = index_tensor({5, 6, 1, 9, 1, -100}, {2, 3});
    const Tensor hidden = mask({0, 0, 0, 0, 1, 0, 0, 0}, {2, 4});
    CHECK(nn::gradcheck(model,
                        [&](const Tensors&) {
                          return Tensors{model.loss(
                              model(source, model.shift_right(labels), {.key_padding_mask = hidden}), labels)};
                        },
                        {}) == "");
  }
}

TEST_CASE("T5: padding has no influence, forward or backward, on either side") {
  nn::T5 model(gated());
  model.to(float64);
  const Tensor source = tokens(1, 5), labels = index_tensor({4, 5, 6, 1}, {1, 4});
  const auto gradients = [&](const Tensor& x, const Tensor& hidden, const Tensor& y, const Tensor& hidden_y) {
    model.zero_grad();
    const Tensor logits =
        model(x, model.shift_right(y), {.key_padding_mask = hidden, .decoder_key_padding_mask = hidden_y});
    model.loss(logits, y).backward();
    Tensors all{logits.detach()};
    for (const Tensor& p : model.parameters()) all.push_back(clone(p.grad()));
    return all;
  };
  const Tensors alone = gradients(source, {}, labels, {});
  const Tensor left = cat({index_tensor({7, 8}, {1, 2}), source}, 1),
               right = cat({source, index_tensor({9}, {1, 1})}, 1);
  for (const auto& [x, hidden] :
       {std::pair{left, mask({1, 1, 0, 0, 0, 0, 0}, {1, 7})}, {right, mask({0, 0, 0, 0, 0, 1}, {1, 6})}}) {
    const Tensors padded = gradients(x, hidden, labels, {});
    for (std::size_t i = 0; i < alone.size(); ++i) CHECK(close(padded[i], Plain(alone[i]), 1e-12));
  }
  const Tensors behind =
      gradients(source, {}, index_tensor({4, 5, 6, 1, -100, -100}, {1, 6}), mask({0, 0, 0, 0, 1, 1}, {1, 6}));
  CHECK(close(slice(behind[0], 1, 0, 4), Plain(alone[0]), 1e-12));
  for (std::size_t i = 1; i < alone.size(); ++i) CHECK(close(behind[i], Plain(alone[i]), 1e-12));
}

TEST_CASE("T5: a decoder's token sees none after it; the loss counts what is no -100") {
  nn::T5 model(small());
  const Tensor source = tokens(1, 6), labels = index_tensor({4, 5, 6, 7, 8}, {1, 5});
  CHECK(same(model.shift_right(labels), {1, 5}, {3, 4, 5, 6, 7}));
  CHECK(same(model.shift_right(index_tensor({4, -100, -100}, {1, 3})), {1, 3}, {3, 4, 2}));
  const Tensor a = model(source, index_tensor({3, 4, 5, 6, 7}, {1, 5})),
               b = model(source, index_tensor({3, 4, 5, 9, 7}, {1, 5}));
  CHECK(difference(slice(a, 1, 0, 3), slice(b, 1, 0, 3)) == 0);
  CHECK(difference(slice(a, 1, 3, 5), slice(b, 1, 3, 5)) > 0);
  const Tensor some = index_tensor({4, -100, 6, -100, 8}, {1, 5});
  const Tensor each = model.loss(a, some, Reduction::none);
  CHECK(model.target_count(some) == 3);
  CHECK(select(select(each, 0, 0), 0, 1).item() == 0);
  CHECK(sum(each).item() == doctest::Approx(3 * model.loss(a, some).item()));
  CHECK(model.loss(a, some, Reduction::sum).item() == doctest::Approx(sum(each).item()));
  CHECK(difference(model.encode(source), model.encode(source)) == 0);
  CHECK(model.encode(source).shape() == Shape{1, 6, 10});
}

TEST_CASE("T5 begins as published: each weight with the spread of its kind") {
  nn::T5Config c{.vocabulary = 700, .d_model = 64, .d_kv = 24, .d_ff = 160, .heads = 6, .layers = 2, .factor = 2};
  for (const bool v1_1 : {false, true}) {
    c.gated = v1_1;
    c.tied = !v1_1;
    nn::T5 model(c);
    const auto spread = [&](const std::string& name) {
      if (name == "shared.weight") return 2.0;
      for (const auto& [part, size] : {std::pair{".q.weight", 64 * 24},
                                       {".k.", 64},
                                       {".v.", 64},
                                       {".o.", 6 * 24},
                                       {".wi", 64},
                                       {".wo", 160},
                                       {".relative_attention_bias", 64}})
        if (name.find(part) != std::string::npos) return 2 / std::sqrt(static_cast<double>(size));
      // The library that published v1.1 leaves the head as a linear layer begins: uniform.
      return name == "lm_head.weight" ? 1 / std::sqrt(3 * 64.0) : 0.0;
    };
    for (const auto& [name, value] : model.named_parameters()) {
      const std::string which = name;  // clang 14 captures no binding
      CAPTURE(which);
      if (name.ends_with("layer_norm.weight")) {
        CHECK(all(eq(value, 2)));
        continue;
      }
      const double of_kind = spread(name), sample = 1 / std::sqrt(static_cast<double>(value.numel()));
      REQUIRE(of_kind > 0);
      CHECK(std::abs(mean(value).item()) < 5 * of_kind * sample);
      CHECK(std::abs(std_dev(value).item() / of_kind - 1) < 5 * sample);
      const double farthest = amax(abs(value)).item() / of_kind;
      CHECK((name == "lm_head.weight" ? farthest <= std::sqrt(3.0) : farthest > 2.2));  // uniform or normal
    }
    CHECK((model.lm_head != nullptr) == v1_1);
  }
}

TEST_CASE("T5 drops out at the published places, and only while it trains") {
  nn::T5Config c = small();
  c.dropout = 0.4;
  nn::T5 model(c);
  const Tensor source = tokens(2, 6), target = tokens(2, 5);
  std::map<std::string, int> calls;
  std::vector<nn::HookHandle> hooks;
  for (const auto& [name, module] : model.named_modules())
    if (dynamic_cast<nn::Dropout*>(module)) {
      CHECK(dynamic_cast<nn::Dropout*>(module)->p() == 0.4);
      hooks.push_back(module->register_forward_hook(
          [&calls, name = name](const nn::Module&, const Tensors&, const Tensors&) { ++calls[name]; }));
    }
  const Tensor a = model(source, target), b = model(source, target);
  CHECK(difference(a, b) > 0);
  std::map<std::string, int> expected;
  for (const auto& [stack, layers, sublayers] : {std::tuple{"encoder", 2, 2}, {"decoder", 3, 3}}) {
    expected[std::string(stack) + ".dropout"] = 2;  // the embeddings', the output's
    for (int i = 0; i < layers; ++i) {
      const std::string name = std::string(stack) + ".block." + std::to_string(i) + ".";
      expected[name + "dropout"] = sublayers;
      expected[name + "layer." + std::to_string(sublayers - 1) + ".DenseReluDense.dropout"] = 1;
    }
  }
  for (auto& entry : expected) entry.second *= 2;  // two calls
  CHECK(calls == expected);
  // What is left is that of the attention's probabilities.
  for (const auto& [name, module] : model.named_modules())
    if (dynamic_cast<nn::Dropout*>(module)) module->eval();
  CHECK(difference(model(source, target), model(source, target)) > 0);
  model.eval();
  CHECK(difference(model(source, target), model(source, target)) == 0);
}

TEST_CASE("T5 refuses what does not fit") {
  const auto refused = [](const auto& change) {
    nn::T5Config c = small();
    change(c);
    return thrown([&] { nn::T5{c}; });
  };
  CHECK(refused([](auto& c) { c.d_kv = 0; }) == "ValueError: T5: d_kv = 0 must be at least 1");
  CHECK(refused([](auto& c) { c.decoder_layers = -1; }) == "ValueError: T5: decoder_layers = -1 must be at least 0");
  CHECK(refused([](auto& c) { c.buckets = 3; }) == "ValueError: T5: buckets = 3 must be at least 4");
  CHECK(refused([](auto& c) { c.max_distance = 4; }) ==
        "ValueError: T5: max_distance = 4 must be more than half of the 8 buckets");
  CHECK(refused([](auto& c) { c.start_token = 17; }) ==
        "ValueError: T5: start_token = 17 is outside of the vocabulary of 17");
  CHECK(refused([](auto& c) { c.dropout = 2; }).starts_with("ValueError: "));
  nn::T5 model(small());
  const Tensor x = tokens(2, 4);
  CHECK(thrown([&] { model(zeros({3}, int64), x); }) == "ShapeError: T5: tokens must be [batch, length], got [3]");
  CHECK(thrown([&] { model(tokens(3, 4), x); }) ==
        "ShapeError: T5: source [3, 4] and decoder tokens [2, 4] are of different batches");
  CHECK(thrown([&] {
          model(x, x, {.key_padding_mask = zeros({2, 3}, boolean)});
        }) == "ShapeError: T5: key_padding_mask [2, 3] must be [2, 4]");
  CHECK(thrown([&] {
          model(x, x, {.decoder_key_padding_mask = zeros({2, 4})});
        }) == "DTypeError: T5: key_padding_mask [2, 4] must be of bool, got float32");
  CHECK(thrown([&] { model(x + 17, x); }).starts_with("IndexError: shared: embedding: index "));
  CHECK(thrown([&] {
          model.loss(zeros({2, 4, 17}), tokens(2, 3));
        }) == "ShapeError: T5: labels [2, 3] do not fit logits [2, 4, 17]");
  CHECK(thrown([&] { model.shift_right(zeros({3}, int64)); }) ==
        "ShapeError: T5: labels must be [batch, length >= 1], got [3]");
}

}  // namespace
}  // namespace attune::tests
