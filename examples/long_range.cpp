// One small Transformer with each of Attune's mechanisms in the place of exact attention, with equal widths, steps and
// tokens a step, on three tasks that are made (support/long_tasks.h): duplication and ListOps at the shortest length,
// retrieval at growing ones. It prints accuracies, and time a token and peak memory of a training step at each length,
// and draws them and each mechanism's pattern. With --resume it goes on where it was stopped.
//
// Words see their two neighbours on the left through a convolution before the blocks, so that a place can be found by
// what stands there.
//
// Expect: some twenty minutes for all. Time a token of exact attention grows with the length, of the others it hardly
// does (hashing grows a little); what looks at everything finds a symbol where a window has lost sight of it.
// docs/attention.md has a run.
#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "examples/support/command_line.h"
#include "examples/support/cost.h"
#include "examples/support/curves.h"
#include "examples/support/long_tasks.h"
#include "examples/support/mechanisms.h"
#include "examples/support/print.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;
using examples::LongTask;
using examples::Mechanism;
using examples::print;

namespace {

constexpr std::int64_t chunk = 64;  // of local and LSH attention

struct Options : examples::RunFlags {
  Options() { out = "long_range", steps = 600; }
  std::string only, tasks, lengths = "512,2048,8192,32768";
  std::int64_t width = 64, heads = 4, layers = 2, tokens = 4096, longest = 2048;
  double lr = 2e-3;
};

struct Model : nn::Module {
  Model(const Options& o, const Mechanism& m, const LongTask& task, std::int64_t n)
      : causal(task.causal && m.can_be_causal),
        token(child<nn::Embedding>("token", task.vocabulary, o.width)),
        neighbours(child<nn::Conv1d>("neighbours", o.width, o.width, 3, nn::Conv1dOptions{.padding = 2})),
        position(child<nn::SinusoidalPositionEmbedding>("position", n, o.width)),
        blocks(child<nn::TransformerEncoder>("blocks", o.layers, o.width, o.heads,
                                             nn::TransformerOptions{.d_ff = 2 * o.width,
                                                                    .dropout = 0,
                                                                    .activation = Activation::gelu,
                                                                    .pre_norm = true,
                                                                    .mechanism = m.make(n, causal, chunk)})),
        head(child<nn::Linear>("head", o.width, task.vocabulary)) {}
  Tensor operator()(const examples::TaskBatch& x) const {
    const std::int64_t n = x.tokens.size(1);
    const Tensor words = token(x.tokens), windows = slice(neighbours(transpose(words, 1, 2)), 2, 0, n);
    const Tensor in = words + transpose(windows, 1, 2) + position(n);
    return head(blocks(in, {.causal = causal, .key_padding_mask = x.padding}));
  }
  double accuracy(const examples::TaskBatch& x) const {
    const NoGrad off;
    return 100 * examples::accuracy((*this)(x), x);
  }

  const bool causal;
  nn::Embedding& token;
  nn::Conv1d& neighbours;
  nn::SinusoidalPositionEmbedding& position;
  nn::TransformerEncoder& blocks;
  nn::Linear& head;
};

/// Sequences grow while a model learns, since long ones teach little at first: from 32 to 62 tokens they double, and
/// have all n for the last third of the steps and more. Lengths are even; n below 64 stays as it is.
std::int64_t length_at(std::int64_t step, std::int64_t steps, std::int64_t n) {
  std::int64_t doublings = 0;
  while (n >> (doublings + 1) >= 32) ++doublings;
  const std::int64_t done = std::min(doublings, step * (doublings + 1) * 3 / (2 * steps + 1));
  return (n >> (doublings - done)) / 2 * 2;
}

/// The task that is trained at several lengths: what is asked for is as far off as the sequence is long.
bool at_all_lengths(const LongTask& task) { return std::string_view(task.name) == "retrieval"; }

/// Per cent right on fresh sequences after training; negative if interrupted.
double trained(const examples::CommandLine& line, const Options& o, const Mechanism& m, const LongTask& task,
               std::int64_t n) {
  manual_seed(static_cast<std::uint64_t>(o.seed));
  Model model(o, m, task, n);
  optim::AdamW optimizer(model.parameters(),
                         {.lr = o.lr, .weight_decay = 0, .schedule = optim::cosine(o.steps, o.steps / 10, 0.1)});
  Generator data(static_cast<std::uint64_t>(o.seed) + 1'000'003), fresh(static_cast<std::uint64_t>(o.seed) + 2'000'003);
  const std::int64_t tokens = std::max<std::int64_t>(o.tokens / n, 1) * n;  // of a step, however short its sequences
  nn::RunOptions r = examples::run_options(line, o);
  r.name = fmt::format("{}-{}-{}", m.name, task.name, n);
  r.resume = o.resume && nn::Run::exists(o.out, r.name);
  r.unit = "tokens", r.units_per_step = static_cast<double>(tokens);
  const auto made = line.or_refuse([&] { return std::make_unique<nn::Run>(o.out, r); });
  nn::Run& run = *made;
  run.track("model", model);
  run.track("optimizer", optimizer);
  run.track("data", data);
  run.load();
  if (!run.finished()) print("{} on {}, length {}, {} parameters\n", m.name, task.name, n, model.parameter_count());
  while (run.next()) {
    // Every 1,000 steps, as published programs do, and not in a round number's last ones: a model has to adapt to them.
    if (run.step() > 1 && run.step() % 1000 == 1) nn::redraw_features(model);
    const std::int64_t length = length_at(run.step(), o.steps, n);
    const examples::TaskBatch x = task.draw(tokens / length, length, data);
    const Tensor loss = cross_entropy(model(x), x.labels);
    loss.backward();
    optim::clip_grad_norm(model.parameters(), 1);
    optimizer.step();
    run.log({{"loss", loss.item()}});
  }
  if (run.interrupted()) return -run.exit_code();
  model.eval();
  double sum = 0;
  for (int i = 0; i < 8; ++i) sum += model.accuracy(task.draw(std::max<std::int64_t>(tokens / n, 4), n, fresh)) / 8;
  return sum;
}

/// A training step on one sequence of the causal task: us a token and MiB.
examples::Cost step_cost(const Options& o, const Mechanism& m, std::int64_t n) {
  Generator data(3);
  const LongTask& task = examples::long_tasks()[0];
  const Model model(o, m, task, n);
  const examples::TaskBatch x = task.draw(1, n, data);
  examples::Cost c{1e30, 0};
  for (int i = 0; i < 3 && (i == 0 || c.seconds < 5); ++i) {
    const examples::Cost one = examples::cost_of([&] { cross_entropy(model(x), x.labels).backward(); });
    c = {std::min(c.seconds, one.seconds), one.mebibytes};
  }
  return {1e6 * c.seconds / static_cast<double>(n), c.mebibytes};
}

int compare(const examples::CommandLine& line, const Options& o) {
  const std::vector<std::int64_t> lengths = examples::lengths_of(line, "--lengths", o.lengths);
  const std::vector<const Mechanism*> all = examples::mechanisms_of(line, "--only", o.only);
  if (o.width % o.heads != 0 || o.width % 2 != 0)
    line.refuse(fmt::format("--width {} is odd, or --heads {} does not divide it", o.width, o.heads));
  std::vector<std::pair<const LongTask*, std::int64_t>> columns;  // what is trained
  std::string accuracies = fmt::format("\n{:12}{:>12}", "% right", "parameters"),
              costs = fmt::format("\n{:12}", "us, MiB");
  for (const LongTask* task : examples::tasks_of(line, "--tasks", o.tasks))
    for (const std::int64_t n : lengths)
      if (n == lengths[0] || (at_all_lengths(*task) && n <= o.longest)) {
        columns.emplace_back(task, n);
        accuracies += fmt::format("{:>18}", fmt::format("{} {}", task->name, n));
      }
  for (const std::int64_t n : lengths) costs += fmt::format("{:>18}", n);
  std::vector<examples::Panel> panels{{"us a token, forward and backward", "tokens", {}, true, true},
                                      {"peak MiB, one sequence", "tokens", {}, true, true},
                                      {"retrieval, % right", "tokens", {}, true}};
  for (const Mechanism* m : all) {
    for (examples::Panel& p : panels) p.curves.push_back({m->name, {}});
    const std::int64_t parameters = Model(o, *m, *columns[0].first, columns[0].second).parameter_count();
    accuracies += fmt::format("\n{:12}{:12}", m->name, parameters), costs += fmt::format("\n{:12}", m->name);
    for (const auto& [task, n] : columns) {
      const bool can = m->can_be_causal || !task->causal;
      const double right = can ? trained(line, o, *m, *task, n) : 0;
      if (right < 0) return static_cast<int>(-right);
      accuracies += can ? fmt::format("{:18.1f}", right) : fmt::format("{:>18}", "not causal");
      if (at_all_lengths(*task)) panels[2].curves.back().values.emplace_back(n, right);
    }
    for (const std::int64_t n : lengths) {
      const examples::Cost c = step_cost(o, *m, n);
      costs += fmt::format("{:>18}", fmt::format("{:.2f}, {:.1f}", c.seconds, c.mebibytes));
      panels[0].curves.back().values.emplace_back(n, c.seconds);
      panels[1].curves.back().values.emplace_back(n, c.mebibytes);
    }
    examples::draw_pattern(fmt::format("{}/pattern_{}.png", o.out, m->name), *m);
  }
  print("{}\n{}\n", accuracies, costs);
  std::erase_if(panels, [](const examples::Panel& p) { return p.curves[0].values.empty(); });  // no retrieval
  if (examples::draw_panels(o.out + "/long_range.png", panels))
    print("\nPictures: {0}/long_range.png, {0}/pattern_*.png\n", o.out);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  examples::CommandLine line("long_range", "Compares attention's mechanisms on tasks of long sequences.");
  constexpr std::int64_t most = std::int64_t{1} << 24;
  Options o;
  line.add("--only", o.only, "these mechanisms, separated by commas: exact, local, ...; empty: all", {}, false);
  line.add("--tasks", o.tasks, "these tasks: duplication, listops, retrieval; empty: all", {}, false);
  line.add("--lengths", o.lengths, "from the shortest, on which all tasks are trained, to the longest", {}, false);
  line.add("--longest", o.longest, 0, most, "retrieval is trained up to this length", false);
  line.add("--width", o.width, 2, most, "model width");
  line.add("--heads", o.heads, 1, most, "attention heads");
  line.add("--layers", o.layers, 1, most, "blocks");
  line.add("--tokens", o.tokens, 1, most, "tokens a step, but at least one sequence");
  line.add("--lr", o.lr, 1e-12, 1e3, "learning rate");
  line.add_run(o);
  return line.run(argc, argv, [&] { return compare(line, o); });
}
