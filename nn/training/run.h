// A training run in a directory of its own: progress, metrics, checkpoints, interruption, resumption. The loop stays
// the user's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/runtime/error.h"
#include "nn/training/checkpoint.h"
#include "nn/training/metrics_log.h"

namespace attune::nn {

struct RunOptions {
  std::int64_t steps = 0;         ///< of the whole run
  std::int64_t save_every = 0;    ///< steps between checkpoints; 0: one at the end, or when interrupted
  std::int64_t keep = 2;          ///< the last checkpoints that stay: if one is damaged, there is the one before
  std::string best = "";          ///< the metric by which the best checkpoint is kept as well; "": none
  bool larger_is_better = false;  ///< of `best`
  /// Go on from the last checkpoint, which must be there; false refuses an unfinished run. `Run::exists(directory)`
  /// resumes if there is something to resume.
  bool resume = false;
  Settings settings{};  ///< that decide the course of training: a run resumes only under the same
  /// Of the files NAME.safetensors, NAME.csv, ..., and of a folder NAME for TensorBoard's events, of which it draws a
  /// folder as one curve; "": checkpoint.safetensors, metrics.csv, best.safetensors and events.out.tfevents.attune.
  /// Several runs of one process may share a directory under different names.
  std::string name = "";
  double units_per_step = 1;  ///< what the rate counts, in `unit`s
  std::string unit = "steps";
  std::string hint = "A run that resumes goes on from there.";  ///< said after an interruption
  bool progress = true;                                         ///< on standard output
};

/// Why a run cannot begin in its directory, in words of the library, and in parts for programs that have other words
/// for their users.
struct RunError : FileError {
  enum class Reason {
    nothing_to_resume,  ///< there is no checkpoint
    unfinished,         ///< there is an unfinished run that is not to be resumed
    other_settings,     ///< the run to resume is under other settings
    too_few_steps,      ///< and has more steps behind it than RunOptions::steps
  };
  RunError(Reason reason, const std::string& file, const CheckpointInfo& info, const std::string& difference,
           std::int64_t steps, Here here);
  Reason reason;
  std::string file;        ///< the checkpoint
  CheckpointInfo info;     ///< what it says; without parts
  std::string difference;  ///< of its settings and those here, as difference() has it; "" if there is none
};

/// What a training script has around its steps.
///
///     nn::Run run("out", {.steps = 2000, .save_every = 500, .best = "validation", .resume = resume});
///     run.track("model", model);
///     run.track("optimizer", opt);
///     run.track("data", batches);
///     while (run.next()) {
///       auto [x, y] = batches.next();
///       Tensor loss = model.loss(model(x), y);
///       loss.backward();
///       opt.step();
///       run.log({{"loss", loss.item()}});
///       if (run.every(250)) run.log({{"validation", evaluate()}});
///     }
///     return run.exit_code();
///
/// The directory holds checkpoint.safetensors, the state after the last step that was saved; earlier ones as
/// checkpoint-step500.safetensors; best.safetensors; metrics.csv; and events that TensorBoard draws. Ctrl-C, SIGTERM
/// and a terminal that closes end the loop after the step under way, with a checkpoint; a second one ends the program
/// at once. A run that is resumed ends with the bits of one that never stopped, if everything with a state is tracked;
/// the default generator is.
class Run {
 public:
  /// Makes the directory and locks it. Throws RunError if an unfinished run is in it that is not to be resumed; if
  /// there is nothing to resume, or a run of other settings, or one with more steps behind it than `steps`. Throws
  /// FileError if the directory cannot be written or another process is there, or the last checkpoint is damaged (and
  /// then names the one before). Files of a finished run that is not resumed are kept under new names:
  /// checkpoint-1.safetensors, ... Throws ValueError for options out of range or that contradict each other.
  Run(const std::string& directory, const RunOptions& options, Here here = Here::current());
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Whether a checkpoint is there that a run of this directory and RunOptions::name resumes from.
  static bool exists(const std::string& directory, const std::string& name = "");

  /// A part of the checkpoints: anything with state_dict() and load_state_dict(), or a Generator. It must live as long
  /// as next() is called. Throws ValueError after the run has started, or for a name that is taken ("random" and
  /// "metrics" are the run's own), empty, or has a dot in it.
  template <class T>
  void track(const std::string& name, T& x, Here here = Here::current()) {
    // What a step may draw and yet not have done (give_up()): generators and positions, not weights.
    const bool light = !requires { x.parameters(); }
    &&!requires { x.steps(); }
    &&!requires { x.updates(); };
    track_part(checkpoint_part(name, x), light, here);
  }

  /// Restores the parts from the checkpoint if the run resumes, which the first next() does otherwise. Throws FileError
  /// as load_checkpoint() does.
  void load(Here here = Here::current());
  /// Ends a step, if one was begun: its metrics are written, progress is shown, a checkpoint saved if one is due. Then
  /// true for the next step; false after the last, and after an interruption, with a checkpoint saved.
  bool next(Here here = Here::current());
  /// The step under way, from 1; before the loop and after it, how many are done.
  std::int64_t step() const { return step_; }
  std::int64_t steps() const { return options_.steps; }
  bool finished() const { return step_ >= options_.steps; }
  /// Whether the step under way is a multiple of n, or the last. Throws ValueError for n below 1.
  bool every(std::int64_t n, Here here = Here::current()) const;

  /// Measures of the step under way, any number of times. Throws ValueError as MetricsLog::add does, and if no step is
  /// under way: after the last, which every(n) is true in, checkpoint and logs are written.
  void log(const Metrics& metrics, Here here = Here::current());
  /// The text of the progress line; without it, the step's metrics.
  void show(const std::string& status) { status_ = status; }
  /// All values of a metric so far, those before a resumption too.
  const Series& history(const std::string& metric) const { return metrics_.series(metric); }

  /// Within a step of several batches: whether it is to be given up because of an interruption. Generators and data are
  /// then as the step found them, next() does not count it, and its gradients are the user's to clear.
  ///
  ///     if (run.give_up()) { opt.zero_grad(); continue; }
  bool give_up();
  bool gave_up() const { return given_up_; }         ///< in this step
  bool interrupted() const { return interrupted_; }  ///< next() returned false because of it
  /// 0, or what a shell reports for a program that the signal ends: 130 (SIGINT), 143 or 129.
  int exit_code() const;

  double seconds() const;           ///< since the first next()
  std::int64_t peak_bytes() const;  ///< of tensors since then
  std::string path() const;         ///< of the last checkpoint
  std::string best_path() const;    ///< of the best one
  const std::string& directory() const { return directory_; }

 private:
  struct Clock;
  void track_part(CheckpointPart part, bool light, Here here);
  void check_directory(Here here);
  void start(Here here);
  void keep_aside(Here here);
  void end_step(Here here);
  void save(Here here);
  void save_best(Here here);
  void end(Here here);
  void tell_of_best() const;
  std::string file(const std::string& what) const;
  std::string before_damaged(const std::string& damaged) const;
  std::vector<std::pair<std::int64_t, std::string>> earlier() const;
  std::string last() const;

  std::string directory_;
  RunOptions options_;
  std::shared_ptr<void> lock_;
  std::unique_ptr<Clock> clock_;
  std::vector<CheckpointPart> parts_;
  std::vector<bool> light_;
  std::vector<std::pair<std::size_t, StateDict>> undo_;
  MetricsLog metrics_;
  std::string status_, resume_path_;
  std::int64_t step_ = 0, saved_ = -1;
  bool loaded_ = false, started_ = false, open_ = false, given_up_ = false, interrupted_ = false;
};

}  // namespace attune::nn
