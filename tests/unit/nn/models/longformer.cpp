// Longformer apart from its published cases (reference_models).

#include "nn/models/longformer.h"

#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

using nn::BertHeads;

nn::LongformerConfig small(BertHeads heads = BertHeads::masked_words) {
  nn::LongformerConfig c{.vocabulary = 23, .positions = 30, .d_model = 12, .d_ff = 24, .heads = 3, .layers = 2};
  c.windows = {2, 6};
  c.dropout = c.attention_dropout = 0;
  c.std = 0.3;
  c.heads_on_top = heads;
  return c;
}

Tensor random_tokens(std::int64_t b, std::int64_t n) {
  Generator g(3);
  return randint(4, 23, {b, n}, g);
}

double difference(const Tensor& a, const Tensor& b) { return amax(abs(a - b)).item(); }

TEST_CASE("Longformer: self-attention is its formula over whole matrices") {
  const std::int64_t n = 70;
  nn::LongformerConfig c = small();
  c.windows = {8, 30};
  nn::Longformer model(c);
  randomize(model);
  const Tensor x = normal({2, n, 12}, 1);
  Values hidden(2 * n), marked(2 * n);
  for (const std::size_t i : {69u, 68u, 40u, 139u}) hidden[i] = 1;
  for (const std::size_t i : {0u, 33u, 70u}) marked[i] = 1;
  const Tensor padding = flags(hidden, {2, n}), global = flags(marked, {2, n});
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    const auto& m = model.longformer.layers[static_cast<std::size_t>(layer)].attention;
    Values local, full;
    for (std::size_t b = 0; b < 2; ++b)
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const auto of = [&](const Values& v, std::int64_t at) {
            return v[b * n + static_cast<std::size_t>(at)] != 0;
          };
          const bool near = std::abs(i - j) <= c.windows[static_cast<std::size_t>(layer)] / 2;
          local.push_back(of(hidden, j) || !(near || of(marked, j)));
          full.push_back(of(hidden, j));
        }
    const auto by = [&](const nn::Linear& q, const nn::Linear& k, const nn::Linear& v, const Values& mask) {
      return nn::multihead_attention(q(x), k(x), v(x), 3, {.attention_mask = flags(mask, {2, n, n})}).output;
    };
    const Tensor ordinary = by(m.query, m.key, m.value, local),
                 globals = by(m.query_global, m.key_global, m.value_global, full);
    const Tensor expected = where(unsqueeze(padding, 2), 0, where(unsqueeze(global, 2), globals, ordinary));
    CHECK(close(m(x, nn::Longformer::Sight(padding, global)), Plain(expected), 1e-12));
    const Tensor alone = by(m.query, m.key, m.value, [&] {
      Values v = local;
      for (std::int64_t i = 0; i < 2 * n * n; ++i)
        v[static_cast<std::size_t>(i)] = std::abs(i / n % n - i % n) > c.windows[static_cast<std::size_t>(layer)] / 2;
      return v;
    }());
    CHECK(close(m(x, {}), Plain(alone), 1e-12));
  }
}

TEST_CASE("Longformer: padding has no influence, wherever it is") {
  const nn::Longformer model(small());
  const Tensor tokens = random_tokens(1, 9), more = cat({full({1, 3}, 1, int64), tokens, full({1, 4}, 1, int64)}, 1);
  const Tensor y = model(tokens).words, padded = model(more, {.key_padding_mask = eq(more, 1)}).words;
  CHECK(difference(y, slice(padded, 1, 3, 12)) < 1e-5);
  // A masked token is not global.
  const Tensor all = ones({1, 16}, boolean);
  const Tensor global = model(tokens, {.global_tokens = slice(all, 1, 0, 9)}).words;
  CHECK(difference(global,
                   slice(model(more, {.key_padding_mask = eq(more, 1), .global_tokens = all}).words, 1, 3, 12)) < 1e-5);
  CHECK(difference(global, y) > 1e-3);
}

TEST_CASE("Longformer: which tokens are global where nobody says it") {
  const std::int64_t n = 10;
  Tensor tokens = random_tokens(2, n);
  for (const std::int64_t at : {3, 4, 9}) tokens = where(eq(arange(n), at), 2, tokens);
  const auto check = [&](BertHeads heads, const Values& marked, const auto& part) {
    const nn::Longformer model(small(heads));
    const Tensor global = expand(flags(marked, {1, n}), {2, n});
    CHECK(same(part(model(tokens)), part(model(tokens, {.global_tokens = contiguous(global)}))));
  };
  check(BertHeads::sequence_labels, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, [](const nn::BertResult& y) { return y.labels; });
  check(BertHeads::spans, {1, 1, 1, 0, 0, 0, 0, 0, 0, 0}, [](const nn::BertResult& y) { return y.spans; });
  check(BertHeads::choices, {0, 0, 0, 0, 0, 1, 1, 1, 1, 1}, [](const nn::BertResult& y) { return y.labels; });
  check(BertHeads::token_labels, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, [](const nn::BertResult& y) { return y.labels; });
}

TEST_CASE("Longformer's heads learn, and every weight is reached") {
  const Tensor tokens = random_tokens(4, 12);
  const Tensor global = expand(unsqueeze(eq(arange(12), 0), 0), {4, 12});
  const Tensor classes = tensor({0, 1, 1, 0}, {4}, int64);
  for (const auto& [heads, targets] : {std::pair{BertHeads::masked_words, nn::BertTargets{.words = tokens}},
                                       {BertHeads::sequence_labels, nn::BertTargets{.labels = classes}},
                                       {BertHeads::token_labels, nn::BertTargets{.labels = to(gt(tokens, 12), int64)}},
                                       {BertHeads::spans, nn::BertTargets{.starts = 3 + classes, .ends = 5 + classes}},
                                       {BertHeads::choices, nn::BertTargets{.labels = tensor({1, 0}, {2}, int64)}}}) {
    const int kind = static_cast<int>(heads);  // clang 14 captures no binding
    CAPTURE(kind);
    manual_seed(6);
    nn::Longformer model(small(heads));
    optim::AdamW opt(model.parameters(), {.lr = 1e-2});
    double first = 0, last = 0;
    for (int step = 0; step < 40; ++step) {
      const Tensor loss = model.loss(model(tokens, {.global_tokens = contiguous(global)}), targets);
      last = loss.item();
      if (step == 0) first = last;
      loss.backward();
      if (step == 0)
        for (const auto& [name, p] : model.named_parameters()) {
          const std::string which = name;  // clang 14 captures no binding
          CHECK_MESSAGE(p.grad().defined(), which);
        }
      opt.step();
    }
    CHECK(last < first / 2);
  }
}

TEST_CASE("Longformer: files come back as they were") {
  const Folder folder;
  for (const BertHeads heads : {BertHeads::none, BertHeads::masked_words, BertHeads::sequence_labels, BertHeads::spans,
                                BertHeads::choices, BertHeads::token_labels}) {
    nn::LongformerConfig c = small(heads);
    c.labels = {"a", "b", "c"};
    c.separator = 7;
    nn::save_config(folder / "config.json", c);
    nn::Longformer saved(c), loaded(nn::longformer_config_from_file(folder / "config.json"));
    CHECK(loaded.config.windows == c.windows);
    CHECK(loaded.config.heads_on_top == heads);
    CHECK(loaded.config.separator == 7);
    CHECK(loaded.config.labels == c.labels);
    saved.save_published(folder / "model.safetensors");
    loaded.load_published(folder / "model.safetensors");
    for (const auto& [name, value] : saved.state_dict()) {
      const std::string which = name;  // clang 14 captures no binding
      CHECK_MESSAGE(same_bits(value, loaded.state_dict().at(name)), which);
    }
  }
}

TEST_CASE("Longformer: without examples or tokens") {
  const nn::Longformer model(small());
  for (const auto& [b, n] : {std::pair{0, 8}, {2, 0}, {0, 0}})
    for (const bool masked : {false, true}) {
      const Tensor mask = masked ? zeros({b, n}, boolean) : Tensor();
      const nn::BertResult y = model(zeros({b, n}, int64), {.key_padding_mask = mask, .global_tokens = mask});
      CHECK(y.words.shape() == Shape{b, n, 23});
      sum(y.words).backward();
    }
  CHECK(nn::Longformer(small(BertHeads::spans))(zeros({0, 8}, int64)).spans.shape() == Shape{0, 8, 2});
  CHECK(thrown([&] {
          nn::Longformer(small(BertHeads::sequence_labels))(zeros({2, 0}, int64));
        }) == "IndexError: select: index 0 is out of range for axis 1 of [2, 0, 12]");
}

TEST_CASE("Longformer: errors") {
  const auto refused = [](auto change) {
    nn::LongformerConfig c = small();
    change(c);
    return thrown([&] { nn::Longformer{c}; });
  };
  CHECK(refused([](auto& c) { c.windows = {2, 3}; }).find("a window of 3 is not even") != std::string::npos);
  CHECK(refused([](auto& c) { c.windows = {2, 2, 2}; }).find("has 3 windows for 2 layers") != std::string::npos);
  CHECK(refused([](auto& c) { c.heads = 5; }).starts_with("ValueError: Longformer"));
  CHECK(refused([](auto& c) { c.heads_on_top = BertHeads::pretraining; }).find("heads_on_top") != std::string::npos);
  CHECK(refused([](auto& c) { c.padding_token = -1; }).find("padding_token = -1") != std::string::npos);
  const nn::Longformer model(small());
  CHECK(thrown([&] { model(random_tokens(1, 29)); }) ==
        "ShapeError: Longformer: a sequence of 29 is longer than the 28 positions for it");
  CHECK(thrown([&] {
          model(random_tokens(1, 8), {.global_tokens = zeros({1, 7}, boolean)});
        }) == "ShapeError: Longformer: global_tokens [1, 7] must be [1, 8]");
  CHECK(thrown([&] {
          model(random_tokens(1, 8), {.global_tokens = zeros({1, 8}, int64)});
        }) == "DTypeError: Longformer: global_tokens must be bool, got int64");
  const Tensor one_has = cat({where(eq(arange(8), 3), 2, random_tokens(1, 8)), random_tokens(1, 8)}, 0);
  for (const BertHeads heads : {BertHeads::spans, BertHeads::choices}) {
    const nn::Longformer separated(small(heads));
    CHECK(thrown([&] { separated(one_has); }) ==
          "ValueError: Longformer: sequence 1 has no separator 2, by which its global tokens are found; give "
          "global_tokens");
    CHECK(separated(one_has, {.global_tokens = zeros({2, 8}, boolean)}).hidden.defined());
  }
}

}  // namespace
}  // namespace attune::tests
