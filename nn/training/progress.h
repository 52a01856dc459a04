// Progress of long work: a bar on a terminal, a plain line now and then in a log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune::nn {

/// How fast steps have been done lately.
class Pace {
 public:
  /// `done` steps were done `seconds` after some beginning.
  void add(double seconds, std::int64_t done);
  /// Steps a second over the last 20 seconds or the last step; 0 until two steps are done, since the first one warms up
  /// caches, threads and memory and says little about the others.
  double steps_per_second() const;

 private:
  struct Moment {
    double seconds;
    std::int64_t done;
  };
  std::vector<Moment> moments_;
  std::size_t first_ = 0;  // that still counts
};

class Progress {
 public:
  explicit Progress(std::int64_t total);  ///< steps
  ~Progress() { finish(); }               // an error's text begins on a line of its own
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Shows step `done`: `status` and, as soon as it can be told, the rate in `units_per_step` `unit` a second and
  /// the time left.
  void show(std::int64_t done, double units_per_step, const char* unit, const std::string& status);
  /// Ends the bar's line.
  void finish();
  double seconds() const;  ///< since the start

 private:
  std::int64_t total_;
  Pace pace_;
  bool terminal_, open_ = false;
  int longest_ = 0;            // of the texts beside the bar
  double start_, shown_ = -1;  // seconds: of the clock; since start_, -1 for not yet
};

}  // namespace attune::nn
