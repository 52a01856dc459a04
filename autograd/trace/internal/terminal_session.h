// What the commands of the terminal stepper work on.
#pragma once

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "autograd/trace/graph_walk.h"
#include "autograd/trace/internal/slice_text.h"
#include "autograd/trace/internal/terminal_text.h"
#include "autograd/trace/labels.h"
#include "autograd/trace/terminal.h"

namespace attune::stepping {

/// What a command answers instead of doing something.
class Refusal : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The words of a command line; what stands in brackets is one word: "[0, 1:3]".
using Words = std::vector<std::string>;

/// An output of a node.
struct Place {
  std::size_t position = 0;
  std::uint32_t slot = 0;
};

/// A backward pass that is stepped through.
class Pass {
 public:
  Pass(const Tensor& root_, const BackwardOptions& options_, Here here_);

  enum class Kind : std::uint8_t { program, parts, what_if };
  Kind kind = Kind::program;
  std::string title;  // of parts: the operation's name
  Tensor root;
  BackwardOptions options;
  Here here;
  Stepper stepper;
  Labels labels;
  std::size_t undone = 0;    // nodes at the tape's end that are not computed, having gone back into the forward pass
  std::size_t parts_of = 0;  // of parts: the position in the pass around it
  std::vector<std::size_t> inputs;  // of parts: their leaves' positions, an input each; size() if it is none
  Tensors leaves;                   // of parts and what-ifs: handles that keep gradients
  std::vector<std::size_t> origin;  // of a what-if: its nodes' positions in the program's pass, or its size()
  std::exception_ptr failure;       // of the next step; the pass cannot go on
  std::string failure_text;

  const Tape& tape() const { return labels.tape(); }
  const Graph& graph();
  /// One step forward, of the forward or of the backward pass; false at the end. Throws Refusal if the step fails.
  bool forward();
  /// One step back; false at the beginning of the forward pass.
  bool back();
  bool at_end() const { return undone == 0 && !stepper.next(); }
  /// The node that was just computed, going forward, or whose step was just taken; none at the turning point.
  std::optional<std::size_t> current() const;
  /// The position of the node whose step comes next.
  std::optional<std::size_t> next() const;
  /// Whether the node's step has been taken, at this point of the pass.
  bool taken(std::size_t position) const;

 private:
  std::optional<Graph> graph_;
};

struct Breakpoint {
  enum class Kind : std::uint8_t { operation, module, line, nan, infinity, above, below, fan_out, watch };
  int number = 0;
  Kind kind = Kind::operation;
  std::string text;  // as it was given
  std::string name;  // of an operation, module, file or watched tensor
  int line = 0;
  double bound = 0;
};

/// A change of a value, for a what-if.
struct Setting {
  std::size_t position = 0;  // in the program's pass
  std::string slice;         // "[0, 1]" or ""
  std::vector<double> values;
};

/// What stays from pass to pass.
struct Memory {
  std::vector<Breakpoint> breakpoints;
  int next_number = 1;
  std::int64_t passes = 0;     // that have come by
  std::int64_t pass_over = 0;  // how many of the next run through to their end, but for breakpoints
  bool quit = false;
};

class Session {
 public:
  Session(Memory& memory_, const StepOptions& options_, std::ostream& out_, Style style_)
      : memory(memory_), options(options_), out(out_), style(style_) {}

  Memory& memory;
  const StepOptions& options;
  std::ostream& out;
  Style style;
  std::vector<std::unique_ptr<Pass>> passes;  // the program's own, and what was gone into from there
  std::vector<Setting> settings;
  std::string command;  // the one that is carried out, by its full name
  bool leave = false;   // the program goes on

  Pass& pass() { return *passes.back(); }
  Pass& own_pass() { return *passes.front(); }
  std::string prompt();
  /// One command. Never throws but for memory: wrong ones are answered.
  void run(const std::string& line);
  /// Text that is broken to the width, as a paragraph.
  void say(const std::string& text, int indent = 2);

  /// What a word names: "w", "%3", "%7.1", "3". Throws Refusal with the nearest name.
  Place place(const std::string& word);
  /// That of the first word, or else the node that was just shown.
  Place place_or_current(const Words& words, std::size_t at = 0);
  std::vector<std::string> completions(const std::string& line, const std::string& word);
};

struct Command {
  const char* name;
  std::vector<const char*> aliases;
  const char* arguments;
  const char* summary;
  const char* help;
  void (*run)(Session&, const Words&);
};
const std::vector<Command>& commands();

/// An exception's message without its line breaks.
std::string one_line(const std::string& text);

// ---- parsing (terminal_parse.cpp)

Words words_of(const std::string& line);
/// "x[0, 1]" as "x" and "[0, 1]"; the latter "" if there is none.
std::pair<std::string, std::string> split_slice(const std::string& word);
/// Of the words from `at` on, joined: "[0, 1]" or "0, 1" or "0 1".
Dims parse_element(const Words& words, std::size_t at);
double parse_number(const std::string& word);
/// A whole number >= least. `what` is for the answer.
std::int64_t parse_count(const std::string& word, const char* what, std::int64_t least);
/// The candidate that is nearest to a word by edit distance; "" if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);
/// The command that a word names by name, alias or unambiguous beginning. Throws Refusal with the nearest.
const Command& find_command(const std::string& word);

// ---- display (terminal_block.cpp)

/// The node that was just computed or stepped over.
void show_stop(Session& s);
/// "%3 mul(a = x, b = w)"; of a leaf its label.
std::string node_text(Pass& p, std::size_t position, bool values = false);
/// Its result in short, " = [1, 2]", if it is known.
std::string value_text(Pass& p, std::size_t position, int width);
std::string site_text(const Node& node);
/// formula(), without a number that would stand there twice.
std::string formula_text(const Labels& labels, std::size_t position, std::size_t input, const Dims& element);
/// The gradient of an output at this point of the pass, and how many contributions have come of how many.
struct GradientNow {
  Tensor value;
  std::size_t come = 0, all = 0;
};
GradientNow gradient_now(Pass& p, Place at);
/// "%3 mul"; "the beginning" for where a pass begins.
std::string sender_text(Pass& p, std::size_t from);

// ---- breakpoints (terminal_break.cpp)

/// Why to stop at what just happened: one text a breakpoint.
std::vector<std::string> reasons_to_stop(Session& s);

// ---- the commands, by file

// terminal_move.cpp
void next(Session& s, const Words& w);
void back(Session& s, const Words& w);
void continue_(Session& s, const Words& w);
void until(Session& s, const Words& w);
void go_to(Session& s, const Words& w);
void pass_on(Session& s, const Words& w);
void quit(Session& s, const Words& w);
/// Runs the pass to its end, or, if a breakpoint asks for it, to a stop.
bool runs_through(Session& s);
// terminal_parts.cpp
void step(Session& s, const Words& w);
void finish(Session& s, const Words& w);
/// Back to the pass around the parts, which is where it was.
void leave_parts(Session& s);
// terminal_break.cpp
void break_(Session& s, const Words& w);
void delete_(Session& s, const Words& w);
void watch(Session& s, const Words& w);
// terminal_print.cpp
void print(Session& s, const Words& w);
void heat(Session& s, const Words& w);
void formula_(Session& s, const Words& w);
void info(Session& s, const Words& w);
void where_(Session& s, const Words& w);
// terminal_why.cpp
void why(Session& s, const Words& w);
void check(Session& s, const Words& w);
// terminal_list.cpp
void list(Session& s, const Words& w);
void tree(Session& s, const Words& w);
void path(Session& s, const Words& w);
void page(Session& s, const Words& w);
void save(Session& s, const Words& w);
// terminal_set.cpp
void set(Session& s, const Words& w);
void replay(Session& s, const Words& w);
void undo(Session& s, const Words& w);
// terminal_help.cpp
void help(Session& s, const Words& w);

}  // namespace attune::stepping
