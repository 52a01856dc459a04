// What a training run measures: in memory, as a CSV file and as TensorBoard's events.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "nn/training/event_file.h"

namespace attune::nn {

/// Named values of one step: {{"loss", 2.3}, {"accuracy", 0.4}}.
using Metrics = std::vector<std::pair<std::string, double>>;

/// A metric's values so far: (step, value), in order of steps.
using Series = std::vector<std::pair<std::int64_t, double>>;

/// The metrics of a run, step by step. The CSV file has a line a step: "step,seconds,loss,...", a column a metric in
/// order of their first appearance, empty where a step has no value; seconds are those since the run began or was
/// resumed. Names may hold letters, digits and "_-/. ".
class MetricsLog {
 public:
  MetricsLog() = default;
  /// Logs into these files ("" for none), which are written anew, or, with `last_step` >= 0, go on after that step.
  /// Throws FileError.
  void open(const std::string& csv_path, const std::string& event_path, std::int64_t last_step,
            Here here = Here::current());

  /// Values of the step that is under way. Throws ValueError for a bad name, or one that has a value in this step.
  void add(const Metrics& metrics, Here here = Here::current());
  /// Ends the step: writes its line, in which `seconds` are as above. A full disk does not end the work: it is told
  /// once, on stderr.
  void end_step(std::int64_t step, double seconds);
  /// Forgets the values of the step under way.
  void drop_step() { now_.clear(); }

  const Metrics& now() const { return now_; }
  /// All values of a metric in steps that ended; empty for a name that is not known.
  const Series& series(const std::string& name) const;

  /// "<name>" [n, 2] float64: steps and values.
  StateDict state_dict() const;
  /// Throws ValueError for tensors of another form, and then has changed nothing.
  void load_state_dict(const StateDict& state, Here here = Here::current());

 private:
  void write_csv(std::int64_t last_step, Here here);
  void append(const std::string& line);
  void complain(const std::string& path);

  std::map<std::string, Series> series_;
  std::vector<std::string> columns_;
  Metrics now_;
  std::string csv_path_;
  std::unique_ptr<EventFile> events_;
  std::string event_path_;
  bool complained_ = false;
};

}  // namespace attune::nn
