// The duplication task, and training a Reformer on it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "examples/reformer_copy/options.h"
#include "optim/optim.h"

namespace reformer_copy {

/// Fresh sequences `0 w 0 w` [b, n], w random from 1..symbols, without end.
class Task {
 public:
  /// Tasks of different streams draw different sequences.
  Task(const Options& o, std::uint64_t stream)
      : length_(o.length), symbols_(o.symbols), random_(static_cast<std::uint64_t>(o.seed) + stream) {}
  attune::Tensor batch(std::int64_t b);
  /// The tokens where they count, in the second w; -100 elsewhere.
  attune::Tensor labels(const attune::Tensor& tokens) const;
  /// The share of the second w's symbols that the logits predict.
  double accuracy(const attune::Tensor& logits, const attune::Tensor& tokens) const;
  attune::Generator& random() { return random_; }
  const attune::Generator& random() const { return random_; }

 private:
  std::int64_t length_, symbols_;
  attune::Generator random_;
};

/// What a checkpoint holds.
struct CheckpointInfo {
  std::string course;
  std::int64_t step, steps;  ///< done, of all
  bool finished() const { return step >= steps; }
};
/// Throws FileError for a file that is no checkpoint of this program.
CheckpointInfo checkpoint_info(const std::string& path);

/// How attention looks in evaluation: that many hashes, or (0) everything.
using Hashes = std::int64_t;

class Trainer {
 public:
  struct Point {
    double step, loss, accuracy;
  };

  explicit Trainer(const Options& o);
  /// Trains to the last step, with progress on stdout. Returns false if Ctrl-C came first; a checkpoint holds the
  /// state then. Throws std::runtime_error if the loss is no longer finite.
  bool run(const std::string& checkpoint);
  /// Second-half accuracy on `batches` fresh batches of 64.
  double evaluate(Hashes hashes, int batches = 8);

  void save(const std::string& path) const;
  /// Throws FileError and ValueError for a file that is no checkpoint of this course, and then has changed nothing.
  void load(const std::string& path);

  attune::nn::Reformer& model() { return model_; }
  const std::vector<Point>& history() const { return history_; }
  std::int64_t step() const { return optimizer_.steps(); }
  double seconds() const { return seconds_; }              ///< that run() took
  std::int64_t peak_bytes() const { return peak_bytes_; }  ///< of tensors, in run()

 private:
  attune::nn::ReformerCall call(Hashes hashes);
  /// One step of the optimiser, or nothing if Ctrl-C came before its last batch.
  std::optional<Point> train_step(const attune::nn::ReformerCall& attention);

  Options options_;
  attune::nn::Reformer model_;
  attune::optim::AdamW optimizer_;
  Task task_;
  std::vector<Point> history_;
  double seconds_ = 0;
  std::int64_t peak_bytes_ = 0;
};

}  // namespace reformer_copy
