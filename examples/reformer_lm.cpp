// A byte-level language model of 4K to 64K bytes a sequence: a Reformer (Kitaev, Kaiser and Levskaya 2020) with axial
// positions, reversible layers of local and LSH attention, and feed-forward parts in chunks.
//
// Expect: memory that grows with the length, not with its square, and less with every layer than if activations were
// kept; about the same time a byte for every length; decoding with cached buckets that gives what full passes give.
#include <cmath>
#include <sstream>

#include "examples/support/command_line.h"
#include "examples/support/cost.h"
#include "examples/support/curves.h"
#include "examples/support/print.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

struct Options : examples::RunFlags {
  Options() { out = "reformer_lm_out", steps = 400; }
  std::string data, layers = "local,local,local,lsh";
  std::int64_t length = 4096, width = 128, heads = 4, hashes = 2, chunk = 64, measure = 65536, check = 16, write = 400;
  double lr = 3e-3;
};

nn::ReformerConfig config_of(const Options& o, std::int64_t length, bool reversible = true) {
  nn::ReformerConfig c{.vocabulary = 256, .d_model = o.width, .d_ff = 4 * o.width, .heads = o.heads, .layers = {}};
  std::istringstream kinds(o.layers);
  for (std::string kind; std::getline(kinds, kind, ',');) {
    if (kind != "lsh" && kind != "local") throw ValueError("--layers: '" + kind + "' is neither local nor lsh");
    c.layers.push_back(kind == "lsh" ? nn::ReformerAttention::lsh : nn::ReformerAttention::local);
  }
  c.lsh.hashes = o.hashes;
  c.lsh.chunk = c.local.chunk = o.chunk;
  c.lsh.bucket_count = BucketCount::power_of_two;     // in two factors, if there are many
  c.lsh.buckets = lsh_bucket_factors(c.lsh, length);  // as many for a text that is still being written
  c.axial_rows = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(length))));
  c.axial_columns = (length + c.axial_rows - 1) / c.axial_rows;
  c.axial_row_dim = o.width / 2;
  c.axial_std = c.embedding_std = 0.1;
  c.ff_chunks = (length + 2047) / 2048;
  c.reversible = reversible;
  return c;
}

struct Trainer {
  double step(const Tensor& x, const Tensor& y) {
    const Tensor loss = cross_entropy(model(x), y);
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    return loss.item();
  }
  nn::Reformer model;
  optim::AdamW optimizer;
  Trainer(const Options& o, const nn::ReformerConfig& c)
      : model(c),
        optimizer(model.parameters(),
                  {.lr = o.lr, .beta2 = 0.98, .schedule = optim::cosine(o.steps, o.steps / 10, 0.1)}) {}
};

/// Memory and time of a training step by the length of its one sequence.
void measure(const Options& o, std::vector<examples::Panel>& panels) {
  nn::Series reversible, kept, time;
  print("\nTraining step\n{:>10}{:>18}{:>24}{:>20}\n", "bytes", "MiB, reversible", "MiB, activations kept",
        "us a byte");
  for (std::int64_t n = std::max<std::int64_t>(1, o.measure / 16); n <= o.measure && !nn::interrupted(); n *= 2) {
    const auto cost = [&](bool r) {
      Trainer t(o, config_of(o, n, r));
      const auto step = [&] { t.step(randint(0, 256, {1, n}), randint(0, 256, {1, n})); };
      if (r) step();  // the first one of a length gets its memory from the system, which takes time
      return examples::cost_of(step);
    };
    const examples::Cost a = cost(true), b = cost(false);
    reversible.emplace_back(n, a.mebibytes);
    kept.emplace_back(n, b.mebibytes);
    time.emplace_back(n, 1e6 * a.seconds / static_cast<double>(n));
    print("{:>10}{:>18.1f}{:>24.1f}{:>20.1f}\n", n, a.mebibytes, b.mebibytes, time.back().second);
  }
  panels.push_back({"Training step: peak memory (MiB)",
                    "bytes a sequence",
                    {{"reversible", reversible}, {"activations kept", kept}},
                    true});
  panels.push_back({"Training step: microseconds a byte", "bytes a sequence", {{"reversible", time}}, true});
}

/// The text's last bytes: steps with cached buckets against full passes, with the same rotations, over all bytes so far.
void check_decoding(nn::Reformer& model, const Tensor& text, std::int64_t count) {
  const NoGrad off;
  const nn::ReformerConfig& c = model.config;
  model.to(float64);  // in which rounding moves no byte to another bucket
  model.eval();
  nn::ReformerCall call;
  for (const auto kind : c.layers)
    call.attention.push_back(
        kind == nn::ReformerAttention::local
            ? nn::LshCall{}
            : nn::LshCall{.rotations = lsh_rotations(c.lsh, 1, c.heads, c.head_dim, text.size(1), float64)});
  nn::ReformerState state = model.start(call);
  model.step(slice(text, 1, 0, -count), state);
  double apart = 0, steps = 0, passes = 0;
  for (std::int64_t n = text.size(1) - count + 1; n <= text.size(1); ++n) {
    Tensor step, pass;
    steps += examples::cost_of([&] { step = log_softmax(model.step(slice(text, 1, n - 1, n), state), -1); }).seconds;
    passes +=
        examples::cost_of([&] { pass = log_softmax(select(model(slice(text, 1, 0, n), call), 1, -1), -1); }).seconds;
    apart = std::max(apart, amax(abs(step - pass)).item());
  }
  print(
      "\nDecoding with cached buckets: {:.2f} ms a step; a full pass over {} bytes: {:.0f} ms (in float64)\n"
      "Log-probabilities differ by at most {:.2g} in {} steps{}\n",
      1e3 * steps / static_cast<double>(count), text.size(1), 1e3 * passes / static_cast<double>(count), apart, count,
      apart < 1e-9 ? "" : ": with an LSH layer before the last, later bytes change what earlier ones were");
  model.to(float32);
}

int train(const examples::CommandLine& line, const Options& o) {
  if (o.length <= std::max(o.write, o.check)) line.refuse("--length must be above --write and --check");
  const nn::ByteTokenizer bytes;
  const auto seed = static_cast<std::uint64_t>(o.seed);
  manual_seed(seed);
  const std::string text = line.or_refuse([&] { return examples::read_text(o.data); });
  const auto parts = line.or_refuse([&] { return nn::split(nn::Tokens(bytes.encode(text), bytes.size()), 0.9); });
  auto batches = line.or_refuse([&] { return nn::token_windows(parts.first, {.length = o.length, .seed = seed}); });
  auto held_out =
      line.or_refuse([&] { return nn::token_windows(parts.second, {.length = o.length, .sequential = true}); });
  const auto trainer = line.or_refuse([&] { return std::make_unique<Trainer>(o, config_of(o, o.length)); });
  nn::Reformer& model = trainer->model;
  nn::RunOptions options = examples::run_options(line, o);
  options.unit = "bytes";
  options.units_per_step = static_cast<double>(o.length);
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, options); });
  run->track("model", model);
  run->track("optimizer", trainer->optimizer);
  run->track("data", batches);
  const auto validate = [&] {
    const NoGrad off;
    nn::LanguageLoss loss;
    model.eval();
    for (const auto& [x, y] : held_out) loss.add(model(x), y);
    model.train();
    return loss.bits_per_byte(loss.count());
  };
  print("Reformer: {}; {} parameters; {} bytes of text\n", o.layers, model.parameter_count(), text.size());
  while (run->next()) {
    const auto [x, y] = batches.next();
    run->log({{"bits", trainer->step(x, y) / std::log(2)}});
    if (run->every(100)) run->log({{"validation", validate()}});
  }
  if (run->interrupted()) return run->exit_code();
  print("Validation: {:.3f} bits per byte after {} steps, {:.0f} s\n", validate(), run->step(), run->seconds());
  if (o.check > 0) check_decoding(model, unsqueeze(parts.second.ids(0, o.length), 0), o.check);
  std::vector<examples::Panel> panels{
      {"Bits per byte", "step", {{"training", run->history("bits")}, {"validation", run->history("validation")}}}};
  if (o.measure > 0) measure(o, panels);
  if (examples::draw_panels(o.out + "/reformer_lm.png", panels)) print("Picture: {}/reformer_lm.png\n", o.out);
  const Tensor prompt = unsqueeze(parts.second.ids(0, o.length - o.write), 0);
  const auto show = [&](const Tensor& t) {
    print("{}", bytes.decode(t.to_vector<std::int64_t>()));
    return !nn::interrupted();
  };
  print("\n{} bytes of held-out text, the last of them, and behind >>> what the model writes:\n", prompt.size(1));
  show(slice(prompt, 1, -std::min<std::int64_t>(100, prompt.size(1))));
  print(">>>");
  if (o.write > 0)
    nn::generate(model, prompt, {.max_new_tokens = o.write, .sample = true, .temperature = 0.8, .on_tokens = show});
  print("\n");
  return nn::interrupted() ? nn::interrupted_exit_code() : 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("reformer_lm", "Trains a byte-level Reformer on long sequences of any text.");
  Options o;
  constexpr std::int64_t most = 1 << 20;
  line.add("--data", o.data, "a file to train on, of text or not; without it, the Jargon File");
  line.add("--layers", o.layers, "`local` and `lsh` in their order, with commas between");
  line.add("--length", o.length, 2, most, "bytes a sequence");
  line.add("--width", o.width, 2, 4096, "model width");
  line.add("--heads", o.heads, 1, 4096, "attention heads");
  line.add("--hashes", o.hashes, 1, 64, "hash rounds");
  line.add("--chunk", o.chunk, 1, most, "chunk length of both kinds of attention");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add("--measure", o.measure, 0, most, "longest sequence whose memory and time are drawn; 0: none", false);
  line.add("--check", o.check, 0, most, "steps of decoding that are compared with full passes", false);
  line.add("--write", o.write, 0, most, "bytes to write", false);
  line.add_run(o);
  return line.run(argc, argv, [&] { return train(line, o); });
}
