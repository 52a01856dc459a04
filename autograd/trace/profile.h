// Where the time of a training step goes: per operation, forward and backward.
//
//     Profile profile;
//     loss(model, batch).backward();
//     optimizer.step();
//     std::cout << profile.str();
//
// A program that is started with ATTUNE_PROFILE=1 prints its whole run's table on stderr when it ends. With
// ATTUNE_PROFILE=FILE.json it writes its timeline there, in the Trace Event format that chrome://tracing, Perfetto and
// Firefox's profiler open: every operation, backward step and module with its line, products and bytes, by thread, and
// the pool's memory. The file is written when the program ends, by exit() or an exception too, but not by a signal; it
// keeps the first 400,000 calls and says how many more there were. A file that cannot be written, and any other value,
// ends the program with a line on stderr and code 2 before it begins.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune {

/// What the calls of one operation took, without the operations that it called in turn, which have rows of their own.
/// A backward step counts for the operation that was recorded, whatever its rule calls; what a recomputed block runs
/// again counts as forward calls.
struct ProfileRow {
  std::string name;        ///< an operation's, an optimiser's, or "leaf": gradients added up at parameters
  std::int64_t calls = 0;  ///< forward
  std::int64_t steps = 0;  ///< backward
  double forward_seconds = 0;
  double backward_seconds = 0;
  std::int64_t flops = 0;  ///< of its matrix products, both ways
  std::int64_t bytes = 0;  ///< of the tensors read and written, both ways; views are none
};

/// Watches every thread's operations while it lives; several may live at once. Unwatched operations pay a branch each.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  /// What has ended since the construction, the longest first. With several threads at work at a time, products and
  /// bytes count for whichever operation ended first.
  std::vector<ProfileRow> rows() const;
  double seconds() const;  ///< since the construction, by the clock
  /// A table of the rows: calls, milliseconds, GFLOP/s, megabytes, and the share of seconds(); the last lines are the
  /// time outside of operations and the whole.
  std::string str() const;

 private:
  double begin_;
  std::vector<ProfileRow> before_;  // what had been collected when this one began
};

}  // namespace attune
