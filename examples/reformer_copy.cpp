// Trains a Reformer (Kitaev, Kaiser and Levskaya 2020) with LSH attention on the paper's duplication task: the model
// reads `0 w 0 w` with a random w and has to predict the second w, for which each position must find its counterpart in
// the first half through a shared hash bucket.
//
// Expect: nothing for some 200 steps, then a sudden rise; over 99 % second-half accuracy on fresh sequences within
// three minutes on two cores, and more hashes in evaluation giving more accuracy, as in the paper's Table 2 (--table
// prints all of it).
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "examples/support/command_line.h"
#include "examples/support/curves.h"
#include "examples/support/language.h"
#include "examples/support/long_tasks.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

using Hashes = std::int64_t;  // how attention looks: that many hash rounds, or (0) everything

struct Options : examples::RunFlags {
  Options() { out = "reformer_copy_out"; }
  std::int64_t length = 128, symbols = 127, batch = 32, d_model = 128, d_ff = 256, heads = 4, layers = 1, hashes = 4;
  std::int64_t chunk = 16, axial_rows = 0, warmup = 50, accumulate = 1;
  std::string variant = "paper", name;  // of LSH attention; of the run's files
  bool full = false, keep_activations = false, table = false, paper = false;
  double dropout = 0, lr = 1e-3;
  Hashes trained() const { return full ? 0 : hashes; }
};

nn::ReformerConfig model_config(const Options& o) {
  nn::ReformerConfig c;
  c.vocabulary = o.symbols + 1;
  c.d_model = o.d_model;
  c.d_ff = o.d_ff;
  c.heads = o.heads;
  c.layers.assign(static_cast<std::size_t>(o.layers), nn::ReformerAttention::lsh);
  c.lsh = o.variant == "paper"        ? LshOptions::paper()
          : o.variant == "lucidrains" ? LshOptions::lucidrains()
                                      : LshOptions::hugging_face();
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

/// The least memory that training takes, in bytes: parameters with gradients and moments, one layer's activations and
/// hashes, the logits with their gradient; and evaluation, 64 sequences at a time.
double least_memory(const Options& o) {
  const auto real = [](std::int64_t v) { return static_cast<double>(v); };
  const double d = real(o.d_model), vocabulary = real(o.symbols) + 1, length = real(o.length);
  const double parameters =
      3 * vocabulary * d + real(o.layers) * (3 * d * d + 2 * d * real(o.d_ff)) + (o.axial_rows == 0 ? length * d : 0);
  const double position = 2 * vocabulary + 4 * d + real(o.d_ff) + (o.full ? 0 : 2 * real(o.heads) * real(o.hashes)) +
                          (o.keep_activations ? real(o.layers) * (6 * d + real(o.d_ff)) : 0);
  return 4 * (4 * parameters + std::max(real(o.batch) * length * position, 64 * length * (vocabulary + 2 * d)));
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
  line.require_memory(least_memory(o));
}

/// Fresh sequences `0 w 0 w` [b, n] without end; other streams draw others.
struct Task {
  Task(const Options& o, std::uint64_t stream) : o(o), random(static_cast<std::uint64_t>(o.seed) + stream) {}
  Tensor batch(std::int64_t b) { return examples::twice(b, o.length, o.symbols, random); }
  /// The tokens where they count, in the second w; -100 elsewhere.
  Tensor labels(const Tensor& tokens) const {
    const std::int64_t second = o.length / 2 + 1;
    return cat({full({tokens.size(0), second}, -100, int64), slice(tokens, 1, second)}, 1);
  }
  /// The share of the second w's symbols that the logits predict.
  double accuracy(const Tensor& logits, const Tensor& tokens) const {
    const NoGrad off;
    const Tensor predicted = argmax(slice(logits, 1, o.length / 2, o.length - 1));
    return mean(to(eq(predicted, slice(tokens, 1, o.length / 2 + 1)), float32)).item();
  }
  const Options o;
  Generator random;
};

struct Trainer {
  Trainer(const examples::CommandLine& line, const Options& o) : o(o), run(o.out, run_options(line, o)) {
    run.track("model", model);
    run.track("optimizer", optimizer);
    run.track("data", task.random);
  }

  static nn::RunOptions run_options(const examples::CommandLine& line, const Options& o) {
    nn::RunOptions r = examples::run_options(line, o);
    r.name = o.name;
    if (o.table) r.hint = "";
    r.unit = "tokens";
    r.units_per_step = static_cast<double>(o.batch * o.accumulate * o.length);
    return r;
  }

  nn::ReformerCall call(Hashes hashes) {
    nn::ReformerCall c;
    c.attention.resize(static_cast<std::size_t>(o.layers));
    for (std::size_t i = 0; i < c.attention.size(); ++i) {
      c.attention[i].full = hashes == 0;
      if (hashes > 0) model.lsh_attention(i).options.hashes = hashes;
    }
    return c;
  }

  /// To the last step, or until Ctrl-C. Throws std::runtime_error if the loss is no longer finite.
  void train() {
    model.train();
    const nn::ReformerCall attention = call(o.trained());
    const double share = 1.0 / static_cast<double>(o.accumulate);
    while (run.next()) {
      double loss = 0, accuracy = 0;
      for (std::int64_t i = 0; i < o.accumulate && !(i > 0 && run.give_up()); ++i) {
        const Tensor tokens = task.batch(o.batch), logits = model(tokens, attention);
        const Tensor batch_loss = model.loss(logits, task.labels(tokens));
        (batch_loss * share).backward();
        loss += share * batch_loss.item();
        accuracy += share * task.accuracy(logits, tokens);
      }
      if (run.gave_up()) continue;
      require_finite("the loss", loss);
      require_finite("the gradient's norm",
                     optim::clip_grad_norm(model.parameters(), 1, {.error_if_nonfinite = false}));
      optimizer.step();
      run.log({{"loss", loss}, {"accuracy", accuracy}});
      run.show(fmt::format("loss {:.4f}  accuracy {:5.1f} %", loss, 100 * accuracy));
    }
  }

  void require_finite(const char* what, double value) const {
    if (!std::isfinite(value))
      throw std::runtime_error(fmt::format("{} is {} in step {}; a smaller --lr may help", what,
                                           std::isnan(value) ? "not a number" : "infinite", run.step()));
  }

  /// Second-half accuracy in % on fresh batches of 64; hashes, like sequences, are those of their seed.
  double evaluate(Hashes hashes, int batches = 8) {
    const NoGrad off;
    model.eval();
    const RandomKey before = default_generator().state();
    default_generator().seed(static_cast<std::uint64_t>(o.seed) + 4'000'003);
    Task fresh(o, 2'000'003);
    const nn::ReformerCall attention = call(hashes);
    double sum = 0;
    for (int i = 0; i < batches; ++i) {
      const Tensor tokens = fresh.batch(64);
      sum += fresh.accuracy(model(tokens, attention), tokens);
    }
    default_generator().set_state(before);
    return 100 * sum / batches;
  }

  const Options o;
  nn::Run run;
  nn::Reformer model{model_config(o)};
  optim::AdamW optimizer{model.parameters(),
                         {.lr = o.lr,
                          .beta2 = 0.98,
                          .weight_decay = 0,
                          .schedule = optim::cosine(o.steps, std::min(o.warmup, o.steps), 0.1)}};
  Task task{o, 1'000'003};
};

void draw_pictures(Trainer& t) {
  const std::string curve = t.o.out + "/curve.png", attention = t.o.out + "/attention.png";
  if (examples::draw_curves(curve, "Duplication task: loss and second-half accuracy",
                            {"loss (nats)", {{"loss", t.run.history("loss")}}},
                            {"accuracy (%)", {{"accuracy", t.run.history("accuracy"), 100}}, "[0:102]"}))
    print("Loss and accuracy:     {}\n", curve);
  constexpr std::int64_t longest = 2048;
  const std::int64_t n = t.o.length;
  if (n > longest) return print("Attention and buckets are drawn up to a length of {}\n", longest);
  // What the first layer's first head attends to, with hashes as in training, and which pairs share a bucket.
  t.evaluate(t.o.hashes, 0);
  const nn::AttentionPatternResult pattern = t.model.attention_pattern(Task(t.o, 3'000'003).batch(1), 0);
  const auto first = [](const Tensor& x) { return select(select(x, 0, 0), 0, 0); };
  const Tensor bucket = pattern.buckets.defined() ? to(select(first(pattern.buckets), 0, 0), int64) : zeros({n}, int64);
  const Tensor rows = expand(unsqueeze(bucket, 1), {n, n});
  const double count = amax(bucket).item() + 1;
  const auto buckets = "defined (0 '#4477aa', 0.35 '#228833', 0.7 '#ccbb44', 1 '#aa3377') maxcolors {}";
  const examples::Image shared{"Pairs that share a bucket in the first hash round", where(eq(rows, bucket), rows, -1),
                               fmt::format("[-0.5:{}]", count - 0.5), fmt::format(fmt::runtime(buckets), count),
                               fmt::format("set cbtics 0,{}\nset cblabel 'bucket'", 1 + static_cast<int>(count) / 20)};
  const std::string hashes = t.o.hashes == 1 ? "1 hash" : fmt::format("{} hashes", t.o.hashes);
  if (examples::draw_images(attention, "key position", "query position",
                            {{"Attention of head 1, " + hashes, first(pattern.weights)}, shared}))
    print("Attention and buckets: {}\n", attention);
}

std::string name_of(Hashes h) { return h == 0 ? "full" : fmt::format("LSH-{}", h); }

int train(const examples::CommandLine& line, const Options& o) {
  const auto trainer = line.or_refuse([&] {
    auto made = std::make_unique<Trainer>(line, o);
    made->run.load();
    return made;
  });
  Trainer& t = *trainer;
  print("Reformer: {} layer{}, width {}, {} heads, {} parameters; length {}, {}, {} threads\n", o.layers,
        o.layers == 1 ? "" : "s", o.d_model, o.heads, t.model.parameter_count(), o.length,
        o.full ? "full attention" : fmt::format("{} hashes, chunk {}", o.hashes, o.chunk), num_threads());
  const std::int64_t before = t.run.step();
  t.train();
  if (t.run.interrupted()) return t.run.exit_code();
  if (before < o.steps)
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

/// Kitaev et al. 2020, Table 2, accuracy in %: trained with (rows) and evaluated with full, 8, 4, 2, 1 hashes.
struct Published {
  Hashes trained;
  double accuracy[5];
};
constexpr Published published[] = {{0, {100, 94.8, 92.5, 76.9, 52.5}},
                                   {4, {0.8, 100, 99.9, 99.4, 91.9}},
                                   {2, {0.8, 100, 99.9, 98.1, 86.8}},
                                   {1, {0.8, 99.9, 99.6, 94.8, 77.9}}};
constexpr Hashes columns[] = {0, 8, 4, 2, 1};

/// The options for a row, which its settings are taken from. Whether it has a checkpoint is returned.
bool set_row(Options& o, const Published& row) {
  o.full = row.trained == 0;
  o.hashes = o.full ? Options().hashes : row.trained;  // full attention takes none
  o.name = name_of(row.trained);
  return nn::Run::exists(o.out, o.name);
}

/// Whatever is wrong with a row or its checkpoint shows before anything is trained.
void check_table(const examples::CommandLine& line, Options& o) {
  std::size_t there = 0;
  std::string others;
  for (const Published& row : published) {
    const bool has_one = set_row(o, row), resume = o.resume;
    o.resume = resume && has_one;
    Trainer t(line, o);
    t.run.load();
    o.resume = resume;
    if (resume || !has_one) continue;
    ++there;
    others = nn::difference(nn::checkpoint_info(t.run.path()).settings, line.settings());
  }
  if (there > 0 && there < std::size(published))
    throw ValueError(fmt::format("{}: has an unfinished table ({} of {} rows){}; {}another --out leaves it alone",
                                 o.out, there, std::size(published),
                                 others.empty() ? "" : " under other options (" + others + ")",
                                 others.empty() ? "--resume continues it, " : ""));
}

int table(const examples::CommandLine& line, Options& o) {
  line.or_refuse([&] { check_table(line, o); });
  const bool resume = o.resume;
  std::string text;
  for (std::size_t r = 0; r < std::size(published); ++r) {
    const Published& row = published[r];
    o.resume = set_row(o, row) && resume;
    Trainer t(line, o);
    t.run.load();
    print("{} of {}: training with {}{}\n", r + 1, std::size(published), t.o.name,
          t.run.step() > 0 ? fmt::format(", from step {} on", t.run.step()) : "");
    t.train();
    text += fmt::format("{:14}", t.o.name);
    for (std::size_t c = 0; c < std::size(columns); ++c) {
      if (t.run.interrupted() || nn::interrupted()) {
        print(
            "Interrupted{} in row {} of {}, trained with {}, after step {} of {}; saved to {}. The same command with "
            "--resume continues.\n",
            nn::interruption(), r + 1, std::size(published), t.o.name, t.run.step(), o.steps, t.run.path());
        return nn::interrupted_exit_code();
      }
      text += fmt::format("{:>15}", fmt::format("{:.1f} ({:.1f})", t.evaluate(columns[c]), row.accuracy[c]));
    }
    text += "\n";
  }
  print("\nSecond-half accuracy in %, here (length {}, {} steps) and published (length 1024, 150,000 steps)\n{:14}",
        o.length, o.steps, "trained with");
  for (const Hashes h : columns) print("{:>15}", name_of(h));
  print("\n{}", text);
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
  line.add("--layers", o.layers, 1, most, "reversible layers");
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
