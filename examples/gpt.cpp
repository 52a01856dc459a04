// A GPT on text of one's own: trains, stops, resumes, writes; by characters or byte-pair encoding, dense as GPT-2 or
// alternating dense and banded as GPT-3. With --in-context GPT-3's claim on a small task: what it learns from examples.
#include <cmath>

#include "examples/support/curves.h"
#include "examples/support/language.h"
#include "examples/support/plot.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

struct Options : examples::LanguageFlags {
  std::string sample, weights;
  std::int64_t banded = 0, symbols = 8;
  bool in_context = false;
};

nn::Gpt2Config config_of(const Options& o, std::int64_t n) {
  nn::Gpt2Config c{.vocabulary = n, .positions = o.context, .d_model = o.width, .heads = o.heads, .layers = o.layers};
  c.dropout = c.embedding_dropout = c.attention_dropout = o.dropout;
  c.band = o.banded;
  return c;
}

int sample(const Options& o) {
  const std::string folder = o.weights.empty() ? o.out : o.weights;
  const auto tokenizer = examples::load_tokenizer(folder);
  nn::Gpt2 model(nn::gpt2_config_from_file(folder + "/config.json"));
  if (tokenizer->size() > model.config.vocabulary) throw ValueError(folder + ": more tokens than the model has");
  if (o.weights.empty()) nn::load_from_checkpoint(folder, "model", model);
  if (!o.weights.empty()) model.load_published(folder + "/model.safetensors");
  examples::write(model, model.config.positions, *tokenizer, o.sample, o);
  return 0;
}

/// The loop of both tasks: batch() gives inputs and targets. False if interrupted.
template <class Data, class Batch, class Validate>
bool train(nn::Gpt2& model, nn::Run& run, const Options& o, Data& data, Batch batch, Validate validate) {
  const auto matrix = [](const std::string&, const Tensor& p) { return p.rank() > 1; };
  const auto schedule = optim::cosine(o.steps, std::min(o.warmup, o.steps), 0.1);
  optim::AdamW optimizer(optim::groups_by_name(model.named_parameters(), {{.which = matrix, .weight_decay = 0.1}}),
                         {.lr = o.lr, .beta2 = 0.99, .weight_decay = 0, .schedule = schedule});
  run.track("model", model);
  run.track("optimizer", optimizer);
  run.track("data", data);
  print("GPT: {} layers, width {}, {} parameters\n", o.layers, o.width, model.parameter_count());
  while (run.next()) {
    const auto [x, y] = batch();
    const Tensor loss = cross_entropy(model(x), y);
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    run.log({{"loss", loss.item()}});
    if (run.every(250)) run.log({{"validation", validate()}});
  }
  return !run.interrupted();
}

int train_on_text(const examples::CommandLine& line, const Options& o) {
  const std::string text = line.or_refuse([&] { return examples::read_text(o.data); });
  const auto tokenizer = line.or_refuse([&] { return examples::make_tokenizer(o, text); });
  const auto parts = nn::split(nn::Tokens(tokenizer->encode(text), tokenizer->size()), 0.9);
  const nn::WindowOptions random{.length = o.context, .batch = o.batch, .seed = static_cast<std::uint64_t>(o.seed)};
  const nn::WindowOptions whole{.length = o.context, .batch = 64, .sequential = true};
  auto batches = line.or_refuse([&] { return nn::token_windows(parts.first, random); });
  auto held_out = line.or_refuse([&] { return nn::token_windows(parts.second, whole); });
  const auto model = line.or_refuse([&] { return std::make_unique<nn::Gpt2>(config_of(o, tokenizer->size())); });
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, examples::run_options(line, o)); });
  nn::save_config(o.out + "/config.json", model->config);
  examples::save_tokenizer(*tokenizer, o.out);
  const auto validate = [&] { return examples::validation_loss(*model, held_out); };
  const auto next = [&] { return batches.next(); };
  if (!train(*model, *run, o, batches, next, validate)) return run->exit_code();
  model->save_published(o.out + "/model.safetensors");
  print("Validation loss {:.4f}, {:.0f} s\n", run->history("validation").back().second, run->seconds());
  const examples::Axis axis{.label = "loss",
                            .curves = {{"training", run->history("loss")}, {"validation", run->history("validation")}}};
  if (examples::draw_curves(o.out + "/loss.png", "GPT: nats a token", axis)) print("Losses: {}/loss.png\n", o.out);
  examples::write(*model, o.context, *tokenizer, text.substr(0, text.find_first_of(" \n") + 1), o);
  return 0;
}

/// `key value key value ...`: which value a key has is drawn anew for each sequence, and can only be known from it.
struct KeyToValue {
  nn::WindowBatch next(std::int64_t rows) {
    const Tensor keys = randint(0, symbols, {rows, pairs}, random);
    const Tensor values = gather(randint(symbols, 2 * symbols, {rows, symbols}, random), 1, keys);
    const auto in_turns = [](const Tensors& ab) { return slice(flatten(stack(ab, 2), 1), 1, 0, -1); };
    return {in_turns({keys, values}), in_turns({values, full({rows, pairs}, -100, int64)})};  // keys: not predicted
  }
  std::int64_t symbols, pairs;
  Generator random;
};

int train_in_context(const examples::CommandLine& line, const Options& o) {
  KeyToValue task{o.symbols, o.context / 2, Generator(static_cast<std::uint64_t>(o.seed) + 1)};
  const auto model = line.or_refuse([&] { return std::make_unique<nn::Gpt2>(config_of(o, 2 * o.symbols)); });
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, examples::run_options(line, o)); });
  const auto accuracy = [&] {  // [pairs]: of the values, by how many pairs came before
    const NoGrad off;
    model->eval();
    const auto [x, y] = KeyToValue{o.symbols, o.context / 2, Generator(1'000'003)}.next(512);
    const Tensor right = slice(eq(argmax((*model)(x)), y), 1, 0, to_end, 2);
    model->train();
    return mean(to(right, float64), {0}).to_vector<double>();
  };
  const auto next = [&] { return task.next(o.batch); };
  if (!train(*model, *run, o, task.random, next, [&] { return accuracy().back(); })) return run->exit_code();
  std::vector<std::vector<double>> rows;
  print("{:>8}{:>12}{:>12}\n", "shots", "accuracy", "possible");
  for (const double a : accuracy()) {
    const auto n = static_cast<double>(rows.size() + 1);  // the key has come before, or a guess
    rows.push_back({n - 1, 100 * a, 100 - 100 * std::pow(1 - 1 / static_cast<double>(o.symbols), n)});
    if (n < 4 || std::fmod(n, 8) == 0) print("{:>8}{:>10.1f} %{:>10.1f} %\n", n - 1, rows.back()[1], rows.back()[2]);
  }
  const std::string plot =
      "set title 'Learning from examples in the context'\nset xlabel 'pairs before'\nset ylabel 'accuracy (%)'\n"
      "set grid\nset key bottom\nplot [] [0:102] $a w linesp title 'model', $a using 1:3 w lines title 'possible'";
  if (examples::draw(o.out + "/shots.png", 900, 480, examples::data_block("a", rows) + plot))
    print("Accuracy: {}/shots.png\n", o.out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("gpt", "Trains a GPT on text, and writes some.");
  Options o;
  o.out = "gpt_out";
  examples::add_language(line, o);
  line.add("--banded", o.banded, 0, 1 << 20, "GPT-3's form: every second layer sees so many tokens; 0: all are dense");
  line.flag("--in-context", o.in_context, "instead of text, values of keys that only the examples before tell");
  line.add("--symbols", o.symbols, 2, 1 << 20, "keys, and as many values");
  line.add("--sample", o.sample, "write on from this text, by the run in --out or by --weights", {}, false);
  line.add("--weights", o.weights, "a folder of published weights, with their config.json and vocabulary", {}, false);
  return line.run(argc, argv, [&] {
    manual_seed(static_cast<std::uint64_t>(o.seed));
    if (line.given("--sample")) return sample(o);
    if (!o.in_context) return train_on_text(line, o);
    examples::unless_given(line, {{"--layers", o.layers, 2}, {"--heads", o.heads, 1}, {"--width", o.width, 64}});
    examples::unless_given(line, {{"--context", o.context, 32}, {"--batch", o.batch, 64}});
    if (!line.given("--lr")) o.lr = 1e-3;
    return train_in_context(line, o);
  });
}
