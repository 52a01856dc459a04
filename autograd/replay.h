// What a recomputed block must not decide again: its random numbers and its discrete choices (such as LSH buckets).
//
// Blocks that run twice (checkpoint, reversible layers) record a ReplayLog in their forward pass and replay it in the
// second. New choices there would make the recomputed function another one, and its gradient wrong.
#pragma once

#include "autograd/runtime/philox.h"
#include "autograd/tensor.h"

namespace attune {

class ReplayLog {
 public:
  class Recording;
  class Replaying;

  /// compute(), or, in a replay, what it gave the first time. The result is a constant: it is taken off the tape.
  template <class F>
  static Tensor remember(F&& compute) {
    if (const Tensor* known = next()) return keep(*known);
    return keep(compute());
  }

 private:
  static const Tensor*
  next();  // null unless a block around this one is being replayed; skips what the choice had drawn
  static Tensor keep(const Tensor& x);  // into every log that is being recorded inside of it

  class Keys;
  static ReplayLog* replayed();  // the innermost log that is being replayed

  struct Choice {
    Tensor value;
    std::size_t keys;  // how many had been drawn when it was made
  };
  std::vector<RandomKey> keys_;  // all that the block drew, from whichever generator
  std::vector<Choice> kept_;
  std::size_t at_ = 0, key_at_ = 0;
  bool replaying_ = false;
  ReplayLog* outer_ = nullptr;
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

 private:
  ReplayLog copy_;
};

}  // namespace attune
