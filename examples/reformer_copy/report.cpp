#include "examples/reformer_copy/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "autograd/autograd.h"
#include "examples/support/output.h"
#include "examples/support/plot.h"
#include "examples/support/progress.h"

namespace reformer_copy {

using namespace attune;

namespace {

std::string name_of_hashes(Hashes h) { return h == 0 ? "full" : fmt::format("LSH-{}", h); }

/// Kitaev et al. 2020, Table 2, accuracy in %: trained with (rows) and evaluated with full, 8, 4, 2, 1
/// hashes (columns).
struct Published {
  Hashes trained;
  double accuracy[5];
};
constexpr Published published[] = {{0, {100, 94.8, 92.5, 76.9, 52.5}},
                                   {4, {0.8, 100, 99.9, 99.4, 91.9}},
                                   {2, {0.8, 100, 99.9, 98.1, 86.8}},
                                   {1, {0.8, 99.9, 99.6, 94.8, 77.9}}};
constexpr Hashes table_columns[] = {0, 8, 4, 2, 1};

}  // namespace

bool print_evaluation(Trainer& trainer, const Options& o) {
  examples::print("\nSecond-half accuracy on 512 fresh sequences of length {}, trained with {}:\n", o.length,
                  name_of_hashes(o.full ? 0 : o.hashes));
  for (Hashes h : {1, 2, 4, 8, 0}) {
    examples::print("  evaluated with {:6}  {:6.2f} %\n", name_of_hashes(h), 100 * trainer.evaluate(h));
    examples::flush();
    if (examples::interrupted()) return false;
  }
  return true;
}

void draw_pictures(Trainer& trainer, const Options& o) {
  // The curve is averaged over a hundredth of the run.
  const auto& history = trainer.history();
  const std::size_t width = std::max<std::size_t>(1, history.size() / 100);
  std::vector<std::vector<double>> curve;
  for (std::size_t i = 0; i < history.size(); i += width) {
    const std::size_t end = std::min(i + width, history.size());
    double loss = 0, accuracy = 0;
    for (std::size_t j = i; j < end; ++j) loss += history[j].loss, accuracy += history[j].accuracy;
    const double n = static_cast<double>(end - i);
    curve.push_back({history[end - 1].step, loss / n, 100 * accuracy / n});
  }
  const std::string curve_path = o.out + "/curve.png";
  if (examples::draw(curve_path, 900, 480,
                     examples::data_block("curve", curve) +
                         "set title 'Duplication task: loss and second-half accuracy'\nset xlabel 'step'\nset ylabel "
                         "'loss (nats)'\n"
                         "set y2label 'accuracy (%)'\nset ytics nomirror\nset y2tics\nset y2range [0:102]\nset yrange "
                         "[0:*]\nset grid\n"
                         "set key center right\nplot $curve using 1:2 with lines lw 2 lc rgb '#b03060' title 'loss', "
                         "$curve using 1:3 axes x1y2 with lines lw 2 lc rgb '#206080' title 'accuracy'"))
    examples::print("Loss and accuracy:     {}\n", curve_path);

  constexpr std::int64_t longest = 2048;
  if (o.length > longest) {
    examples::print("Attention and buckets are drawn up to a length of {}\n", longest);
    return;
  }
  Task task(o, 3'000'003);
  trainer.evaluate(o.hashes, 0);  // hashes as in training
  const auto pattern = trainer.model().attention_pattern(task.batch(1), 0);
  const std::int64_t n = o.length;
  const std::vector<double> weights = select(select(pattern.weights, 0, 0), 0, 0).to_vector<double>();
  std::vector<std::vector<double>> probability(static_cast<std::size_t>(n)), bucket(static_cast<std::size_t>(n));
  const std::vector<double> buckets =
      pattern.buckets.defined() ? select(select(select(pattern.buckets, 0, 0), 0, 0), 0, 0).to_vector<double>()
                                : std::vector<double>(static_cast<std::size_t>(n), 0.0);
  const double count = *std::max_element(buckets.begin(), buckets.end()) + 1;
  constexpr double nothing = -1;  // not drawn
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const auto q = static_cast<std::size_t>(i), k = static_cast<std::size_t>(j);
      probability[q].push_back(weights[q * static_cast<std::size_t>(n) + k]);
      bucket[q].push_back(buckets[q] == buckets[k] ? buckets[q] : nothing);
    }
  const std::string attention_path = o.out + "/attention.png";
  if (examples::draw(
          attention_path, 1200, 620,
          examples::data_block("p", probability) + examples::data_block("b", bucket) +
              fmt::format(
                  "set multiplot layout 1,2\nset xlabel 'key position'\nset ylabel 'query position'\nset size square\n"
                  "set xrange [-0.5:{0}]\nset yrange [{0}:-0.5]\nset title 'Attention of head 1, {1}'\n"
                  "set palette defined (0 'white', 0.25 '#9ecae1', 1 '#08306b')\nset cbrange [0:1]\n"
                  "plot $p matrix with image notitle\n"
                  "set title 'Pairs that share a bucket in the first hash round'\n"
                  "set palette defined (0 '#4477aa', 0.35 '#228833', 0.7 '#ccbb44', 1 '#aa3377') maxcolors {2}\n"
                  "set cbrange [-0.5:{3}]\nset cbtics 0,{4}\nset cblabel 'bucket'\nplot $b matrix using 1:2:($3 < 0 ? "
                  "NaN : $3) with "
                  "image notitle\nunset multiplot",
                  static_cast<double>(n) - 0.5, o.hashes == 1 ? "1 hash" : fmt::format("{} hashes", o.hashes), count,
                  count - 0.5, 1 + static_cast<int>(count) / 20)))
    examples::print("Attention and buckets: {}\n", attention_path);
}

std::vector<Options> table_runs(const Options& o) {
  std::vector<Options> runs;
  for (const Published& row : published) {
    runs.push_back(o);
    runs.back().full = row.trained == 0;
    runs.back().hashes = row.trained != 0 ? row.trained : Options().hashes;  // full attention takes none
    runs.back().checkpoint = name_of_hashes(row.trained) + ".safetensors";
  }
  return runs;
}

bool run_table(const Options& o) {
  const std::vector<Options> runs = table_runs(o);
  std::vector<std::vector<double>> measured;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const std::string name = name_of_hashes(published[r].trained), checkpoint = checkpoint_path(runs[r]);
    Trainer trainer(runs[r]);
    if (o.resume && std::filesystem::exists(checkpoint)) trainer.load(checkpoint);
    examples::print("{} of {}: training with {}{}\n", r + 1, runs.size(), name,
                    trainer.step() > 0 ? fmt::format(", from step {} on", trainer.step()) : "");
    examples::flush();
    const bool done = trainer.run(checkpoint);
    std::vector<double> accuracies;
    for (Hashes h : table_columns) {
      if (!done || examples::interrupted()) {
        examples::print(
            "Interrupted{} in row {} of {}, trained with {}, after step {} of {}; saved to {}. The same command with "
            "--resume continues.\n",
            examples::interruption(), r + 1, runs.size(), name, trainer.step(), o.steps, checkpoint);
        return false;
      }
      accuracies.push_back(100 * trainer.evaluate(h));
    }
    measured.push_back(accuracies);
  }
  examples::print(
      "\nSecond-half accuracy in %, here (length {}, {} steps) and published (length 1024, 150,000 steps)\n", o.length,
      o.steps);
  examples::print("{:14}", "trained with");
  for (Hashes h : table_columns) examples::print("{:>15}", name_of_hashes(h));
  examples::print("\n");
  for (std::size_t r = 0; r < measured.size(); ++r) {
    examples::print("{:14}", name_of_hashes(published[r].trained));
    for (std::size_t c = 0; c < measured[r].size(); ++c)
      examples::print("{:>15}", fmt::format("{:.1f} ({:.1f})", measured[r][c], published[r].accuracy[c]));
    examples::print("\n");
  }
  return true;
}

}  // namespace reformer_copy
