#include "examples/support/command_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "autograd/runtime/error.h"
#include "autograd/runtime/parallel.h"
#include "examples/support/print.h"

namespace examples {

namespace {
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// The end of what is said of an unfinished run or table: how its settings differ from those here, what can be done.
std::string way_out(const std::string& difference) {
  return difference.empty() ? "; --resume continues it, another --out leaves it alone"
                            : " under other options (" + difference + "); another --out leaves it alone";
}
}  // namespace

CommandLine::CommandLine(const char* program, const std::string& description)
    : program_(program), app_(std::make_unique<CLI::App>(description)) {
  app_->option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app_->allow_extras();  // what CLI11 says of them itself is in reversed order
}

CommandLine::~CommandLine() = default;

void CommandLine::add(const std::string& name, std::int64_t& value, std::int64_t least, std::int64_t most,
                      const std::string& help, bool of_course) {
  app_->add_option(name, value, help);
  checks_.emplace_back([this, name, &value, least, most] {
    if (value < least || value > most) refuse(fmt::format("{} {} is not in {}..{}", name, value, least, most));
  });
  if (of_course) course_.emplace_back(name, [&value] { return std::to_string(value); });
}

void CommandLine::add(const std::string& name, double& value, double least, double most, const std::string& help,
                      bool of_course) {
  app_->add_option(name, value, help);
  checks_.emplace_back([this, name, &value, least, most] {
    if (!(value >= least && value <= most)) refuse(fmt::format("{} {} is not in {}..{}", name, value, least, most));
  });
  if (of_course) course_.emplace_back(name, [&value] { return fmt::format("{}", value); });
}

void CommandLine::add(const std::string& name, std::string& value, const std::string& help,
                      const std::vector<std::string>& words, bool of_course) {
  CLI::Option* option = app_->add_option(name, value, help);
  if (!words.empty()) option->check(CLI::IsMember(words).description(""));
  checks_.emplace_back([this, name, &value] {
    const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (std::any_of(value.begin(), value.end(), control)) refuse(name + " has a control character in it");
  });
  if (of_course) course_.emplace_back(name, [&value] { return value; });
}

void CommandLine::flag(const std::string& name, bool& value, const std::string& help, bool of_course) {
  app_->add_flag(name, value, help);
  if (of_course) course_.emplace_back(name, [&value] { return std::string(value ? "true" : "false"); });
}

void CommandLine::add_run(RunFlags& flags) {
  constexpr std::int64_t most = std::int64_t{1} << 31;
  flags_ = &flags;
  add("--steps", flags.steps, 1, most, "training steps");
  add("--seed", flags.seed, 0, std::numeric_limits<std::int64_t>::max() - 1, "of weights and data");
  add("--save-every", flags.save_every, 1, most, "steps between checkpoints", false);
  add("--threads", flags.threads, 0, 1024, "threads; 0: all cores", false);
  add("--out", flags.out, "directory for checkpoints and pictures; an unfinished run in it is not written over", {},
      false);
  flag("--resume", flags.resume, "continue from the checkpoint in --out, with the same bits as if never interrupted",
       false);
}

bool CommandLine::given(const std::string& name) const { return app_->get_option(name)->count() > 0; }

void CommandLine::refuse(const std::string& what) const {
  const std::string line = first_line(what);
  fmt::print(stderr, "{}: {}{}\n", program_, line, line.starts_with("--") ? " (--help lists the options)" : "");
  std::exit(2);
}

std::string CommandLine::explained(const attune::nn::RunError& e) {
  using Reason = attune::nn::RunError::Reason;
  if (e.reason == Reason::other_settings) return e.file + ": was written under other options: " + e.difference;
  if (e.reason == Reason::nothing_to_resume) return first_line(e.what()) + "; without --resume a run begins";
  if (e.reason != Reason::unfinished) return e.what();
  return fmt::format("{}: is of an unfinished run (step {} of {}){}", e.file, e.info.step, e.info.steps,
                     way_out(e.difference));
}

void CommandLine::require_memory(double bytes) const {
  const double there = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  constexpr double gib = 1 << 30;
  if (bytes > there)
    refuse(fmt::format("these sizes need {:.3g} GiB of memory or more; this machine has {:.3g}", bytes / gib,
                       there / gib));
}

void CommandLine::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    std::exit(app_->exit(e));
  } catch (const CLI::ParseError& e) {
    refuse(e.what());
  }
  if (const auto unknown = app_->remaining(); !unknown.empty())
    refuse(fmt::format("{} is no option{}", unknown[0], unknown[0][0] == '-' ? "" : "; options begin with --"));
  for (const auto& check : checks_) check();
  if (!flags_) return;
  if (flags_->out.empty()) refuse("--out is empty; it names a directory");
  if (flags_->threads > 0) attune::set_num_threads(static_cast<int>(flags_->threads));
}

int CommandLine::run(int argc, char** argv, const std::function<int()>& body) {
  attune::nn::prepare_output();
  parse(argc, argv);
  int code = 1;
  try {
    code = body();
  } catch (const std::exception& e) {
    attune::nn::flush_output();
    fmt::print(stderr, "{}: {}\n", program_, e.what());
  }
  return attune::nn::finish_output(program_, code);
}

attune::nn::Settings CommandLine::settings() const {
  attune::nn::Settings settings;
  for (const auto& [name, value] : course_) settings.emplace_back(name, value());
  return settings;
}

void CommandLine::take(const attune::nn::Settings& settings) {
  for (const auto& [name, value] : settings)
    if (CLI::Option* option = app_->get_option_no_throw(name); option && option->count() == 0) {
      option->add_result(value);
      option->run_callback();
    }
}

attune::nn::RunOptions run_options(const CommandLine& line, const RunFlags& flags) {
  attune::nn::RunOptions o;
  o.steps = flags.steps;
  o.save_every = flags.save_every;
  o.resume = flags.resume;
  o.settings = line.settings();
  o.hint = "The same command with --resume continues.";
  return o;
}

void require_all_or_none(const std::string& directory,
                         const std::vector<std::pair<std::string, attune::nn::Settings>>& rows) {
  std::size_t there = 0;
  std::string others;
  for (const auto& [name, settings] : rows)
    if (attune::nn::Run::exists(directory, name)) {
      ++there;
      const std::string checkpoint = directory + "/" + name + ".safetensors";
      others = attune::nn::difference(attune::nn::checkpoint_info(checkpoint).settings, settings);
    }
  if (there > 0 && there < rows.size())
    throw attune::ValueError(
        fmt::format("{}: has an unfinished table ({} of {} rows){}", directory, there, rows.size(), way_out(others)));
}

void require_finite(const attune::nn::Run& run, const attune::nn::Metrics& values) {
  for (const auto& [what, value] : values)
    if (!std::isfinite(value))
      throw std::runtime_error(fmt::format("{} is {} in step {}; a smaller --lr may help", what,
                                           std::isnan(value) ? "not a number" : "infinite", run.step()));
}

}  // namespace examples
