#include <fmt/format.h>

#include <algorithm>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/terminal_session.h"

namespace attune::stepping {

std::string one_line(const std::string& text) {
  std::string line;
  for (char c : text) {
    if (c == '\n') c = ' ';
    if (c != ' ' || (!line.empty() && line.back() != ' ')) line += c;
  }
  return line;
}

// ---- a pass

Pass::Pass(const Tensor& root_, const BackwardOptions& options_, Here here_)
    : root(root_), options(options_), here(here_), stepper(root_, options_, here_), labels(stepper.tape()) {}

const Graph& Pass::graph() {
  if (!graph_) graph_.emplace(tape());
  return *graph_;
}

bool Pass::forward() {
  if (undone > 0) {
    --undone;
    return true;
  }
  if (failure && stepper.taken() == stepper.known())
    throw Refusal("the pass cannot go on: " + failure_text + ". `quit` hands this error to the program.");
  try {
    return stepper.forward();
  } catch (const std::exception& e) {
    failure = std::current_exception();
    failure_text = e.what();
    failure_text = one_line(failure_text);
    throw Refusal("the step failed: " + failure_text +
                  ". Everything is as before it; `back` goes back, `quit` hands this error to the program.");
  }
}

bool Pass::back() {
  if (stepper.back()) return true;
  if (undone + 1 >= tape().size()) return false;
  ++undone;
  return true;
}

std::optional<std::size_t> Pass::current() const {
  if (undone > 0) return tape().size() - undone - 1;
  if (const Node* last = stepper.last()) return tape().index_of(last);
  return std::nullopt;
}

std::optional<std::size_t> Pass::next() const {
  if (failure && stepper.taken() == stepper.known()) return std::nullopt;
  const Node* node = stepper.next();
  return node ? std::optional(tape().index_of(node)) : std::nullopt;
}

bool Pass::taken(std::size_t position) const {
  const std::int64_t step = stepper.step_of(&tape()[position]);
  return step >= 0 && step < static_cast<std::int64_t>(stepper.taken());
}

// ---- a session

void Session::say(const std::string& text, int indent) { out << wrapped(text, style.width, indent) << "\n"; }

std::string Session::prompt() {
  Pass& p = pass();
  const std::size_t n = p.tape().size();
  std::string title = p.kind == Pass::Kind::program ? "" : p.title + " ";
  if (p.undone > 0) return fmt::format("{}forward {}/{}> ", title, n - p.undone, n);
  return fmt::format("{}{}/{}> ", title, p.stepper.taken(), n);
}

void Session::run(const std::string& line) {
  try {
    Words words = words_of(line);
    if (words.empty()) return;
    // "x[0]" behind a command stays one word; commands themselves may be glued to a number: "n3".
    const Command& c = find_command(words[0]);
    words.erase(words.begin());
    command = c.name;
    c.run(*this, words);
  } catch (const Refusal& e) {
    say(e.what());
  } catch (const MemoryError&) {
    say("there is not enough memory for that");
  } catch (const std::exception& e) {
    say(one_line(e.what()));
  }
}

}  // namespace attune::stepping
