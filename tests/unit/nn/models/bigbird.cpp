// BigBird apart from its published cases (reference_models).

#include "nn/models/bigbird.h"

#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/nn_checks.h"

namespace attune::tests {
namespace {

using nn::BertHeads;

nn::BigBirdConfig small(BertHeads heads = BertHeads::masked_words) {
  nn::BigBirdConfig c{.vocabulary = 23, .positions = 64, .d_model = 12, .d_ff = 24, .heads = 3, .layers = 2};
  c.block = 4;
  c.random_blocks = 1;  // sparse from 29 tokens on
  c.dropout = c.attention_dropout = 0;
  c.std = 0.3;
  c.separator = 2;
  c.heads_on_top = heads;
  return c;
}

Tensor random_tokens(std::int64_t b, std::int64_t n) {
  Generator g(3);
  return randint(4, 23, {b, n}, g);
}

double difference(const Tensor& a, const Tensor& b) { return amax(abs(a - b)).item(); }

TEST_CASE("BigBird: self-attention is its formula over whole matrices") {
  const std::int64_t n = 48, blocks = 12;
  nn::BigBird model(small());
  randomize(model);
  const Tensor x = normal({2, n, 12}, 1);
  Values hidden(2 * n);
  for (const std::size_t i : {47u, 46u, 20u, 95u}) hidden[i] = 1;
  Generator g(5);
  const std::vector<Tensor> chosen{AttentionPattern::draw_blocks(3, 1, 4, n, g),
                                   AttentionPattern::draw_blocks(3, 2, 4, n, g)};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const auto& m = model.bert.layers[layer].attention;
    const Plain random(chosen[layer]);
    Values mask;
    for_indices({2, 3, n, n}, [&](const Dims& at) {
      const std::int64_t row = at[2] / 4, column = at[3] / 4;
      const auto is_end = [&](std::int64_t i) { return i == 0 || i == blocks - 1; };
      bool sees = is_end(row) || is_end(column) || std::abs(row - column) <= 1;
      for (std::int64_t i = 0; !sees && i < random.shape[2]; ++i)
        sees = random[{at[1], row - 1, i}] == static_cast<double>(column);
      mask.push_back(!sees || hidden[static_cast<std::size_t>(at[0] * n + at[3])] != 0 ||
                     hidden[static_cast<std::size_t>(at[0] * n + at[2])] != 0);
    });
    const Tensor expected =
        nn::multihead_attention(m.query(x), m.key(x), m.value(x), 3, {.attention_mask = flags(mask, {2, 3, n, n})})
            .output;
    CHECK(close(m(x, nn::BigBird::Sight(flags(hidden, {2, n}), true, chosen)), Plain(expected), 1e-12));
  }
}

TEST_CASE("BigBird: short sequences are full, long ones sparse, of any length") {
  nn::BigBirdConfig c = small();
  manual_seed(2);
  const nn::BigBird sparse(c);
  c.block_sparse = false;
  manual_seed(2);
  const nn::BigBird full(c);
  const auto words = [](const nn::BigBird& m, std::int64_t n) { return m(random_tokens(2, n)).words; };
  CHECK(same(words(sparse, 28), words(full, 28)));
  CHECK(words(sparse, 29).shape() == Shape{2, 29, 23});
  CHECK(difference(words(sparse, 45), words(full, 45)) > 1e-3);
  CHECK(same(words(sparse, 45), words(sparse, 45)));  // the blocks are those of the layer
  // What the last block is filled up with is padding.
  const Tensor tokens = random_tokens(1, 45), filled = cat({tokens, zeros({1, 3}, int64)}, 1);
  const Tensor padding = unsqueeze(ge(arange(48), 45), 0);
  CHECK(difference(sparse(tokens).words, slice(sparse(filled, {.key_padding_mask = padding}).words, 1, 0, 45)) < 1e-5);
  nn::BigBirdConfig tight = small();
  tight.positions = 45;  // the padding of the last block has no positions
  CHECK(nn::BigBird(tight)(tokens).words.shape() == Shape{1, 45, 23});
}

TEST_CASE("BigBird: an answer lies behind the question") {
  const nn::BigBird model(small(BertHeads::spans));
  Tensor tokens = random_tokens(2, 12);
  tokens = where(eq(arange(12), 5), 2, tokens);
  const Tensor types = expand(unsqueeze(to(gt(arange(12), 5), int64), 0), {2, 12});
  const Tensor y = model(tokens).spans;
  CHECK(same(y, model(tokens, {.token_types = contiguous(types)}).spans));
  CHECK(amax(slice(y, 1, 1, 6)).item() < -9e5);
  CHECK(amin(slice(y, 1, 6, 12)).item() > -1e3);
  CHECK(amin(slice(y, 1, 0, 1)).item() > -1e3);
}

TEST_CASE("BigBird's heads learn, and every weight is reached but for an unused pooler") {
  const Tensor tokens = random_tokens(4, 33);
  const Tensor classes = tensor({0, 1, 1, 0}, {4}, int64);
  for (const auto& [heads, targets] :
       {std::pair{BertHeads::pretraining, nn::BertTargets{.words = tokens, .next_sentence = classes}},
        {BertHeads::sequence_labels, nn::BertTargets{.labels = classes}},
        {BertHeads::token_labels, nn::BertTargets{.labels = to(gt(tokens, 12), int64)}},
        {BertHeads::spans, nn::BertTargets{.starts = 13 + classes, .ends = 15 + classes}},
        {BertHeads::choices, nn::BertTargets{.labels = tensor({1, 0}, {2}, int64)}}}) {
    const int kind = static_cast<int>(heads);  // clang 14 captures no binding
    CAPTURE(kind);
    manual_seed(6);
    nn::BigBird model(small(heads));
    optim::AdamW opt(model.parameters(), {.lr = 1e-2});
    double first = 0, last = 0;
    for (int step = 0; step < 40; ++step) {
      const Tensor loss = model.loss(model(tokens), targets);
      last = loss.item();
      if (step == 0) first = last;
      loss.backward();
      if (step == 0)
        for (const auto& [name, p] : model.named_parameters()) {
          const std::string which = name;  // clang 14 captures no binding
          CHECK_MESSAGE((p.grad().defined() || name.starts_with("bert.pooler.")), which);
        }
      opt.step();
    }
    CHECK(last < first / 2);
  }
}

TEST_CASE("BigBird: files come back as they were") {
  const Folder folder;
  for (const BertHeads heads :
       {BertHeads::none, BertHeads::pretraining, BertHeads::masked_words, BertHeads::next_word,
        BertHeads::sequence_labels, BertHeads::token_labels, BertHeads::spans, BertHeads::choices}) {
    nn::BigBirdConfig c = small(heads);
    c.block_sparse = heads != BertHeads::next_word;
    c.causal = heads == BertHeads::next_word;
    c.attention_bias = heads != BertHeads::spans;
    c.rescale_embeddings = true;
    nn::save_config(folder / "config.json", c);
    nn::BigBird saved(c), loaded(nn::bigbird_config_from_file(folder / "config.json"));
    CHECK(loaded.config.block_sparse == c.block_sparse);
    CHECK(loaded.config.causal == c.causal);
    CHECK(loaded.config.attention_bias == c.attention_bias);
    CHECK(loaded.config.rescale_embeddings);
    CHECK(loaded.config.heads_on_top == heads);
    CHECK((loaded.config.block == 4 && loaded.config.random_blocks == 1));
    saved.save_published(folder / "model.safetensors");
    loaded.load_published(folder / "model.safetensors");
    for (const auto& [name, value] : saved.state_dict()) {
      const std::string which = name;  // clang 14 captures no binding
      CHECK_MESSAGE(same_bits(value, loaded.state_dict().at(name)), which);
    }
  }
}

TEST_CASE("BigBird: without examples or tokens, and with more random blocks than there can be") {
  const nn::BigBird model(small());
  for (const auto& [b, n] : {std::pair{0, 8}, {0, 40}, {0, 41}, {2, 0}, {0, 0}})
    for (const bool masked : {false, true}) {
      const Shape shape{b, n};  // clang 14 captures no binding
      INFO(shape.str(), " ", masked);
      const nn::BertResult y =
          model(zeros(shape, int64), {.key_padding_mask = masked ? zeros(shape, boolean) : Tensor()});
      CHECK(y.words.shape() == Shape{b, n, 23});
      sum(y.words).backward();
    }
  CHECK(thrown([&] {
          nn::BigBird(small(BertHeads::none))(zeros({2, 0}, int64));
        }) == "IndexError: select: index 0 is out of range for axis 1 of [2, 0, 12]");
  nn::BigBirdConfig c = small();
  manual_seed(2);
  c.random_blocks = std::numeric_limits<std::int64_t>::max();
  const nn::BigBird many(c);
  manual_seed(2);
  c.block_sparse = false;
  CHECK(same(many(random_tokens(2, 60)).words, nn::BigBird(c)(random_tokens(2, 60)).words));
}

TEST_CASE("BigBird: errors") {
  const auto refused = [](auto change) {
    nn::BigBirdConfig c = small();
    change(c);
    return thrown([&] { nn::BigBird{c}; });
  };
  CHECK(refused([](auto& c) { c.block = 0; }).starts_with("ValueError: BigBird"));
  CHECK(refused([](auto& c) { c.random_blocks = -1; }).starts_with("ValueError: BigBird"));
  CHECK(refused([](auto& c) { c.heads_on_top = BertHeads::next_sentence; }).find("heads_on_top") != std::string::npos);
  const nn::BigBird model(small());
  CHECK(thrown([&] { model(random_tokens(1, 65)); }) ==
        "ShapeError: BigBird: a sequence of 65 is longer than the 64 positions");
  CHECK(thrown([&] {
          model(random_tokens(1, 40), {.random_blocks = {zeros({3, 8, 1}, int64)}});
        }) == "ValueError: BigBird: random_blocks for 1 layers, not for 2");
  const Tensor few = zeros({3, 7, 1}, int64);
  CHECK(thrown([&] {
          model(random_tokens(1, 40), {.random_blocks = {few, few}});
        })
            .starts_with("ShapeError: bert.encoder.layer.0.attention.self: AttentionPattern::bigbird: chosen [3, 7, 1] "
                         "must be [h, 8, r]"));
  nn::BigBirdConfig c = small(BertHeads::next_word);
  c.causal = true;
  const nn::BigBird causal(c);
  CHECK(causal(random_tokens(1, 28)).words.defined());
  CHECK(thrown([&] { causal(random_tokens(1, 40)); }).starts_with("ValueError: BigBird: a causal model has full"));
}

}  // namespace
}  // namespace attune::tests
