// ELMo (Peters et al. 2018): a language model reads text in both directions, then each of its layers is asked what an
// ambiguous word means, as in `the loan by the bank was near a debt`. Layer 0 knows a word by its characters alone and
// can only guess; the layers above know the sentence, and with their mixture a classifier learns which of them to
// trust. The model is frozen then; it has read such sentences, but has never seen an answer.
// Expect: within four minutes on two cores about 90 % right by the upper layers and the mixture, 50 % by layer 0.
#include <algorithm>

#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/plot.h"
#include "examples/support/print.h"
#include "examples/support/senses.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::ask, examples::print, examples::Questions;
using Words = std::vector<std::string>;

namespace {

struct Options : examples::RunFlags {
  Options() : RunFlags{.out = "elmo_out", .steps = 1500, .save_every = 500} {}
  std::int64_t batch = 32, width = 64, cells = 128, vocabulary = 1000, questions = 1500;
  double lr = 5e-3;
  std::string data;
};

using Batch = std::pair<Tensor, Tensor>;  // characters [b, t, 16], words [b, t]

Batch batch_of(const std::vector<Words>& sentences, const nn::Tokenizer& tokenizer) {
  const Tensor characters = nn::elmo_characters(sentences, 16);
  std::vector<std::int64_t> ids;
  for (const Words& s : sentences)
    for (std::size_t i = 0; i < static_cast<std::size_t>(characters.size(1)); ++i)
      ids.push_back(i < s.size() ? tokenizer.encode(s[i]).front() : -100);
  return {characters, tensor(ids, {characters.size(0), characters.size(1)})};
}

/// What each layer has of the ambiguous words: [3, n, d].
Tensor features(const nn::Elmo& elmo, const Questions& q) {
  const NoGrad off;
  const Tensor layers = elmo(nn::elmo_characters(q.sentences, 16)).layers;
  return index_select(flatten(layers, 1, 2), 1, arange(layers.size(1)) * layers.size(2) + tensor(q.places));
}

/// A classifier that learns from features x [layers, n, d].
struct Probe : nn::Module {
  Probe(const Tensor& x, const Tensor& answers)
      : mix(child<nn::ScalarMix>("mix", x.size(0))), out(child<nn::Linear>("out", x.size(2), examples::sense_count)) {
    optim::AdamW optimizer(parameters(), {.lr = 0.05, .weight_decay = 0});
    for (int i = 0; i < 1000; ++i, optimizer.step()) cross_entropy(out(mix(x)), answers).backward();
  }
  nn::ScalarMix& mix;
  nn::Linear& out;
};

void judge(nn::Elmo& elmo, const Questions& to_learn, const Questions& asked, const std::string& folder) {
  elmo.eval();
  const Tensor x = features(elmo, to_learn), y = features(elmo, asked);
  std::vector<std::vector<double>> bars;
  print("\nRight answers in %\n");
  for (std::int64_t layer = 0; layer <= 3; ++layer) {  // the last: of all
    const auto of = [&](const Tensor& all) { return layer == 3 ? all : slice(all, 0, layer, layer + 1); };
    const Probe probe(of(x), tensor(to_learn.answers));
    const Tensor right = eq(argmax(probe.out(probe.mix(of(y)))), tensor(asked.answers));
    bars.push_back({static_cast<double>(layer), 100 * mean(to(right, float64)).item(), 0});
    print("{:14}{:6.1f}\n", layer == 3 ? "the mixture" : fmt::format("layer {}", layer), bars.back()[1]);
    for (std::size_t i = 0; layer == 3 && i < 3; ++i) bars[i][2] = probe.mix.weights().to_vector<double>()[i];
  }
  print("The mixture is {:.3f} of layer 0, {:.3f} of 1, {:.3f} of 2\n", bars[0][2], bars[1][2], bars[2][2]);
  const std::string plot =
      "set multiplot layout 1,2\nset style fill solid\nset boxwidth 0.5\nset grid y\nset yrange [0:100]\n"
      "set xtics ('layer 0' 0, 'layer 1' 1, 'layer 2' 2, 'mixture' 3)\nset title 'Senses told right (%)'\n"
      "plot [-0.7:3.7] $b using 1:2 with boxes notitle\nset yrange [0:1]\nset title 'Weights of the mixture'\n"
      "plot [-0.7:2.7] $b using 1:3 with boxes notitle\nunset multiplot";
  if (examples::draw(folder + "/mix.png", 900, 420, examples::data_block("b", bars) + plot))
    print("The mixture: {}/mix.png\n", folder);
}

int train(const examples::CommandLine& line, const Options& o) {
  manual_seed(static_cast<std::uint64_t>(o.seed));
  std::vector<Words> text = examples::sentences_of(line.or_refuse([&] { return examples::read_text(o.data); }), 24);
  if (text.size() < 2) line.refuse("the text has fewer than two sentences");
  const std::vector<Words> held_out(text.end() - std::clamp<std::ptrdiff_t>(std::ssize(text) / 20, 1, 500), text.end());
  text.resize(text.size() - held_out.size());
  for (Words& s : ask(std::min<std::int64_t>(std::ssize(text), 20000)).sentences) text.push_back(std::move(s));
  const Questions to_learn = ask(o.questions), asked = ask(o.questions);
  std::string all;
  std::vector<std::int64_t> lengths;
  for (const Words& s : text) {
    lengths.push_back(std::ssize(s));
    for (const std::string& w : s) all += w + " ";
  }
  const nn::WordTokenizer tokenizer(all, o.vocabulary, {"<s>", "</s>", "<unk>"});  // 0 and 1 are a sentence's ends
  const nn::BatchOptions order{.batch = o.batch, .group = 16, .seed = static_cast<std::uint64_t>(o.seed)};
  auto batches = nn::make_batches<Batch>(lengths, order, [&](const std::vector<std::int64_t>& rows, Generator&) {
    std::vector<Words> some;
    for (const std::int64_t row : rows) some.push_back(text[static_cast<std::size_t>(row)]);
    return batch_of(some, tokenizer);
  });
  nn::ElmoConfig c{.filters = {{1, 16}, {2, 16}, {3, 32}, {4, 32}}, .projection = o.width, .cells = o.cells};
  c.vocabulary = tokenizer.size();
  nn::Elmo elmo(c);
  optim::AdamW optimizer(elmo.parameters(), {.lr = o.lr, .schedule = optim::cosine(o.steps + 100, 100, 0.05)});
  const auto loss_of = [&](const Batch& b) { return elmo.loss(b.first, b.second); };
  const Batch fresh = batch_of(held_out, tokenizer);
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, examples::run_options(line, o)); });
  run->track("model", elmo);
  run->track("optimizer", optimizer);
  run->track("data", batches);
  while (run->next()) {
    const Tensor loss = loss_of(batches.next());
    loss.backward();
    optim::clip_grad_norm(elmo.parameters(), 1);
    optimizer.step();
    run->log({{"loss", loss.item()}});
    if (!run->every(250)) continue;
    const NoGrad off;
    elmo.eval();
    run->log({{"validation", loss_of(fresh).item()}});
    elmo.train();
  }
  if (run->interrupted()) return run->exit_code();
  judge(elmo, to_learn, asked, o.out);
  const examples::Axis axis{"loss", {{"training", run->history("loss")}, {"validation", run->history("validation")}}};
  if (examples::draw_curves(o.out + "/loss.png", "ELMo: nats a word", axis)) print("Losses: {}/loss.png\n", o.out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("elmo", "Trains ELMo on text, and asks its layers what ambiguous words mean.");
  Options o;
  line.add("--batch", o.batch, 1, 1 << 20, "sentences in a batch");
  line.add("--width", o.width, 2, 1 << 16, "of each direction");
  line.add("--cells", o.cells, 1, 1 << 20, "of the LSTM, projected to the width");
  line.add("--vocabulary", o.vocabulary, 4, 1 << 24, "words that are predicted; others are one");
  line.add("--questions", o.questions, 1, 1 << 20, "to learn from, and of each kind to be judged by");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add("--data", o.data, "a text");
  line.add_run(o);
  return line.run(argc, argv, [&] { return train(line, o); });
}
