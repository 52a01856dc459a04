// Progress of long work: a bar on a terminal, a plain line now and then in a log. Also whether somebody has pressed
// Ctrl-C.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace examples {

class Progress {
 public:
  /// `total` steps, of which `done` are behind us.
  Progress(std::int64_t total, std::int64_t done = 0);
  /// Shows step `done`: rate in `units_per_step` `unit` a second, `status` and the time left.
  void show(std::int64_t done, double units_per_step, const char* unit, const std::string& status);
  /// Ends the bar's line.
  void finish();
  double seconds() const;  ///< since the start

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t total_, first_;
  bool terminal_, open_ = false;
  int longest_ = 0;  // of the texts beside the bar
  Clock::time_point start_, shown_{};
};

/// From now on Ctrl-C (SIGINT) and SIGTERM only set a flag; a second one ends the program as usual.
void catch_interrupts();
bool interrupted();

}  // namespace examples
