// Recorder: makes a Recording of backward passes as a program runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/tape/sweep.h"
#include "autograd/trace/recording.h"

namespace attune {

struct RecorderOptions {
  /// Whole tensors are kept up to this many bytes, smallest first; of the others a summary. ATTUNE_TRACE_BYTES.
  std::int64_t bytes = std::int64_t{32} << 20;
  /// Parts of tensors that are kept in any case, of passes that have them: "NAME[0, :4]", NAME a node's label or module
  /// path (its output).
  std::vector<std::string> slices{};
  /// Composed forms of fused operations whose inputs have at most this many elements are recorded with them.
  std::int64_t largest_parts = 1 << 15;
  /// Rules of nodes whose inputs have at most that many elements are compared with finite differences (NodeCheck), for
  /// so many seconds a pass, in order of execution; 0: none.
  double check_seconds = 0;
  /// The lines around call sites go in too. ATTUNE_TRACE_SOURCE=0 says no.
  bool sources = true;
};

/// Records backward passes, with the forward passes that led to them, which must have run under Tracing. Each stays: a
/// program that records all passes of a long run grows with it.
///
///     Recorder recorder;
///     {
///       const Tracing on;
///       Tensor loss = cross_entropy(model(x), y);
///       recorder.backward(loss);
///     }
///     opt.step();
///     save_trace("trace.safetensors", recorder.recording());
///     write_page("page.html", recorder.recording());
class Recorder {
 public:
  explicit Recorder(RecorderOptions options = {});
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// root.backward(options) under Tracing, recorded. If it throws, what ran until then is recorded, with what the
  /// exception says, and the exception goes on.
  void backward(const Tensor& root, const BackwardOptions& options = {}, Here here = Here::current());
  /// Records the traced pass that has run from root last. Throws ValueError if there is none.
  void record(const Tensor& root, const std::string& error = "", Here here = Here::current());
  /// Keeps the loss and the gradient norms of a pass that is not recorded. They belong to RecordedProgress.
  void note(const Tensor& root);
  /// Counts a pass of which nothing is kept: one that was refused.
  void skip();
  /// How many passes there have been.
  std::int64_t passes() const;

  /// What has been recorded. Parameters that have changed since their pass have got their updates.
  const Recording& recording();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Names the positions of a sequence for those who look at it: `words` for the axis of that length of x, token numbers
/// say, and of what is computed from it. Throws ValueError if no axis of x has that length.
void name_words(const Tensor& x, std::vector<std::string> words, Here here = Here::current());

}  // namespace attune
