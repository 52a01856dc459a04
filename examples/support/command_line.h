// The examples' command lines: one form of options, and of refusing bad ones.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "autograd/runtime/error.h"
#include "nn/training/run.h"

namespace CLI {
class App;
}

namespace examples {

/// Options of every program that trains.
struct RunFlags {
  std::string out;
  std::int64_t steps = 1000, save_every = 200, seed = 0, threads = 0;
  bool resume = false;
};

/// What main() is made of:
///
///     int main(int argc, char** argv) {
///       examples::CommandLine line("gpt", "Trains a GPT on text.");
///       examples::RunFlags flags{.out = "gpt", .steps = 2000};
///       double lr = 1e-3;
///       line.add_run(flags);
///       line.add("--lr", lr, 1e-12, 1e3, "learning rate");
///       return line.run(argc, argv, [&] { ...; return 0; });
///     }
class CommandLine {
 public:
  CommandLine(const char* program, const std::string& description);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// A number in a range. Options decide the course of training, and are among settings(), unless `of_course` is false.
  void add(const std::string& name, std::int64_t& value, std::int64_t least, std::int64_t most, const std::string& help,
           bool of_course = true);
  void add(const std::string& name, double& value, double least, double most, const std::string& help,
           bool of_course = true);
  /// A text; one of `words`, if there are any.
  void add(const std::string& name, std::string& value, const std::string& help,
           const std::vector<std::string>& words = {}, bool of_course = true);
  void flag(const std::string& name, bool& value, const std::string& help, bool of_course = true);
  /// --out, --steps, --save-every, --seed, --threads and --resume.
  void add_run(RunFlags& flags);
  bool given(const std::string& name) const;

  /// Parses, then calls `body` and returns what it returns; an exception is a line on stderr and exit code 1, and so is
  /// output that was lost. --help and bad options end the program, these with a line on stderr and exit code 2.
  int run(int argc, char** argv, const std::function<int()>& body);
  /// The same line and exit code, for options that parsing cannot judge.
  [[noreturn]] void refuse(const std::string& what) const;
  /// Refuses sizes that need more bytes than the machine has.
  void require_memory(double bytes) const;
  /// What `f` returns; one of the library's errors is refused as a bad option is, with the options that help.
  template <class F>
  auto or_refuse(F&& f) const {
    try {
      return f();
    } catch (const attune::nn::RunError& e) {
      refuse(explained(e));
    } catch (const attune::Error& e) {
      refuse(e.what());
    }
  }

  /// The options that decide the course of training, with their values, for RunOptions::settings.
  attune::nn::Settings settings() const;
  /// Gives these options the values that a checkpoint has of its run, except those that are on this command line.
  void take(const attune::nn::Settings& settings);

 private:
  static std::string explained(const attune::nn::RunError& e);
  void parse(int argc, char** argv);

  const char* program_;
  std::unique_ptr<CLI::App> app_;
  std::vector<std::function<void()>> checks_;
  std::vector<std::pair<std::string, std::function<std::string()>>> course_;
  RunFlags* flags_ = nullptr;
};

/// RunOptions of these flags and options.
attune::nn::RunOptions run_options(const CommandLine& line, const RunFlags& flags);

/// For runs that make up the rows of a table, by their names and settings, and are not to be resumed. Throws ValueError
/// if some of them are in the directory, but not all: the table is unfinished.
void require_all_or_none(const std::string& directory,
                         const std::vector<std::pair<std::string, attune::nn::Settings>>& rows);

/// Throws std::runtime_error, which names --lr, for the first of a step's values (as {"the loss", loss}) that is not
/// finite.
void require_finite(const attune::nn::Run& run, const attune::nn::Metrics& values);

}  // namespace examples
