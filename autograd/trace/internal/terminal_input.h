// Where the terminal stepper's commands come from.
#pragma once

#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace attune::stepping {

/// Lines of commands: from a terminal with editing, history and completion, or from a stream, in which case prompt and
/// command are written to the transcript.
class Input {
 public:
  /// What may stand in the place of `word`, the last one of `line`.
  using Complete = std::function<std::vector<std::string>(const std::string& line, const std::string& word)>;

  virtual ~Input() = default;
  /// Nothing at the end.
  virtual std::optional<std::string> line(const std::string& prompt, const Complete& complete) = 0;
  /// Whether somebody sits there: an empty line repeats the last command.
  virtual bool interactive() const { return false; }
};

/// Blank lines and those that begin with # are no commands.
std::unique_ptr<Input> stream_input(std::istream& in, std::ostream& transcript);
/// Standard input by libedit, with the history in ~/.attune_history, if that can be written.
std::unique_ptr<Input> terminal_input();

}  // namespace attune::stepping
