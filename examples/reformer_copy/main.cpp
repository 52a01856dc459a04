// Trains a Reformer (Kitaev, Kaiser and Levskaya 2020) with LSH attention on the paper's duplication task: the model
// reads `0 w 0 w` with a random w and has to predict the second w, for which each position must find its counterpart in
// the first half through a shared hash bucket.
//
// Expect: nothing for some 200 steps, then a sudden rise; over 99 % second-half accuracy on fresh sequences within
// three minutes on two cores, and more hashes in evaluation giving more accuracy, as in the paper's Table 2 (--table
// prints all of it).

#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "autograd/io/directory.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/parallel.h"
#include "examples/reformer_copy/report.h"
#include "examples/support/output.h"
#include "examples/support/progress.h"

using namespace reformer_copy;

namespace {

/// Makes the directory; a run does not end without being able to save.
void prepare(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw attune::FileError(directory + ": cannot be made: " + error.message());
  attune::io::check_writable(directory);
}

/// Nothing that took time to train is written over: an unfinished run waits for --resume. Returns the checkpoints of
/// finished runs, which keep_aside() then moves.
std::vector<std::string> in_the_way(const std::vector<Options>& runs) {
  std::vector<std::string> finished;
  std::string others;  // options, if a checkpoint has others
  const auto refuse_it = [&](const std::string& what) {
    refuse(others.empty() ? what + "; --resume continues it, another --out leaves it alone"
                          : what + " under other options (" + others + "); another --out leaves it alone");
  };
  for (const Options& each : runs) {
    const std::string path = checkpoint_path(each);
    if (!std::filesystem::exists(path)) continue;
    const CheckpointInfo there = checkpoint_info(path);
    if (there.course != course(each)) others = difference(there.course, course(each));
    if (!there.finished())
      refuse_it(fmt::format("{}: is of an unfinished run (step {} of {})", path, there.step, there.steps));
    finished.push_back(path);
  }
  if (!finished.empty() && finished.size() < runs.size())
    refuse_it(fmt::format("{}: has an unfinished table ({} of {} rows)", runs[0].out, finished.size(), runs.size()));
  return finished;
}

void keep_aside(const std::vector<std::string>& checkpoints) {
  for (const std::string& path : checkpoints) {
    const std::filesystem::path from = path;
    std::filesystem::path to;
    for (int i = 1; to.empty() || std::filesystem::exists(to); ++i)
      to = from.parent_path() / fmt::format("{}-{}{}", from.stem().string(), i, from.extension().string());
    std::filesystem::rename(from, to);
    examples::print("{} is of a finished run; kept as {}\n", path, to.string());
  }
}

int train(const Options& o) {
  const std::string checkpoint = checkpoint_path(o);
  Trainer trainer(o);
  if (o.resume) trainer.load(checkpoint);
  examples::print("Reformer: {} layer{}, width {}, {} heads, {} parameters; length {}, {}, {} threads\n", o.layers,
                  o.layers == 1 ? "" : "s", o.d_model, o.heads, trainer.model().parameter_count(), o.length,
                  o.full ? "full attention" : fmt::format("{} hashes, chunk {}", o.hashes, o.chunk),
                  attune::num_threads());
  if (o.resume) examples::print("Resuming after step {} from {}\n", trainer.step(), checkpoint);
  examples::flush();
  const std::int64_t before = trainer.step();
  if (!trainer.run(checkpoint)) {
    examples::print("Interrupted{} after step {} of {}; saved to {}. The same command with --resume continues.\n",
                    examples::interruption(), trainer.step(), o.steps, checkpoint);
    return examples::interrupted_exit_code();
  }
  if (before < o.steps)
    examples::print(
        "Trained to step {} in {:.0f} s; weights and state: {}\nPeak memory of tensors in training: {:.1f} MiB\n",
        trainer.step(), trainer.seconds(), checkpoint, static_cast<double>(trainer.peak_bytes()) / (1 << 20));
  if (!print_evaluation(trainer, o)) {
    examples::print("Interrupted{} while evaluating. The same command with --resume evaluates again.\n",
                    examples::interruption());
    return examples::interrupted_exit_code();
  }
  draw_pictures(trainer, o);
  return 0;
}

int run(const Options& o) {
  if (o.threads > 0) attune::set_num_threads(static_cast<int>(o.threads));
  // What is wrong with the options, their directory or its checkpoints shows before anything is trained.
  const std::vector<Options> runs = o.table ? table_runs(o) : std::vector<Options>{o};
  std::optional<attune::io::DirectoryLock> lock;  // until the pictures are drawn
  or_refuse([&] {
    if (std::filesystem::exists(o.out)) lock.emplace(o.out);
    for (const Options& each : runs) {
      Trainer trainer(each);
      const std::string checkpoint = checkpoint_path(each);
      if (o.resume && (!o.table || std::filesystem::exists(checkpoint))) trainer.load(checkpoint);
    }
    const std::vector<std::string> finished = o.resume ? std::vector<std::string>() : in_the_way(runs);
    prepare(o.out);
    if (!lock) lock.emplace(o.out);
    keep_aside(finished);
  });
  examples::catch_interrupts();
  if (o.table) return run_table(o) ? 0 : examples::interrupted_exit_code();
  return train(o);
}

}  // namespace

int main(int argc, char** argv) {
  examples::prepare_output();
  const Options o = parse(argc, argv);
  int code = 1;
  try {
    code = run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "reformer_copy: {}\n", e.what());
  }
  return examples::finish_output("reformer_copy", code);
}
