#include "nn/training/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "nn/training/output.h"

namespace attune::nn {

namespace {

constexpr int bar_width = 24, least_bar_width = 8;
constexpr double seconds_between_lines = 5, seconds_between_redraws = 0.1, pace_seconds = 20;

int terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  if (s >= 86400) return fmt::format("{} d {} h", s / 86400, s / 3600 % 24);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

void Pace::add(double seconds, std::int64_t done) {
  moments_.push_back({seconds, done});
  while (moments_.size() > first_ + 2 && moments_[first_ + 1].seconds <= seconds - pace_seconds) ++first_;
  if (first_ <= moments_.size() / 2) return;
  moments_.erase(moments_.begin(), moments_.begin() + static_cast<std::ptrdiff_t>(first_));
  first_ = 0;
}

double Pace::steps_per_second() const {
  if (moments_.size() < first_ + 2) return 0;
  const Moment &from = moments_[first_], &to = moments_.back();
  return to.seconds > from.seconds ? static_cast<double>(to.done - from.done) / (to.seconds - from.seconds) : 0;
}

Progress::Progress(std::int64_t total) : total_(total), terminal_(isatty(STDOUT_FILENO) != 0), start_(now()) {}

double Progress::seconds() const { return now() - start_; }

void Progress::show(std::int64_t done, double units_per_step, const char* unit, const std::string& status) {
  const double elapsed = seconds();
  pace_.add(elapsed, done);
  if (done < total_ && shown_ >= 0 && elapsed - shown_ < (terminal_ ? seconds_between_redraws : seconds_between_lines))
    return;
  shown_ = elapsed;
  std::string text = fmt::format("{}/{}  {}", done, total_, status);
  if (const double pace = pace_.steps_per_second(); pace > 0)
    text += fmt::format("  {:.0f} {}/s  {} left", pace * units_per_step, unit,
                        clock_text(static_cast<double>(total_ - done) / pace));
  if (terminal_) {
    // A line that wraps could not be drawn over: the bar gives way first, then the text's end.
    longest_ = std::max(longest_, static_cast<int>(text.size()));  // so that the bar does not tremble
    const int columns = terminal_columns(), room = columns - 1 - longest_ - 3;
    const int width = std::min(bar_width, room);
    std::string line = text;
    if (width >= least_bar_width) {
      const auto full = static_cast<std::size_t>(total_ > 0 ? width * done / total_ : width);
      line = fmt::format("[{:.<{}}] {}", std::string(full, '#'), width, text);
    }
    print_text("\r" + line.substr(0, static_cast<std::size_t>(columns - 1)) + "\033[K");
    open_ = true;
  } else {
    print_text(text + "\n");
  }
  flush_output();
}

void Progress::finish() {
  if (open_) print_text("\n");
  open_ = false;
}

}  // namespace attune::nn
