// Trains BERT (Devlin et al. 2018) on masked words and next sentences of a text, and beside it two models of equal size
// on the blanks of "anna took the [MASK] because anna wanted to write": one that sees both sides, and its twin, of the
// same first weights and batches, that sees the left side alone.
//
// Expect: on text a loss that falls to that of the words' frequencies, stays there for a while, and falls again when
// the model begins to look at neighbours. Of the blanks the bidirectional model fills in all, the other one in sixteen.
#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/print.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;

namespace {
struct Options : examples::RunFlags {
  Options() { out = "bert_out", steps = 5000, save_every = 500; }
  std::string data, vocab;
  std::int64_t vocabulary = 300, length = 32, batch = 32, d_model = 64, layers = 2, fill_steps = 300;
  double lr = 5e-3;
};

struct Learner {
  nn::Bert model;
  optim::AdamW optimizer;
  Learner(const Options& o, std::int64_t vocabulary, std::int64_t steps, bool causal = false)
      : model(config(o, vocabulary, causal)),
        optimizer(model.parameters(), {.lr = o.lr, .schedule = optim::cosine(steps, steps / 10, 0.05)}) {}
  static nn::BertConfig config(const Options& o, std::int64_t vocabulary, bool causal) {
    manual_seed(static_cast<std::uint64_t>(o.seed));  // before the weights are drawn
    nn::BertConfig c{.vocabulary = vocabulary, .positions = o.length, .d_model = o.d_model, .d_ff = 4 * o.d_model};
    c.heads = 4, c.layers = o.layers, c.causal = causal, c.dropout = c.attention_dropout = 0;
    c.std = 0.1;  // the published 0.02 is for a width of 768
    return c;
  }
  nn::BertResult operator()(const nn::PretrainingBatch& b) const {
    return model(b.tokens, {.token_types = b.token_types, .key_padding_mask = b.key_padding_mask});
  }
  /// The loss, and the share of hidden words that are said, in %.
  std::pair<double, double> step(const nn::PretrainingBatch& b) {
    const nn::BertResult y = (*this)(b);
    const Tensor loss = model.loss(y, {.words = b.words, .next_sentence = b.next_sentence});
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    return {loss.item(), 100 * nn::accuracy(y.words, b.words)};
  }
};

/// Sentences whose blank comes before what it is for.
const std::vector<std::string> who{"anna", "ben", "carla", "dora", "emil"},
    things{"pen",  "book",   "knife", "spoon",  "key", "lamp",   "needle", "broom",
           "rope", "hammer", "glass", "ticket", "bed", "camera", "soap",   "phone"},
    uses{"write", "read",  "cut",   "eat",    "enter", "see",  "sew",  "sweep",
         "climb", "build", "drink", "travel", "sleep", "film", "wash", "talk"};

nn::PretrainingBatch sentences(const nn::Tokenizer& tokenizer, std::int64_t n) {
  std::vector<std::string> texts;
  std::vector<std::int64_t> blanks;
  for (const double drawn : randint(0, 5 * 16, {n}).to_vector<double>()) {
    const std::size_t person = static_cast<std::size_t>(drawn) / 16, thing = static_cast<std::size_t>(drawn) % 16;
    texts.push_back(who[person] + " took the [MASK] because " + who[person] + " wanted to " + uses[thing]);
    blanks.push_back(tokenizer.id_of(things[thing]));
  }
  const Tensor tokens = nn::encode_batch(tokenizer, texts).tokens;  // all of one length
  return {tokens, {}, {}, where(eq(tokens, tokenizer.special().mask), tensor(blanks, {n, 1}, int64), -100), {}};
}

/// The first row of a batch: what was read, and what the model says where words are hidden.
void show(const nn::Tokenizer& tokenizer, const nn::PretrainingBatch& b, const Learner& learner) {
  const Tensor said = where(eq(b.tokens, tokenizer.special().mask), argmax(learner(b).words), b.tokens);
  for (const auto& [what, rows] : {std::pair{"read  ", b.tokens}, {"filled", said}})
    examples::print("  {}: {}\n", what, nn::decode_batch(tokenizer, slice(rows, 0, 0, 1))[0]);
}

int train(const examples::CommandLine& line, const Options& o) {
  const std::string text = examples::read_text(o.data);
  const std::size_t cut = std::min(text.rfind('\n', text.size() / 10 * 9), text.size() - 1);
  const auto tokenizer = o.vocab.empty() ? nn::WordPieceTokenizer::train(text.substr(0, cut), {.size = o.vocabulary})
                                         : nn::WordPieceTokenizer::load(o.vocab);
  const auto batches_of = [&](const std::string& part) {
    Generator random(1);
    auto pairs = nn::next_sentence_pairs(nn::documents_of_lines(part, tokenizer), o.length - 3, random);
    return nn::pretraining_batches(std::move(pairs), tokenizer, {.batch = o.batch});
  };
  auto batches = batches_of(text.substr(0, cut)), held_out = batches_of(text.substr(cut + 1));
  std::string all = "took the because wanted to";
  for (const auto* list : {&who, &things, &uses})
    for (const std::string& word : *list) all += " " + word;
  const nn::WordTokenizer words(all, 100, {"[MASK]"});
  Learner bert(o, tokenizer.size(), o.steps), both(o, words.size(), o.fill_steps),
      left(o, words.size(), o.fill_steps, true);
  nn::Run run(o.out, examples::run_options(line, o));
  for (const auto& [name, learner] : {std::pair{"bert", &bert}, {"both", &both}, {"left", &left}})
    run.track(name, learner->model), run.track(std::string(name) + "_optimizer", learner->optimizer);
  run.track("data", batches);
  while (run.next()) {
    const auto [loss, share] = bert.step(batches.next());
    run.log({{"loss", loss}, {"words", share}});
    if (run.step() <= o.fill_steps) {
      const nn::PretrainingBatch b = sentences(words, o.batch);
      run.log({{"both", both.step(b).second}, {"left", left.step(b).second}});
    }
    if (!run.every(500)) continue;
    const NoGrad off;
    nn::Accuracy hidden, pairs;
    for (const nn::PretrainingBatch& b : held_out) {
      const nn::BertResult y = bert(b);
      hidden.add(y.words, b.words), pairs.add(y.next_sentence, b.next_sentence);
    }
    run.log({{"validation", 100 * hidden.value()}, {"pairs", 100 * pairs.value()}});
  }
  if (run.interrupted()) return run.exit_code();
  tokenizer.save(o.out + "/vocab.txt");
  nn::save_config(o.out + "/config.json", bert.model.config);
  bert.model.save_published(o.out + "/model.safetensors");
  examples::print("{} steps in {:.0f} s. Held-out text: {:.1f} % of masked words, {:.1f} % of pairs\n", run.step(),
                  run.seconds(), run.history("validation").back().second, run.history("pairs").back().second);
  show(tokenizer, *held_out.begin(), bert);
  const nn::PretrainingBatch more = sentences(words, 512);
  for (const auto& [name, learner] : {std::pair{"bidirectional", &both}, {"left to right", &left}}) {
    const double share = 100 * nn::accuracy((*learner)(more).words, more.words);
    examples::print("{}, {} parameters: {:.1f} % of blanks\n", name, learner->model.parameter_count(), share);
    show(words, more, *learner);
  }
  const auto curve = [&](const char* name, const char* metric) { return examples::Curve{name, run.history(metric)}; };
  examples::draw_curves(o.out + "/text.png", "Masked words and next sentences", {"loss", {curve("training", "loss")}},
                        {"held-out words filled in (%)", {curve("held out", "validation")}});
  examples::draw_curves(o.out + "/fill_in.png", "Blanks that the words after them tell",
                        {"filled in (%)", {curve("bidirectional", "both"), curve("left to right", "left")}, "[0:105]"});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("bert", "Trains BERT on a text, and on blanks beside a left-to-right twin.");
  constexpr std::int64_t most = 1 << 20;
  Options o;
  line.add("--data", o.data, "a text file; the default is the Jargon File from Debian's dict-jargon");
  line.add("--vocab", o.vocab, "a vocab.txt of BERT's; the default is trained on the text");
  line.add("--vocabulary", o.vocabulary, 10, most, "word pieces of a trained one");
  line.add("--length", o.length, 24, most, "tokens of a pair of sentences");
  line.add("--d-model", o.d_model, 4, most, "model width");
  line.add("--layers", o.layers, 1, most, "layers");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add_run(o);
  return line.run(argc, argv, [&] { return train(line, o); });
}
