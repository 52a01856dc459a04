#include "examples/support/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

namespace examples {

namespace {

constexpr int bar_width = 24;
constexpr double seconds_between_lines = 5, seconds_between_redraws = 0.1;

volatile std::sig_atomic_t caught = 0;

void on_signal(int number) {
  caught = 1;
  std::signal(number, SIG_DFL);
}

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::int64_t total, std::int64_t done)
    : total_(total), first_(done), terminal_(isatty(STDOUT_FILENO) != 0), start_(Clock::now()) {}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

void Progress::show(std::int64_t done, double units_per_step, const char* unit, const std::string& status) {
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - shown_).count();
  if (done < total_ && shown_ != Clock::time_point{} &&
      since < (terminal_ ? seconds_between_redraws : seconds_between_lines))
    return;
  shown_ = now;
  const double spent = seconds(), steps = static_cast<double>(done - first_);
  const double rate = spent > 0 ? steps * units_per_step / spent : 0;
  const double left = steps > 0 ? spent / steps * static_cast<double>(total_ - done) : 0;
  const std::string text =
      fmt::format("{}/{}  {}  {:.0f} {}/s  {} left", done, total_, status, rate, unit, clock_text(left));
  if (terminal_) {
    const int full = total_ > 0 ? static_cast<int>(bar_width * done / total_) : bar_width;
    fmt::print("\r[{}{}] {}\033[K", std::string(static_cast<std::size_t>(full), '#'),
               std::string(static_cast<std::size_t>(bar_width - full), '.'), text);
    open_ = true;
  } else {
    fmt::print("{}\n", text);
  }
  std::fflush(stdout);
}

void Progress::finish() {
  if (open_) fmt::print("\n");
  open_ = false;
}

void catch_interrupts() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

bool interrupted() { return caught != 0; }

}  // namespace examples
