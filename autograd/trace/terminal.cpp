#include "autograd/trace/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <mutex>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/terminal_input.h"
#include "autograd/trace/internal/terminal_session.h"

namespace attune {

using namespace stepping;

namespace {

int width_of_terminal(int asked) {
  if (asked > 0) return asked;
  if (const char* columns = std::getenv("COLUMNS"))
    if (const int n = std::atoi(columns); n > 0) return n;
  winsize size{};
  if (::isatty(STDOUT_FILENO) && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool colours_wanted(bool standard_output) {
  const char* no = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return standard_output && ::isatty(STDOUT_FILENO) && !(no && *no) && term && std::strcmp(term, "dumb") != 0;
}

/// The rest of a pass, for the program; if it fails, or has failed, nothing has happened.
void finish_pass(Stepper& stepper, const std::exception_ptr& failure) {
  try {
    if (failure) std::rethrow_exception(failure);
    stepper.finish();
  } catch (...) {
    while (stepper.back()) {
    }
    throw;
  }
}

}  // namespace

struct StepTerminal::State {
  StepOptions options;
  std::ifstream file;
  std::unique_ptr<Input> input;
  Memory memory;
  std::string last_line;
  bool ended = false;                  // no commands will come
  bool asked = false;                  // a command has come
  std::recursive_mutex one_at_a_time;  // a hook may begin a pass of its own

  std::ostream& out() { return options.out ? *options.out : std::cout; }
  Style style() { return {std::max(width_of_terminal(options.width), 20), colours_wanted(!options.out)}; }

  /// Prompts until a command lets the program go on.
  void converse(Session& s) {
    while (!s.leave) {
      s.style = style();  // a window may have changed
      out().flush();
      const auto line = input->line(
          s.prompt(), [&](const std::string& text, const std::string& word) { return s.completions(text, word); });
      if (!line) {
        end(s);
        return;
      }
      asked = true;
      if (words_of(*line).empty()) {
        s.run(last_line);
        continue;
      }
      s.run(*line);
      // What moves is repeated by an empty line.
      last_line = s.command == "next" || s.command == "back" || s.command == "step" ? *line : "";
    }
  }

  void end(Session& s) {
    ended = true;
    if (asked)
      s.say("The commands have ended; the program goes on.");
    else
      std::cerr << "attune: stepping needs a terminal, or commands by a pipe or a file; the backward pass runs on "
                   "without\n";
  }

  void run(Session& s) {
    Pass& p = s.own_pass();
    const std::size_t n = p.tape().size();
    if (memory.pass_over > 0) {
      --memory.pass_over;
      try {
        if (runs_through(s)) return;
      } catch (const Refusal&) {
        return;  // the pass failed; its error is the program's
      }
    } else {
      s.say(s.style.bold("Backward pass " + std::to_string(memory.passes)) +
            (p.here.line ? " at " + p.here.str() : std::string()) + ", of " + s.style.bold(p.labels.of(n - 1)) +
            value_text(p, n - 1, s.style.width / 2) + ": " + std::to_string(n) + (n == 1 ? " node." : " nodes."));
      if (!asked) s.say(s.style.dim("`next` takes a step, `back` takes it back, `help` lists the commands."));
      if (const auto next = p.next())
        s.out << s.style.dim(cut("  next  " + node_text(p, *next), s.style.width)) << "\n";
    }
    converse(s);
  }
};

StepTerminal::StepTerminal(StepOptions options, Here here) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.options = std::move(options);
  if (!s.options.commands.empty()) {
    s.file.open(s.options.commands);
    // A folder opens, too, but nothing can be read from it.
    if (!s.file || (s.file.peek() == std::ifstream::traits_type::eof() && s.file.bad()))
      throw FileError("step: " + s.options.commands + ": cannot read the commands", here);
    s.input = stream_input(s.file, s.out());
  } else if (s.options.in) {
    s.input = stream_input(*s.options.in, s.out());
  } else if (::isatty(STDIN_FILENO)) {
    s.input = terminal_input();
  } else {
    s.input = stream_input(std::cin, s.out());
  }
}

StepTerminal::~StepTerminal() = default;

bool StepTerminal::done() const { return state_->ended || state_->memory.quit; }

void StepTerminal::backward(const Tensor& root, const BackwardOptions& options, Here here) {
  State& state = *state_;
  const std::lock_guard<std::recursive_mutex> lock(state.one_at_a_time);
  if (done()) {
    Stepper stepper(root, options, here);
    return finish_pass(stepper, nullptr);
  }
  auto pass = std::make_unique<Pass>(root, options, here);
  ++state.memory.passes;
  Session session(state.memory, state.options, state.out(), state.style());
  session.passes.push_back(std::move(pass));
  state.run(session);
  state.out().flush();
  finish_pass(session.own_pass().stepper, session.own_pass().failure);
}

void step_through(const Tensor& root, const StepOptions& options, Here here) {
  if (options.in || options.out || !options.commands.empty()) {
    StepTerminal(options, here).backward(root, options.backward, here);
    return;
  }
  static StepTerminal shared(options, here);
  if (shared.done())
    root.backward(options.backward, here);
  else
    shared.backward(root, options.backward, here);
}

}  // namespace attune
