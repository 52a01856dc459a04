// Trains a Reformer (Kitaev, Kaiser and Levskaya 2020) with LSH attention on the paper's duplication task: the model
// reads `0 w 0 w` with a random w and has to predict the second w, for which each position must find its counterpart in
// the first half through a shared hash bucket.
//
// Expect: nothing for some 200 steps, then a sudden rise; over 99 % second-half accuracy on fresh sequences within
// three minutes on two cores, and more hashes in evaluation giving more accuracy, as in the paper's Table 2 (--table
// prints all of it).
#include <algorithm>

#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/language.h"
#include "examples/support/long_tasks.h"
#include "examples/support/reformer.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

using Hashes = std::int64_t;            // how attention looks: that many hash rounds, or (0) everything
constexpr std::int64_t evaluated = 64;  // sequences at a time

struct Options : examples::RunFlags {
  Options() { out = "reformer_copy_out"; }
  std::int64_t length = 128, symbols = 127, batch = 32, d_model = 128, d_ff = 256, heads = 4, layers = 1, hashes = 4;
  std::int64_t chunk = 16, axial_rows = 0, warmup = 50, accumulate = 1;
  std::string variant = "paper", name;  // of LSH attention; of the run's files
  bool full = false, keep_activations = false, table = false, paper = false;
  double dropout = 0, lr = 1e-3;
  Hashes trained() const { return full ? 0 : hashes; }
};

nn::ReformerConfig config_of(const Options& o) {
  nn::ReformerConfig c{.vocabulary = o.symbols + 1, .d_model = o.d_model, .d_ff = o.d_ff, .heads = o.heads};
  c.layers.assign(static_cast<std::size_t>(o.layers), nn::ReformerAttention::lsh);
  c.lsh = examples::lsh_variant(o.variant);
  c.lsh.hashes = o.hashes;
  c.lsh.chunk = o.chunk;
  c.axial_rows = o.axial_rows == 0 ? o.length : o.axial_rows;
  c.axial_columns = (o.length + c.axial_rows - 1) / c.axial_rows;
  c.axial_row_dim = o.axial_rows == 0 ? o.d_model - 1 : o.d_model / 2;
  c.dropout = o.dropout;
  c.eps = 1e-6;
  c.reversible = !o.keep_activations;
  manual_seed(static_cast<std::uint64_t>(o.seed));  // before the weights are drawn
  return c;
}

/// The paper's section 5.1, for what was not given, and what no single option's range can tell.
void settle(const examples::CommandLine& line, Options& o) {
  if (o.paper) {
    examples::unless_given(line,
                           {{"--length", o.length, 1024}, {"--d-model", o.d_model, 256}, {"--chunk", o.chunk, 64}});
    examples::unless_given(line, {{"--steps", o.steps, 150'000}, {"--warmup", o.warmup, 1000}});
  }
  if (o.length % 2 != 0) line.refuse(fmt::format("--length {} is odd; `0 w 0 w` has two equal halves", o.length));
  if (o.d_model % o.heads != 0) line.refuse(fmt::format("--heads {} does not divide --d-model {}", o.heads, o.d_model));
  if (o.axial_rows != 0 && (o.axial_rows < 2 || o.axial_rows > o.length))
    line.refuse(fmt::format("--axial-rows {} must lie between 2 and --length {}, or be 0", o.axial_rows, o.length));
  if (o.full && o.table) line.refuse("--full does not go with --table, which trains with full attention by itself");
  line.require_memory(examples::least_memory(config_of(o), o.length, o.batch, evaluated));
}

struct Trainer {
  Trainer(const examples::CommandLine& line, const Options& o) : o(o), run(o.out, run_options(line, o)) {
    run.track("model", model);
    run.track("optimizer", optimizer);
    run.track("data", data);
    run.load();
  }

  static nn::RunOptions run_options(const examples::CommandLine& line, const Options& o) {
    nn::RunOptions r = examples::run_options(line, o);
    r.name = o.name;
    if (o.table) r.hint = "", r.resume = o.resume && nn::Run::exists(o.out, o.name);
    r.unit = "tokens", r.units_per_step = static_cast<double>(o.batch * o.accumulate * o.length);
    return r;
  }

  Generator stream(std::uint64_t number) const { return Generator(static_cast<std::uint64_t>(o.seed) + number); }
  examples::TaskBatch draw(std::int64_t b, Generator& g) const { return examples::twice(b, o.length, o.symbols, g); }

  nn::ReformerCall call(Hashes hashes) {
    const auto layers = static_cast<std::size_t>(o.layers);
    for (std::size_t i = 0; hashes > 0 && i < layers; ++i) model.lsh_attention(i).options.hashes = hashes;
    return {.attention = {layers, {.full = hashes == 0}}};
  }

  /// To the last step, or until Ctrl-C. Throws std::runtime_error if the loss is no longer finite.
  void train() {
    model.train();
    const nn::ReformerCall attention = call(o.trained());
    const double share = 1.0 / static_cast<double>(o.accumulate);
    while (run.next()) {
      double loss = 0, accuracy = 0;
      for (std::int64_t i = 0; i < o.accumulate && !(i > 0 && run.give_up()); ++i) {
        const examples::TaskBatch x = draw(o.batch, data);
        const Tensor logits = model(x.tokens, attention);  // nothing follows the last position
        const Tensor batch_loss = cross_entropy(slice(logits, 1, 0, -1), slice(x.labels, 1, 0, -1));
        (batch_loss * share).backward();
        loss += share * batch_loss.item();
        accuracy += share * examples::accuracy(logits, x);
      }
      if (run.gave_up()) continue;
      const double norm = optim::clip_grad_norm(model.parameters(), 1, {.error_if_nonfinite = false});
      examples::require_finite(run, {{"the loss", loss}, {"the gradient's norm", norm}});
      optimizer.step();
      run.log({{"loss", loss}, {"accuracy", accuracy}});
      run.show(fmt::format("loss {:.4f}  accuracy {:5.1f} %", loss, 100 * accuracy));
    }
  }

  /// Second-half accuracy in % on fresh sequences; hashes, like sequences, are those of their seed.
  double evaluate(Hashes hashes) {
    const NoGrad off;
    model.eval();
    default_generator() = stream(4'000'003);
    Generator fresh = stream(2'000'003);
    double sum = 0;
    for (int i = 0; i < 8; ++i) {
      const examples::TaskBatch x = draw(evaluated, fresh);
      sum += examples::accuracy(model(x.tokens, call(hashes)), x);
    }
    return 100 * sum / 8;
  }

  const Options o;
  nn::Run run;
  nn::Reformer model{config_of(o)};
  optim::Schedule schedule = optim::cosine(o.steps, std::min(o.warmup, o.steps), 0.1);
  optim::AdamW optimizer{model.parameters(), {.lr = o.lr, .beta2 = 0.98, .weight_decay = 0, .schedule = schedule}};
  Generator data = stream(1'000'003);
};

void draw_pictures(Trainer& t) {
  const std::string curve = t.o.out + "/curve.png", attention = t.o.out + "/attention.png";
  if (examples::draw_curves(curve, "Duplication task: loss and second-half accuracy",
                            {"loss (nats)", {{"loss", t.run.history("loss")}}},
                            {"accuracy (%)", {{"accuracy", t.run.history("accuracy"), 100}}, "[0:102]"}))
    print("Loss and accuracy:     {}\n", curve);
  if (t.o.length > 2048) return print("Attention and buckets are drawn up to a length of 2048\n");
  Generator fresh = t.stream(3'000'003);
  t.call(t.o.hashes);  // as in training
  if (examples::draw_attention(attention, t.model.attention_pattern(t.draw(1, fresh).tokens, 0), t.o.hashes))
    print("Attention and buckets: {}\n", attention);
}

std::string name_of(Hashes h) { return h == 0 ? "full" : fmt::format("LSH-{}", h); }

int train(const examples::CommandLine& line, const Options& o) {
  Trainer t = line.or_refuse([&] { return Trainer(line, o); });
  print("Reformer: {} layer{}, width {}, {} heads, {} parameters; length {}, {}, {} threads\n", o.layers,
        o.layers == 1 ? "" : "s", o.d_model, o.heads, t.model.parameter_count(), o.length,
        o.full ? "full attention" : fmt::format("{} hashes, chunk {}", o.hashes, o.chunk), num_threads());
  const bool finished = t.run.finished();
  t.train();
  if (t.run.interrupted()) return t.run.exit_code();
  if (!finished)
    print("Trained to step {} in {:.0f} s; weights and state: {}\nPeak memory of tensors in training: {:.1f} MiB\n",
          t.run.step(), t.run.seconds(), t.run.path(), static_cast<double>(t.run.peak_bytes()) / (1 << 20));
  print("\nSecond-half accuracy on 512 fresh sequences of length {}, trained with {}:\n", o.length,
        name_of(o.trained()));
  for (const Hashes h : {1, 2, 4, 8, 0}) {
    print("  evaluated with {:6}  {:6.2f} %\n", name_of(h), t.evaluate(h));
    if (!nn::interrupted()) continue;
    print("Interrupted{} while evaluating. The same command with --resume evaluates again.\n", nn::interruption());
    return nn::interrupted_exit_code();
  }
  draw_pictures(t);
  return 0;
}

/// Kitaev et al. 2020, Table 2: accuracy in %, trained with (rows) and evaluated with (columns) so many hashes.
constexpr Hashes rows[] = {0, 4, 2, 1}, columns[] = {0, 8, 4, 2, 1};
constexpr double published[][std::size(columns)] = {{100, 94.8, 92.5, 76.9, 52.5},
                                                    {0.8, 100, 99.9, 99.4, 91.9},
                                                    {0.8, 100, 99.9, 98.1, 86.8},
                                                    {0.8, 99.9, 99.6, 94.8, 77.9}};

/// As if the program had been started for this row alone.
void begin_row(Options& o, Hashes trained) {
  o.full = trained == 0;
  o.hashes = o.full ? Options().hashes : trained;  // of which full attention takes none
  o.name = name_of(trained);
}

int table(const examples::CommandLine& line, Options& o) {
  line.or_refuse([&] {  // whatever is wrong with a row or its checkpoint shows before anything is trained
    std::vector<std::pair<std::string, nn::Settings>> runs;
    for (const Hashes row : rows) {
      begin_row(o, row);
      Trainer(line, o);
      runs.emplace_back(o.name, line.settings());
    }
    if (!o.resume) examples::require_all_or_none(o.out, runs);
  });
  std::string text;
  for (std::size_t r = 0; r < std::size(rows); ++r) {
    begin_row(o, rows[r]);
    Trainer t(line, o);
    print("{} of {}: training with {}{}\n", r + 1, std::size(rows), o.name,
          t.run.step() > 0 ? fmt::format(", from step {} on", t.run.step()) : "");
    t.train();
    text += fmt::format("\n{:14}", o.name);
    for (std::size_t c = 0; c < std::size(columns); ++c) {
      if (nn::interrupted()) {
        print("Interrupted{} in row {} of {}, trained with {}, after step {} of {}; saved to {}. {}\n",
              nn::interruption(), r + 1, std::size(rows), o.name, t.run.step(), o.steps, t.run.path(),
              examples::run_options(line, o).hint);
        return nn::interrupted_exit_code();
      }
      text += fmt::format("{:>15}", fmt::format("{:.1f} ({:.1f})", t.evaluate(columns[c]), published[r][c]));
    }
  }
  print("\nSecond-half accuracy in %, here (length {}, {} steps) and published (length 1024, 150,000 steps)\n{:14}",
        o.length, o.steps, "trained with");
  for (const Hashes h : columns) print("{:>15}", name_of(h));
  print("{}\n", text);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("reformer_copy",
                             "Trains a Reformer with LSH attention on the duplication task: read `0 w 0 w`, predict "
                             "the second w (Kitaev et al. 2020, section 5.1).");
  constexpr std::int64_t most = std::int64_t{1} << 31;
  Options o;
  line.add("--length", o.length, 4, most, "length of `0 w 0 w`, even");
  line.add("--symbols", o.symbols, 1, most, "w is drawn from 1..N");
  line.add("--batch", o.batch, 1, most, "sequences in a batch");
  line.add("--d-model", o.d_model, 2, most, "model width");
  line.add("--d-ff", o.d_ff, 1, most, "feed-forward width");
  line.add("--heads", o.heads, 1, most, "attention heads");
  line.add("--layers", o.layers, 1, 1 << 20, "reversible layers");
  line.add("--hashes", o.hashes, 1, most, "hash rounds while training");
  line.add("--chunk", o.chunk, 1, most, "chunk length of LSH attention");
  line.add("--axial-rows", o.axial_rows, 0, most, "rows of axial positions; 0: a plain table");
  line.add("--warmup", o.warmup, 0, most, "steps of linear warm-up; a cosine follows");
  line.add("--accumulate", o.accumulate, 1, most, "batches whose gradients make up a step");
  line.add("--variant", o.variant, "LSH attention as in `paper`, `hugging-face` or `lucidrains`",
           {"paper", "hugging-face", "lucidrains"});
  line.flag("--full", o.full, "train with full shared-QK attention instead of hashing");
  line.flag("--keep-activations", o.keep_activations, "keep activations instead of recomputing them block by block");
  line.add("--dropout", o.dropout, 0, 0.99, "of embeddings and layer outputs");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add_run(o);
  line.flag("--table", o.table, "train with 1, 2, 4 hashes and full attention; print the paper's Table 2 at this size",
            false);
  line.flag("--paper", o.paper,
            "the paper's own configuration: length 1024, width 256, 150,000 steps, which take days on two cores",
            false);
  return line.run(argc, argv, [&] {
    settle(line, o);
    return o.table ? table(line, o) : train(line, o);
  });
}
