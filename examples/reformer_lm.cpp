// A byte-level language model of 4K to 64K bytes a sequence: a Reformer (Kitaev et al. 2020). Expect: a loss that stays
// near that of pairs of bytes for some 400 steps and then falls; memory that grows with the length alone, and time a
// byte that hardly does; decoding with cached buckets that gives what full forward passes give.
#include <cmath>

#include "examples/support/cost.h"
#include "examples/support/curves.h"
#include "examples/support/language.h"
#include "examples/support/text.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::print;

namespace {

struct Options : examples::LanguageFlags {
  Options() { out = "reformer_lm_out", steps = 1000, context = 4096; }
  std::string kinds = "LLLH";
  optim::AdamWOptions adam() const { return {.lr = lr, .beta2 = 0.98, .schedule = optim::cosine(steps, steps / 10)}; }
  std::int64_t hashes = 2, chunk = 64, measure = 65536, check = 16;
};

nn::ReformerConfig config_of(const Options& o, std::int64_t length, bool reversible = true) {
  nn::ReformerConfig c{.vocabulary = 256, .d_model = o.width, .d_ff = 4 * o.width, .heads = o.heads, .layers = {}};
  for (const char kind : o.kinds)
    c.layers.push_back(kind == 'H' ? nn::ReformerAttention::lsh : nn::ReformerAttention::local);
  c.reversible = reversible;
  c.lsh.hashes = o.hashes;
  c.lsh.chunk = c.local.chunk = o.chunk;
  c.lsh.bucket_count = BucketCount::power_of_two;     // in two factors, if there are many
  c.lsh.buckets = lsh_bucket_factors(c.lsh, length);  // as many for a text that is still being written
  c.axial_rows = static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(length))));
  c.axial_columns = (length + c.axial_rows - 1) / c.axial_rows;
  c.axial_row_dim = o.width / 2;
  c.axial_std = c.embedding_std = 0.1;
  c.ff_chunks = (length + 2047) / 2048;
  return c;
}

struct Trainer {
  Trainer(const Options& o, const nn::ReformerConfig& c) : model(c), optimizer(model.parameters(), o.adam()) {}
  double step(const nn::WindowBatch& batch) {  // the loss in bits
    const Tensor loss = cross_entropy(model(batch.inputs), batch.targets) / std::log(2);
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    return loss.item();
  }
  nn::Reformer model;
  optim::AdamW optimizer;
};

/// Memory and time of a training step by the length of its one sequence.
std::vector<examples::Panel> measure(const Options& o) {
  nn::Series memory[2], time;
  print("\nTraining step\n{:>8}{:>20}{:>20}{:>20}\n", "bytes", "MiB, reversible", "MiB, all kept", "us a byte");
  for (std::int64_t n = std::max<std::int64_t>(1, o.measure / 16); n <= o.measure && !nn::interrupted(); n *= 2) {
    for (const bool kept : {false, true}) {
      Trainer t(o, config_of(o, n, !kept));
      const auto step = [&] { t.step({randint(0, 256, {1, n}), randint(0, 256, {1, n})}); };
      if (!kept) step();  // the first one of a length gets its memory from the system, which takes time
      const examples::Cost cost = examples::cost_of(step);
      memory[kept].emplace_back(n, cost.mebibytes);
      if (!kept) time.emplace_back(n, 1e6 * cost.seconds / static_cast<double>(n));
    }
    print("{:>8}{:>20.1f}{:>20.1f}{:>20.1f}\n", n, memory[0].back().second, memory[1].back().second,
          time.back().second);
  }
  return {{"Training step: peak memory (MiB)", "bytes", {{"reversible", memory[0]}, {"all kept", memory[1]}}, true},
          {"Training step: microseconds a byte", "bytes", {{"reversible", time}}, true}};
}

/// Steps with cached buckets at the text's end against full passes over all bytes so far with the same rotations: equal
/// if no LSH layer comes before the last. Such a one sorts anew in a full pass, and changes what bytes were.
void check_decoding(nn::Reformer& model, const Tensor& text, std::int64_t count) {
  const NoGrad off;
  const nn::ReformerConfig& c = model.config;
  model.to(float64);  // in which rounding moves no byte to another bucket
  model.eval();
  const Tensor rotations = lsh_rotations(c.lsh, 1, c.heads, c.head_dim, text.size(1), float64);
  const nn::ReformerCall call{.attention = {c.layers.size(), {.rotations = rotations}}};
  nn::ReformerState state = model.start(call);
  state.reserve(text.size(1));
  model.step(slice(text, 1, 0, -count), state);
  const double ms = 1e3 / static_cast<double>(count);
  double apart = 0, steps = 0, passes = 0;
  for (std::int64_t n = text.size(1) - count + 1; n <= text.size(1); ++n) {
    Tensor step, pass;
    steps += ms * examples::cost_of([&] { step = model.step(slice(text, 1, n - 1, n), state); }).seconds;
    passes += ms * examples::cost_of([&] { pass = select(model(slice(text, 1, 0, n), call), 1, -1); }).seconds;
    apart = std::max(apart, amax(abs(log_softmax(step, -1) - log_softmax(pass, -1))).item());
  }
  print("\n{} steps: {:.1f} ms each; full passes over {} bytes: {:.0f} ms\n", count, steps, text.size(1), passes);
  print("Log-probabilities from cached buckets and full passes differ by at most {:.2g} (float64)\n", apart);
  model.to(float32);
}

int train(const examples::CommandLine& line, const Options& o) {
  if (o.kinds.find_first_not_of("LH") != std::string::npos) line.refuse("--layers has letters other than L and H");
  const nn::ByteTokenizer bytes;
  const auto seed = static_cast<std::uint64_t>(o.seed);
  const nn::WindowOptions random{.length = o.context, .seed = seed}, whole{.length = o.context, .sequential = true};
  manual_seed(seed);
  const std::string text = line.or_refuse([&] { return examples::read_text(o.data); });
  const auto parts = line.or_refuse([&] { return nn::split(nn::Tokens(bytes.encode(text), bytes.size()), 0.9); });
  auto batches = line.or_refuse([&] { return nn::token_windows(parts.first, random); });
  auto held_out = line.or_refuse([&] { return nn::token_windows(parts.second, whole); });
  const auto trainer = line.or_refuse([&] { return std::make_unique<Trainer>(o, config_of(o, o.context)); });
  const auto run = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, examples::run_options(line, o)); });
  run->track("model", trainer->model);
  run->track("optimizer", trainer->optimizer);
  run->track("data", batches);
  const auto validate = [&] { return examples::validation_loss(trainer->model, held_out) / std::log(2); };
  print("Reformer: {}; {} parameters; {} bytes\n", o.kinds, trainer->model.parameter_count(), text.size());
  while (run->next()) {
    run->log({{"bits", trainer->step(batches.next())}});
    if (run->every(100)) run->log({{"validation", validate()}});
  }
  if (run->interrupted()) return run->exit_code();
  print("Validation: {:.3f} bits per byte after {} steps, {:.0f} s\n", validate(), run->step(), run->seconds());
  if (o.check > 0)
    check_decoding(trainer->model, unsqueeze(parts.second.ids(0, o.context), 0), std::min(o.check, o.context - 1));
  std::vector<examples::Panel> panels = o.measure > 0 ? measure(o) : std::vector<examples::Panel>();
  const examples::Curve curves[] = {{"training", run->history("bits")}, {"validation", run->history("validation")}};
  panels.insert(panels.begin(), {"Bits per byte", "step", {curves[0], curves[1]}});
  if (examples::draw_panels(o.out + "/reformer_lm.png", panels)) print("Picture: {}/reformer_lm.png\n\n", o.out);
  examples::write(trainer->model, o.context, bytes, text.substr(0, 100), o);
  return nn::interrupted() ? nn::interrupted_exit_code() : 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("reformer_lm", "Trains a byte-level Reformer on long sequences of any text.");
  Options o;
  line.add("--data", o.data, "a file to train on, of text or not; without it, the Jargon File");
  line.add("--layers", o.kinds, "a letter a layer: L, local attention, or H, attention by hashing");
  line.add("--length", o.context, 2, 1 << 20, "bytes a sequence");
  line.add("--width", o.width, 2, 4096, "model width");
  line.add("--hashes", o.hashes, 1, 64, "hash rounds");
  line.add("--chunk", o.chunk, 1, 1 << 20, "chunk length of both kinds of attention");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add("--measure", o.measure, 0, 1 << 20, "longest sequence whose memory and time are drawn; 0: none", false);
  line.add("--check", o.check, 0, 1 << 20, "steps of decoding that are compared with full passes", false);
  line.add("--tokens", o.tokens, 0, 1 << 20, "bytes to write", false);
  line.add_run(o);
  return line.run(argc, argv, [&] { return train(line, o); });
}
