// A GPT on text of one's own: trains, stops, resumes, writes; by characters or byte-pair encoding, dense as GPT-2 or
// alternating dense and banded as GPT-3. With --in-context GPT-3's claim on a small task: what it learns from examples.
#include <cmath>

#include "examples/support/command_line.h"
#include "examples/support/plot.h"
#include "examples/support/text.h"
#include "examples/support/write.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

struct Options : examples::RunFlags {
  std::string data, tokenizer = "characters", sample, weights;
  std::int64_t vocabulary = 1000, layers = 4, heads = 4, width = 128, context = 64, batch = 12, banded = 0;
  std::int64_t warmup = 100, symbols = 8;
  double dropout = 0, lr = 3e-3;
  bool in_context = false;
  examples::WriteOptions write;

  nn::Gpt2Config config(std::int64_t tokens) const {
    nn::Gpt2Config c{.vocabulary = tokens, .positions = context, .d_model = width, .heads = heads, .layers = layers};
    c.dropout = c.embedding_dropout = c.attention_dropout = dropout;
    c.band = banded;
    return c;
  }
};

int sample(Options o) {
  const std::string folder = o.weights.empty() ? o.out : o.weights;
  const auto tokenizer = examples::load_tokenizer(folder);
  nn::Gpt2 model(nn::gpt2_config_from_file(folder + "/config.json"));
  if (tokenizer->size() > model.config.vocabulary) throw ValueError(folder + ": more tokens than the model has");
  if (o.weights.empty())
    nn::load_from_checkpoint(folder, "model", model);
  else
    model.load_published(folder + "/model.safetensors");
  o.write.positions = model.config.positions;
  examples::write(model, *tokenizer, o.sample, o.write);
  return 0;
}

/// The loop of both tasks. False if it was interrupted.
template <class Data, class Batch, class Validate>
bool train(nn::Gpt2& model, nn::Run& run, const Options& o, Data& data, Batch batch, Validate validate) {
  const auto matrix = [](const std::string&, const Tensor& p) { return p.rank() > 1; };
  optim::AdamW optimizer(optim::groups_by_name(model.named_parameters(), {{.which = matrix, .weight_decay = 0.1}}),
                         {.lr = o.lr,
                          .beta2 = 0.99,
                          .weight_decay = 0,
                          .schedule = optim::cosine(o.steps, std::min(o.warmup, o.steps), 0.1)});
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

void draw(const std::string& path, const std::string& data, const std::string& plot) {
  if (examples::draw(path, 900, 480, data + "set grid\n" + plot)) print("Picture: {}\n", path);
}

int train_on_text(const examples::CommandLine& line, const Options& o) {
  const std::string text = line.or_refuse([&] { return examples::read_text(o.data); });
  const auto tokenizer = line.or_refuse([&]() -> std::unique_ptr<nn::Tokenizer> {
    if (o.tokenizer == "characters") return std::make_unique<nn::CharTokenizer>(text);
    return std::make_unique<nn::BpeTokenizer>(nn::BpeTokenizer::train(text, {.size = o.vocabulary}));
  });
  const auto [training, held_out] = nn::split(nn::Tokens(tokenizer->encode(text), tokenizer->size()), 0.9);
  auto batches = line.or_refuse([&, all = training] {
    return nn::token_windows(all, {.length = o.context, .batch = o.batch, .seed = static_cast<std::uint64_t>(o.seed)});
  });
  auto validation = line.or_refuse(
      [&, all = held_out] { return nn::token_windows(all, {.length = o.context, .batch = 64, .sequential = true}); });
  nn::Gpt2 model(o.config(tokenizer->size()));
  nn::Run run(o.out, examples::run_options(line, o));
  nn::save_config(o.out + "/config.json", model.config);
  if (const auto* bpe = dynamic_cast<const nn::BpeTokenizer*>(tokenizer.get()))
    bpe->save(o.out + "/vocab.json", o.out + "/merges.txt");
  else
    dynamic_cast<const nn::CharTokenizer&>(*tokenizer).save(o.out + "/characters.json");
  const auto validate = [&] {
    const NoGrad off;
    double sum = 0, count = 0;
    model.eval();
    for (const auto& [x, y] : validation) {
      sum += cross_entropy(model(x), y, {.reduction = Reduction::sum}).item();
      count += static_cast<double>(y.numel());
    }
    model.train();
    return sum / count;
  };
  const bool done = train(
      model, run, o, batches, [&] { return batches.next(); }, validate);
  if (!done) return run.exit_code();
  model.save_published(o.out + "/model.safetensors");
  print("Validation loss {:.4f} after {} steps, {:.0f} s\n", validate(), run.step(), run.seconds());
  std::vector<std::vector<double>> losses;
  for (const auto& [step, loss] : run.history("validation")) losses.push_back({static_cast<double>(step), loss});
  draw(o.out + "/loss.png",
       examples::data_block("t", examples::averaged(run.history("loss"), 100)) + examples::data_block("v", losses),
       "set title 'GPT: loss'\nset xlabel 'step'\nset ylabel 'nats a token'\nplot $t with lines lw 2 title 'training', "
       "$v with linespoints lw 2 pt 7 title 'validation'");
  Options w = o;
  w.write.positions = o.context;
  examples::write(model, *tokenizer, "\n", w.write);
  return 0;
}

/// `key value key value ...`: which value a key has is drawn anew for each sequence, and can only be known from it.
struct KeyToValue {
  nn::WindowBatch next(std::int64_t rows) {
    const Tensor keys = randint(0, symbols, {rows, pairs}, random);
    const Tensor values = gather(randint(symbols, 2 * symbols, {rows, symbols}, random), 1, keys);
    const auto in_turns = [](const Tensor& a, const Tensor& b) {
      return slice(flatten(stack({a, b}, 2), 1), 1, 0, -1);
    };
    return {in_turns(keys, values), in_turns(values, full({rows, pairs}, -100, int64))};  // keys are not predicted
  }
  std::int64_t symbols, pairs;
  Generator random;
};

int train_in_context(const examples::CommandLine& line, const Options& o) {
  KeyToValue task{o.symbols, o.context / 2, Generator(static_cast<std::uint64_t>(o.seed) + 1)};
  nn::Gpt2 model(o.config(2 * o.symbols));
  nn::Run run(o.out, examples::run_options(line, o));
  const auto accuracy = [&] {  // [pairs]: of the values, by how many pairs came before
    const NoGrad off;
    const auto [x, y] = KeyToValue{o.symbols, o.context / 2, Generator(1'000'003)}.next(512);
    return mean(to(slice(eq(argmax(model(x)), y), 1, 0, to_end, 2), float64), {0}).to_vector<double>();
  };
  if (!train(
          model, run, o, task.random, [&] { return task.next(o.batch); }, [&] { return accuracy().back(); }))
    return run.exit_code();
  std::vector<std::vector<double>> rows;
  print("{:>8}{:>12}{:>12}\n", "shots", "accuracy", "possible");
  for (const double a : accuracy()) {
    const double n = static_cast<double>(rows.size()), k = static_cast<double>(o.symbols);
    rows.push_back({n, 100 * a, 100 * (1 - std::pow(1 - 1 / k, n + 1))});  // the key has come before, or a guess
    if (std::exp2(std::floor(std::log2(n + 1))) == n + 1)
      print("{:>8}{:>10.1f} %{:>10.1f} %\n", n, rows.back()[1], rows.back()[2]);
  }
  draw(o.out + "/shots.png", examples::data_block("a", rows),
       "set title 'Learning from examples in the context'\nset xlabel 'pairs before'\nset ylabel 'accuracy (%)'\n"
       "set yrange [0:102]\nset key bottom right\nplot $a with linespoints lw 2 pt 7 title 'the model', "
       "$a using 1:3 with lines lw 2 dt 2 title 'what can be known'");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("gpt", "Trains a GPT on text, and writes some.");
  constexpr std::int64_t most = 1 << 20;
  Options o;
  o.out = "gpt_out";
  o.steps = 2000;
  o.save_every = 500;
  line.add("--data", o.data, "a text file; without it, the Jargon File");
  line.add("--tokenizer", o.tokenizer, "`characters` or `bpe`", {"characters", "bpe"});
  line.add("--vocabulary", o.vocabulary, 257, most, "tokens of bpe");
  line.add("--layers", o.layers, 1, 1000, "layers");
  line.add("--heads", o.heads, 1, most, "attention heads, which divide the width");
  line.add("--width", o.width, 1, most, "model width");
  line.add("--context", o.context, 2, most, "tokens that the model sees");
  line.add("--batch", o.batch, 1, most, "sequences in a batch");
  line.add("--dropout", o.dropout, 0, 0.99, "of embeddings, attention and layer outputs");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add("--warmup", o.warmup, 0, most, "steps of linear warm-up; a cosine follows");
  line.add("--banded", o.banded, 0, most, "GPT-3's form: every second layer sees so many tokens; 0: all are dense");
  line.flag("--in-context", o.in_context, "instead of text, values of keys that only the examples before tell");
  line.add("--symbols", o.symbols, 2, most, "keys, and as many values");
  line.add("--sample", o.sample, "write on from this text, from the run in --out or from --weights", {}, false);
  line.add("--weights", o.weights, "a folder of published weights, with their config.json and vocabulary", {}, false);
  line.add("--tokens", o.write.tokens, 1, most, "tokens to write", false);
  line.add("--temperature", o.write.temperature, 1e-6, 1e6, "of what is written", false);
  line.add("--top-k", o.write.top_k, 0, most, "the likeliest tokens to draw from; 0: all", false);
  line.add_run(o);
  return line.run(argc, argv, [&] {
    manual_seed(static_cast<std::uint64_t>(o.seed));
    o.write.seed = o.seed;
    if (line.given("--sample")) return sample(o);
    return o.in_context ? train_in_context(line, o) : train_on_text(line, o);
  });
}
