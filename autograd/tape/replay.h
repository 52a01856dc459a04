// What a recomputed block must not decide again: its random numbers, its discrete choices (such as LSH buckets), and
// settings that may have changed meanwhile (training mode, options).
//
// Blocks that run twice (checkpoint, reversible layers) record a ReplayLog in their forward pass and replay it in the
// second. New choices there would make the recomputed function another one, and its gradient wrong. What else it may
// depend on, a variable of the user's, say, is not seen by the log: its results are compared instead.
#pragma once

#include <any>
#include <functional>
#include <memory>

#include "autograd/runtime/philox.h"
#include "autograd/tensor/tensor.h"

namespace attune {

class ReplayLog {
 public:
  class Recording;
  class Replaying;
  class Surrounding;

  /// compute(), or, in a replay, what it gave the first time. The result is a constant: it is taken off the tape.
  template <class F>
  static Tensor remember(F&& compute) {
    if (const Tensor* known = next()) return keep(*known);
    return keep(compute());
  }
  /// A setting that is no tensor: as it is now, or, in a replay, as the first run found it.
  template <class T>
  static T setting(const T& now) {
    if (!running()) return now;
    if (const std::any* known = next_setting())
      if (const T* then = std::any_cast<T>(known)) return keep_setting(*then), *then;
    return keep_setting(now), now;
  }
  /// Keeps a few elements of each floating result of the block, for Replaying::check_results.
  void sample(const Tensors& results);

 private:
  static bool running();  // whether any log is recorded or replayed
  static const std::any* next_setting();
  static void keep_setting(std::any value);

  /// The choice that a replay makes next, or null if no block around this one is being replayed. Skips what it had
  /// drawn.
  static const Tensor* next();
  /// Into every log that is being recorded inside of it.
  static Tensor keep(const Tensor& x);

  class Keys;
  /// The innermost log that is being replayed.
  static ReplayLog* replayed();

  struct Choice {
    Tensor value;
    std::size_t keys;  // how many had been drawn when it was made
  };
  std::vector<RandomKey> keys_;  // all that the block drew, from whichever generator
  std::vector<Choice> kept_;
  std::vector<std::any> settings_;
  std::vector<std::vector<double>> samples_;  // of the first run's results
  std::size_t at_ = 0, key_at_ = 0, setting_at_ = 0;
  std::vector<std::function<std::shared_ptr<void>()>> surroundings_;  // of the first run, outermost first
  bool replaying_ = false;
  ReplayLog* outer_ = nullptr;
};

/// Something that blocks find changed while they run, such as the parameters that stand in for a module's own, and that
/// a replay must find again, though the change is long undone by then. `enter` makes the change; what it returns undoes
/// it when it goes. The constructor does not call it.
class ReplayLog::Surrounding {
 public:
  using Enter = std::function<std::shared_ptr<void>()>;
  explicit Surrounding(Enter enter);
  ~Surrounding();
  Surrounding(const Surrounding&) = delete;
  Surrounding& operator=(const Surrounding&) = delete;

 private:
  friend class ReplayLog::Recording;
  Enter enter_;
  const Surrounding* outer_;
};

/// Records from here to the end of the scope, into `log`, which starts empty.
class ReplayLog::Recording {
 public:
  explicit Recording(ReplayLog& log);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
};
/// Replays: whoever draws gets the same random numbers again, and no generator moves; `remember` gives the same
/// tensors.
class ReplayLog::Replaying {
 public:
  explicit Replaying(const ReplayLog& log);
  ~Replaying();
  Replaying(const Replaying&) = delete;
  Replaying& operator=(const Replaying&) = delete;

  /// Throws GradError if `outputs`, computed since this was made, depend on an older tensor that is not among
  /// `inputs`: it would silently get no gradient. `who` and `list` are for the message.
  void check_inputs(const Tensors& outputs, const Tensors& inputs, const char* who, const char* list) const;
  /// Throws GradError if `results` are not what the first run sampled: an element differs by more than `tolerance`
  /// times the largest of its tensor's sample, finite ones alone. `who` is for the message.
  void check_results(const Tensors& results, double tolerance, const char* who) const;

 private:
  struct Entered;
  ReplayLog copy_;
  std::vector<std::unique_ptr<Entered>> entered_;
  std::uint64_t start_;  // no node before it was recorded in this replay
};

/// For operations around a function of the user's, whose replay would be another run of it: new random numbers, and
/// what the function reaches by itself instead of what is handed in. While tracing, the node of `ys` then has no
/// replay.
void forget_replay(const Tensors& ys);

}  // namespace attune
