// What a program's environment asks for, without a change to the program: ATTUNE_STEP=1 steps through its backward
// passes, ATTUNE_TRACE=page.html (or .safetensors) records them. docs/trace.md lists the variables.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "autograd/io/directory.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/tracing.h"
#include "autograd/trace/internal/slice_text.h"
#include "autograd/trace/page.h"
#include "autograd/trace/recorder.h"
#include "autograd/trace/terminal.h"
#include "autograd/trace/trace_file.h"

namespace attune {

namespace {

/// Ends a program that has not begun.
[[noreturn]] void refuse(const std::string& variable, const std::string& value, const std::string& why) {
  std::fprintf(stderr, "%s=%s: %s\n", variable.c_str(), value.c_str(), why.c_str());
  std::fflush(stderr);
  std::_Exit(2);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// "10,200", "1-5", "100-": as a variable says, or as `otherwise` does if it is not set.
class PassNumbers {
 public:
  PassNumbers(const char* name, const char* otherwise) {
    const std::string set = variable(name), text = set.empty() ? otherwise : set;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      const std::string one = text.substr(at, comma - at);
      const std::size_t dash = one.find('-');
      const auto low = number(one.substr(0, dash));
      const auto high = dash == std::string::npos ? low
                        : dash + 1 == one.size()  ? std::optional<std::int64_t>(INT64_MAX)
                                                  : number(one.substr(dash + 1));
      if (!low || !high || *low > *high)
        refuse(name, text, "\"" + one + "\" names no backward passes; write 10,200 or 1-5 or 100-, counted from 1");
      ranges_.emplace_back(*low, *high);
      at = comma + 1;
    }
  }
  bool contains(std::int64_t n) const {
    return std::any_of(ranges_.begin(), ranges_.end(), [n](const auto& r) { return r.first <= n && n <= r.second; });
  }

 private:
  static std::optional<std::int64_t> number(const std::string& digits) {
    if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos)
      return std::nullopt;
    const std::int64_t n = std::stoll(digits);
    return n > 0 ? std::optional(n) : std::nullopt;
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges_;
};

bool ends_with(const std::string& path, const char* ending) { return path.ends_with(ending); }

void write(const std::string& path, const Recording& recording) {
  if (ends_with(path, ".html"))
    write_page(path, recording, {}, Here{});
  else
    save_trace(path, recording, Here{});
}

/// "attune.html", or, where that is, attune-2.html, attune-3.html, ...
std::string unused(const std::string& name, const std::string& ending) {
  std::string path = name + ending;
  for (int n = 2; std::filesystem::symlink_status(path).type() != std::filesystem::file_type::not_found; ++n)
    path = fmt::format("{}-{}{}", name, n, ending);
  return path;
}

/// What the recorder is to keep, by ATTUNE_TRACE_BYTES and ATTUNE_TRACE_SLICES.
RecorderOptions recorder_options() {
  RecorderOptions o;
  if (const std::string text = variable("ATTUNE_TRACE_BYTES"); !text.empty()) {
    if (text.size() > 15 || text.find_first_not_of("0123456789") != std::string::npos)
      refuse("ATTUNE_TRACE_BYTES", text, "is no number of bytes");
    o.bytes = std::stoll(text);
  }
  const std::string slices = variable("ATTUNE_TRACE_SLICES");
  for (std::size_t at = 0; at < slices.size();) {
    const std::size_t end = std::min(slices.find(';', at), slices.size());
    o.slices.push_back(slices.substr(at, end - at));
    const std::string& slice = o.slices.back();
    const std::size_t bracket = slice.find('[');
    if (bracket == 0 || bracket == std::string::npos || slice.back() != ']')
      refuse("ATTUNE_TRACE_SLICES", slices, "\"" + slice + "\" has not the form NAME[0, :4]");
    try {
      indices_of(slice.substr(bracket));
    } catch (const Error& e) {
      refuse("ATTUNE_TRACE_SLICES", slices, e.what());
    }
    at = end + 1;
  }
  return o;
}

/// Watches every backward pass of the program. Never destroyed: passes may run while the program ends.
class WholeProgram final : public BackwardWatcher {
 public:
  WholeProgram(bool step, std::string trace)
      : trace_path_(std::move(trace)), recorded_("ATTUNE_TRACE_STEPS", "1"), stepped_("ATTUNE_TRACE_STEPS", "1-") {
    if (!trace_path_.empty()) {
      if (!ends_with(trace_path_, ".html") && !ends_with(trace_path_, ".safetensors"))
        refuse("ATTUNE_TRACE", trace_path_, "a page's name ends in .html, a trace file's in .safetensors");
      const std::size_t slash = trace_path_.rfind('/');
      try {
        io::check_writable(slash == std::string::npos ? "." : trace_path_.substr(0, slash + 1), {});
      } catch (const Error& e) {
        refuse("ATTUNE_TRACE", trace_path_, e.what());
      }
      RecorderOptions o = recorder_options();
      if (ends_with(trace_path_, ".html")) o.check_seconds = 2;
      recorder_.emplace(std::move(o));
    }
    if (step) start_terminal();
    backward_watcher.store(this);
    trace_everywhere(watches(1));
  }

  void backward(const Tensor& root, const BackwardOptions& options, Here here) override {
    const std::lock_guard lock(mutex_);
    ++passes_;
    const std::uint64_t before = last_pass(root);
    try {
      if (stops(passes_))
        terminal_->backward(root, options, here);
      else
        run_backward(root, options, here);
    } catch (const std::exception& e) {
      after(root, before, e.what(), here);
      throw;
    } catch (...) {
      after(root, before, "an exception that is no std::exception", here);
      throw;
    }
    after(root, before, "", here);
  }

  void end() {
    const std::lock_guard lock(mutex_);
    backward_watcher.store(nullptr);
    trace_everywhere(false);
    if (!recorder_) return;
    if (passes_ == 0) {
      std::fprintf(stderr, "ATTUNE_TRACE=%s: no backward pass has run, so there is nothing to write\n",
                   trace_path_.c_str());
      return;
    }
    write_now();
  }

 private:
  bool records(std::int64_t pass) const { return recorder_ && recorded_.contains(pass); }
  bool stops(std::int64_t pass) const { return terminal_ && !terminal_->done() && stepped_.contains(pass); }
  bool watches(std::int64_t pass) const { return records(pass) || stops(pass); }

  static std::uint64_t last_pass(const Tensor& root) {
    const Trace* t = root.defined() && root.node() ? root.node()->trace() : nullptr;
    return t ? t->step.pass : 0;
  }

  /// A pass is over, or was refused. What goes wrong with the recording is none of the program's business.
  void after(const Tensor& root, std::uint64_t before, const std::string& error, Here here) {
    try {
      if (recorder_ && !error.empty() && last_pass(root) == before) {
        recorder_->skip();
      } else if (records(passes_)) {
        recorder_->record(root, error, here);
        error.empty() ? write_soon() : write_now();
      } else if (recorder_) {
        recorder_->note(root);
      }
    } catch (const std::exception& e) {
      complain(e.what());
    }
    trace_everywhere(watches(passes_ + 1));
  }
  void complain(const std::string& what) {
    if (!said_) std::fprintf(stderr, "ATTUNE_TRACE=%s: %s\n", trace_path_.c_str(), what.c_str());
    said_ = true;
  }

  void start_terminal() {
    StepOptions o;
    o.commands = variable("ATTUNE_STEP_COMMANDS");
    // Errors speak to who sits at the prompt: no line of the program is to blame.
    const auto writes = [](const char* name, const char* ending, const char* rule) {
      return [=](const Tensor& root, const Stepper&, const std::string& path) {
        if (!path.empty() && !ends_with(path, ending)) throw FileError(path + ": " + rule, Here{});
        Recorder recorder(recorder_options());
        recorder.record(root, "", Here{});
        const std::string to = path.empty() ? unused(name, ending) : path;
        write(to, recorder.recording());
        return "written to " + to;
      };
    };
    o.page = writes("attune", ".html", "a page's name ends in .html");
    o.save = writes("attune", ".safetensors", "a trace file's name ends in .safetensors");
    try {
      terminal_.emplace(std::move(o), Here{});
    } catch (const Error& e) {
      refuse("ATTUNE_STEP_COMMANDS", variable("ATTUNE_STEP_COMMANDS"), e.what());
    }
  }

  /// A program may die between two passes: what was recorded is there. Writing takes a tenth of the time at most.
  void write_soon() {
    const auto now = std::chrono::steady_clock::now();
    if (now < not_before_) return;
    write_now();
    const auto end = std::chrono::steady_clock::now();
    not_before_ = end + 10 * (end - now);
  }
  void write_now() {
    try {
      write(trace_path_, recorder_->recording());
    } catch (const std::exception& e) {
      complain(e.what());
    }
  }

  std::recursive_mutex mutex_;
  std::string trace_path_;
  PassNumbers recorded_, stepped_;
  std::int64_t passes_ = 0;
  std::optional<Recorder> recorder_;
  std::optional<StepTerminal> terminal_;
  std::chrono::steady_clock::time_point not_before_{};
  bool said_ = false;
};

struct Environment {
  Environment() {
    const std::string step = variable("ATTUNE_STEP"), trace = variable("ATTUNE_TRACE");
    if (!step.empty() && step != "0" && step != "1") refuse("ATTUNE_STEP", step, "is 1, to step, or 0");
    const bool steps = step == "1" || (step.empty() && !variable("ATTUNE_STEP_COMMANDS").empty());
    if (!steps && trace.empty()) return;
    static auto* const whole = new WholeProgram(steps, trace);
    std::atexit([] { whole->end(); });
  }
};
const Environment environment;

}  // namespace

}  // namespace attune
