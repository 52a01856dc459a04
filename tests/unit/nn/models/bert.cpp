// BERT apart from its published cases (reference_models).

#include "nn/models/bert.h"

#include <doctest/doctest.h>

#include "autograd/io/safetensors.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using nn::BertHeads;

nn::BertConfig small(BertHeads heads = BertHeads::pretraining) {
  nn::BertConfig c{.vocabulary = 23, .positions = 8, .d_model = 12, .d_ff = 24, .heads = 3, .layers = 2};
  c.dropout = c.attention_dropout = 0;
  c.std = 0.3;
  c.heads_on_top = heads;
  return c;
}

std::string bert_tiny(const std::string& file) { return std::string(ATTUNE_TEST_DATA) + "/models/bert_tiny/" + file; }

bool same_state(const nn::StateDict& a, const nn::StateDict& b) {
  for (const auto& [name, value] : a)
    if (!b.contains(name) || !same_bits(value, b.at(name))) return false;
  return a.size() == b.size();
}

/// The state, then what load() throws, with the promise that it changed nothing.
template <class F>
std::string refused(nn::Bert& model, F&& load) {
  const nn::StateDict before = model.state_dict();
  const std::string what = refusal<FileError>(load);
  CHECK(same_state(model.state_dict(), before));
  return what;
}

const Tensor& tokens() {
  static const Tensor t = index_tensor({1, 5, 9, 2, 7, 3, 4, 4, 8, 22, 6, 10}, {2, 6});
  return t;
}

TEST_CASE("BERT sees both sides, or the left alone if it is causal") {
  for (const bool causal : {false, true}) {
    nn::BertConfig c = small();
    c.causal = causal;
    const nn::Bert model(c);
    const Tensor other = index_tensor({1, 5, 9, 2, 8, 3, 4, 4, 8, 22, 6, 10}, {2, 6});
    const Tensor a = model(tokens()).words, b = model(other).words;
    CHECK(a.shape() == Shape{2, 6, 23});
    CHECK((difference(slice(a, 1, 0, 4), slice(b, 1, 0, 4)) == 0) == causal);
    CHECK(difference(slice(a, 1, 4, 6), slice(b, 1, 4, 6)) > 0);
    CHECK(difference(slice(a, 0, 1, 2), slice(b, 0, 1, 2)) == 0);
  }
}

TEST_CASE("BERT: padding has no influence, forward or backward") {
  nn::Bert model(small());
  const auto run = [&](const Tensor& x, const Tensor& hidden, const Tensor& labels) {
    model.zero_grad();
    const nn::BertResult y = model(x, {.key_padding_mask = hidden});
    model.loss(y, {.words = labels, .next_sentence = index_tensor({1}, {1})}).backward();
    std::vector<Tensor> all{slice(y.words.detach(), 1, 0, 4), y.pooled.detach(), y.next_sentence.detach()};
    for (const Tensor& p : model.parameters()) all.push_back(p.grad());
    return all;
  };
  const auto alone = run(index_tensor({1, 5, 9, 2}, {1, 4}), {}, index_tensor({-100, 3, 4, -100}, {1, 4}));
  const Tensor hidden = to(index_tensor({0, 0, 0, 0, 1, 1}, {1, 6}), boolean);
  const Tensor labels = index_tensor({-100, 3, 4, -100, -100, -100}, {1, 6});
  const auto padded = run(index_tensor({1, 5, 9, 2, 0, 0}, {1, 6}), hidden, labels),
             other = run(index_tensor({1, 5, 9, 2, 17, 18}, {1, 6}), hidden, labels);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    CHECK(difference(alone[i], padded[i]) < 1e-5);
    CHECK(difference(padded[i], other[i]) < 1e-5);
  }
}

TEST_CASE("BERT: token types and positions are the given ones, or all of the first and the places") {
  const nn::Bert model(small());
  const Tensor y = model(tokens()).words;
  CHECK(difference(y, model(tokens(), {.token_types = zeros({2, 6}, int64), .positions = arange(6)}).words) == 0);
  CHECK(difference(y, model(tokens(), {.token_types = ones({2, 6}, int64)}).words) > 1e-3);
  const Tensor places = index_tensor({5, 4, 3, 2, 1, 0}, {6});
  CHECK(difference(y, model(tokens(), {.positions = places}).words) > 1e-3);
  // Positions are all that tells places apart.
  const Tensor back = model(index_select(tokens(), 1, places), {.positions = places}).words;
  CHECK(difference(y, index_select(back, 1, places)) < 1e-5);
}

TEST_CASE("BERT's heads: what there is of a result, and which targets have a loss") {
  const Tensor words = index_tensor({-100, 3, -100, -100, 4, -100, 5, -100, -100, -100, -100, -100}, {2, 6});
  const Tensor pairs = index_tensor({0, 1}, {2});
  for (const auto& [heads, pooled, has_words, next, labels] : {std::tuple{BertHeads::none, true, false, false, false},
                                                               {BertHeads::pretraining, true, true, true, false},
                                                               {BertHeads::masked_words, false, true, false, false},
                                                               {BertHeads::next_word, false, true, false, false},
                                                               {BertHeads::next_sentence, true, false, true, false},
                                                               {BertHeads::sequence_labels, true, false, false, true},
                                                               {BertHeads::token_labels, false, false, false, true}}) {
    const int kind = static_cast<int>(heads);  // clang 14 captures no binding
    CAPTURE(kind);
    const nn::Bert model(small(heads));
    const nn::BertResult y = model(tokens());
    CHECK(y.hidden.shape() == Shape{2, 6, 12});
    CHECK(y.pooled.defined() == pooled);
    CHECK(y.words.defined() == has_words);
    CHECK(y.next_sentence.defined() == next);
    CHECK(y.labels.defined() == labels);
    CHECK(thrown([&] { model.loss(y, {}); }) == "ValueError: Bert: a loss needs targets");
    if (!has_words)
      CHECK(thrown([&] { model.loss(y, {.words = words}); }) ==
            "ValueError: Bert: there is no head for the targets words");
  }
  const nn::Bert model(small());
  const nn::BertResult y = model(tokens());
  const double both = model.loss(y, {.words = words, .next_sentence = pairs}).item();
  CHECK(both ==
        doctest::Approx(model.loss(y, {.words = words}).item() + model.loss(y, {.next_sentence = pairs}).item()));
  CHECK(model.loss(y, {.words = words}, Reduction::sum).item() ==
        doctest::Approx(3 * model.loss(y, {.words = words}).item()));
  CHECK(model.loss(y, {.words = words}, Reduction::none).shape() == Shape{2, 6});
  CHECK(thrown([&] {
          model.loss(y, {.words = words, .next_sentence = pairs}, Reduction::none);
        }).starts_with("ValueError: Bert: several targets"));
}

TEST_CASE("BERT's classifier of sequences: the problem is given or seen from the labels") {
  nn::BertConfig c = small(BertHeads::sequence_labels);
  const auto loss = [&](const Tensor& target) {
    manual_seed(4);
    const nn::Bert model(c);
    const nn::BertResult y = model(tokens());
    return std::pair{model.loss(y, {.labels = target}).item(), y.labels};
  };
  const Tensor classes = index_tensor({1, 0}, {2}), each = tensor({{1, 0}, {1, 1}});
  {
    const auto [by_labels, logits] = loss(classes);
    CHECK(by_labels == cross_entropy(logits, classes).item());
  }
  {
    const auto [by_labels, logits] = loss(each);
    CHECK(by_labels == binary_cross_entropy_with_logits(logits, each).item());
    c.problem = nn::BertProblem::regression;
    CHECK(loss(each).first == mse_loss(logits, each).item());
  }
  c.problem = nn::BertProblem::by_labels;
  c.labels = {"score"};
  const auto [regression, scores] = loss(tensor({0.5, 2}));
  CHECK(regression == mse_loss(reshape(scores, {2}), tensor({0.5, 2})).item());
}

TEST_CASE("BERT: each dropout stands in its place, while training") {
  const auto differs = [](nn::BertConfig c, const auto& part) {
    nn::Bert model(c);
    const Tensor a = part(model(tokens()));
    model.eval();
    return difference(a, part(model(tokens()))) > 1e-3;
  };
  const auto labels = [](const nn::BertResult& y) { return y.labels; };
  const auto hidden = [](const nn::BertResult& y) { return y.hidden; };
  nn::BertConfig c = small(BertHeads::sequence_labels);
  CHECK(!differs(c, labels));
  c.classifier_dropout = 0.5;
  CHECK(differs(c, labels));
  CHECK(!differs(c, hidden));
  c.classifier_dropout = 0;
  c.attention_dropout = 0.5;
  CHECK(differs(c, hidden));
  c.attention_dropout = 0;
  c.dropout = 0.5;
  CHECK(differs(c, hidden));
  CHECK(nn::Bert(c).config.classifier_dropout == 0);
  c.classifier_dropout = -1;
  CHECK(nn::Bert(c).config.classifier_dropout == 0.5);
}

TEST_CASE("BERT learns masked words and pairs") {
  manual_seed(6);
  nn::Bert model(small());
  const Tensor words = index_tensor({-100, 3, -100, -100, 4, -100, 5, -100, -100, -100, 7, -100}, {2, 6});
  const nn::BertTargets targets{.words = words, .next_sentence = index_tensor({0, 1}, {2})};
  optim::AdamW opt(model.parameters(), {.lr = 1e-2});
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    const Tensor loss = model.loss(model(tokens()), targets);
    last = loss.item();
    if (step == 0) first = last;
    loss.backward();
    if (step == 0)
      for (const auto& [name, p] : model.named_parameters()) {
        const std::string which = name;  // clang 14 captures no binding
        CHECK_MESSAGE((p.grad().defined() && amax(abs(p.grad())).item() > 0), which);
      }
    opt.step();
  }
  CHECK(first > 2);
  CHECK(last < 0.1);
}

TEST_CASE("BERT loads old names, files of the encoder alone, and files with more heads") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  nn::Bert saved(small()), loaded(small());
  const auto check_loaded = [&] {
    loaded.load_published(path);
    CHECK(same_state(saved.state_dict(), loaded.state_dict()));
    loaded.load_state_dict(nn::Bert(small()).state_dict());
  };
  nn::StateDict state = saved.state_dict();
  state["bert.embeddings.position_ids"] = reshape(arange(8), {1, 8});
  state["cls.predictions.decoder.weight"] = saved.bert.embeddings.words.weight;
  state["cls.predictions.decoder.bias"] = saved.words->bias;
  save_safetensors(path, state);
  check_loaded();
  nn::StateDict old;
  for (const auto& [name, value] : state) {
    std::string n = name;
    for (const auto& [now, then] :
         {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}})
      if (n.ends_with(now)) n.replace(n.size() - std::string(now).size(), std::string::npos, then);
    old[n] = value;
  }
  CHECK(old.contains("bert.embeddings.LayerNorm.gamma"));
  save_safetensors(path, old);
  check_loaded();

  // The encoder alone, as BertModel has it.
  nn::Bert encoder(small(BertHeads::none));
  encoder.save_published(path);
  for (const auto& entry : load_safetensors(path).tensors) CHECK(!entry.first.starts_with("bert."));
  nn::Bert again(small(BertHeads::none));
  again.load_published(path);
  CHECK(same_state(encoder.state_dict(), again.state_dict()));

  // Heads that a model does not have are left out; heads that a file does not have are missing.
  saved.save_published(path);
  nn::Bert words(small(BertHeads::masked_words)), classes(small(BertHeads::sequence_labels));
  words.load_published(path);
  CHECK(same_bits(words.words->bias, saved.words->bias));
  CHECK(difference(words(tokens()).words, saved(tokens()).words) == 0);
  CHECK(refused(classes, [&] { classes.load_published(path); }) == path + ": does not fit the model");
  const Tensor classifier = classes.classifier->weight.detach() + 0, pooler = saved.bert.pooler->weight;
  classes.load_encoder(path);
  CHECK(difference(classes(tokens()).pooled, saved(tokens()).pooled) == 0);
  CHECK(same_bits(classes.classifier->weight, classifier));
  words.save_published(path);  // without a pooler
  nn::init::zeros_(classes.bert.embeddings.norm.bias());
  classes.load_encoder(path);
  CHECK(same_bits(classes.bert.pooler->weight, pooler));
}

TEST_CASE("BERT refuses files that do not fit, and changes nothing") {
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  nn::Bert model(small());
  const auto refused_with = [&](const std::string& name, const Tensor& value) {
    nn::StateDict state = nn::Bert(small()).state_dict();
    state[name] = value;
    save_safetensors(path, state);
    return refused(model, [&] { model.load_published(path); }).substr(path.size() + 2);
  };
  CHECK(refused_with("cls.predictions.decoder.weight", zeros({23, 12})) ==
        "\"cls.predictions.decoder.weight\" differs from \"bert.embeddings.word_embeddings.weight\", and the model has "
        "one weight for both");
  CHECK(
      refused_with("cls.predictions.decoder.bias", ones({23})).starts_with("\"cls.predictions.decoder.bias\" differs"));
  CHECK(refused_with("bert.embeddings.position_ids", arange(8) + 2) ==
        "\"bert.embeddings.position_ids\" is not 0, 1, 2, ..., which is all that this model has");
  CHECK(refused_with("bert.encoder.layer.2.output.dense.bias", zeros({12})) == "does not fit the model");
  CHECK(refused_with("bert.embeddings.word_embeddings.weight", zeros({24, 12})) == "does not fit the model");
  nn::BertConfig c = nn::bert_config_from_file(bert_tiny("config.json"));
  c.vocabulary = 100;
  nn::Bert smaller(c);
  const std::string file = bert_tiny("model.safetensors");
  CHECK(refused(smaller, [&] { smaller.load_published(file); }) == file + ": does not fit the model");
}

TEST_CASE("BERT refuses what does not fit it") {
  nn::BertConfig c = small();
  c.heads = 5;
  CHECK(thrown([&] { nn::Bert{c}; }) == "ValueError: Bert: heads = 5 does not divide d_model = 12");
  c.layers = 0;
  CHECK(thrown([&] { nn::Bert{c}; }) == "ValueError: Bert: layers = 0 must be at least 1");
  c = small(BertHeads::token_labels);
  c.labels.clear();
  CHECK(thrown([&] { nn::Bert{c}; }) == "ValueError: Bert: needs at least one label");
  const nn::Bert model(small());
  const auto called = [&](const Tensor& t, const nn::BertCall& call = {}) { return thrown([&] { model(t, call); }); };
  CHECK(called(zeros({3}, int64)) == "ShapeError: Bert: tokens must be [batch, length], got [3]");
  CHECK(called(zeros({1, 9}, int64)) == "ShapeError: Bert: a sequence of 9 is longer than the 8 positions");
  CHECK(called(tokens(), {.token_types = zeros({2, 5}, int64)}) ==
        "ShapeError: Bert: token_types [2, 5] must be [2, 6]");
  CHECK(called(tokens(), {.key_padding_mask = zeros({6}, boolean)}) ==
        "ShapeError: Bert: key_padding_mask [6] must be [2, 6]");
  CHECK(called(tokens(), {.positions = zeros({2, 5}, int64)}) == "ShapeError: Bert: positions [2, 5] must be [2, 6]");
  CHECK(called(zeros({1, 3}, int64) + 23).starts_with("IndexError: "));
  CHECK(called(tokens(), {.token_types = zeros({2, 6}, int64) + 2}).starts_with("IndexError: "));
}

}  // namespace
}  // namespace attune::tests
