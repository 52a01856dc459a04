#include "nn/training/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>

#include "autograd/io/directory.h"
#include "autograd/runtime/error.h"
#include "autograd/runtime/memory.h"
#include "nn/training/interrupts.h"
#include "nn/training/output.h"
#include "nn/training/progress.h"

namespace attune::nn {

namespace {

namespace fs = std::filesystem;

/// The lock of a directory, which the runs of this process that write into it share.
std::shared_ptr<void> shared_lock(const std::string& directory, Here here) {
  static std::map<fs::path, std::weak_ptr<io::DirectoryLock>> locks;
  std::weak_ptr<io::DirectoryLock>& known = locks[fs::canonical(directory)];
  std::shared_ptr<io::DirectoryLock> lock = known.lock();
  if (!lock) known = lock = std::make_shared<io::DirectoryLock>(directory, here);
  return lock;
}

void make_directory(const std::string& directory, Here here) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw FileError(directory + ": cannot be made: " + error.message(), here);
  io::check_writable(directory, here);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// Of the checkpoint's files: `what` is "csv", "events", "best", or what follows the checkpoint's name.
std::string file_of(const std::string& directory, const std::string& name, const std::string& what) {
  if (what == "csv") return directory + "/" + (name.empty() ? "metrics" : name) + ".csv";
  if (what == "events") return directory + "/" + (name.empty() ? "" : name + "/") + "events.out.tfevents.attune";
  if (what == "best") return directory + "/" + (name.empty() ? "" : name + "-") + "best.safetensors";
  return directory + "/" + (name.empty() ? "checkpoint" : name) + what + ".safetensors";
}

/// A run's checkpoints before the last one, by step.
std::vector<std::pair<std::int64_t, std::string>> earlier_in(const std::string& directory, const std::string& name) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  const std::string prefix = fs::path(file_of(directory, name, "-step")).stem().string();
  std::error_code none;
  for (const fs::directory_entry& each : fs::directory_iterator(directory, none)) {
    const std::string stem = each.path().stem().string();
    if (!stem.starts_with(prefix) || each.path().extension() != ".safetensors") continue;
    const std::string digits = stem.substr(prefix.size());
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    found.emplace_back(std::stoll(digits), directory + "/" + each.path().filename().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// The checkpoint that a run resumes from, if it is there.
std::string last_in(const std::string& directory, const std::string& name) {
  std::string path = file_of(directory, name, "");
  if (fs::exists(path)) return path;
  const auto before = earlier_in(directory, name);
  return before.empty() ? path : before.back().second;
}

std::string message_of(RunError::Reason reason, const std::string& file, const CheckpointInfo& info,
                       const std::string& difference, std::int64_t steps) {
  const bool same = difference.empty();
  switch (reason) {
    case RunError::Reason::nothing_to_resume:
      return fmt::format("{}: cannot be opened: there is no checkpoint in {} to resume from", file,
                         fs::path(file).parent_path().string());
    case RunError::Reason::unfinished:
      return fmt::format("{}: is of an unfinished run (step {} of {}){}; {}another directory leaves it alone", file,
                         info.step, info.steps, same ? "" : " under other settings (" + difference + ")",
                         same ? "RunOptions::resume continues it, " : "");
    case RunError::Reason::other_settings: return file + ": was written under other settings: " + difference;
    default:
      return fmt::format("{}: has {} steps behind it, more than the {} that the resumed run is to have", file,
                         info.step, steps);
  }
}

}  // namespace

RunError::RunError(Reason why, const std::string& path, const CheckpointInfo& found, const std::string& others,
                   std::int64_t steps, Here here)
    : FileError(message_of(why, path, found, others, steps), here),
      reason(why),
      file(path),
      info(found),
      difference(others) {}

struct Run::Clock {
  explicit Clock(std::int64_t total) : progress(total) {}
  Progress progress;
  std::optional<double> ended{};
  std::int64_t peak_bytes = 0;
};

Run::Run(const std::string& directory, const RunOptions& options, Here here)
    : directory_(directory), options_(options) {
  const auto require = [&](bool ok, const char* what, std::int64_t value, std::int64_t least) {
    if (!ok) throw ValueError(fmt::format("Run: {} = {} must be at least {}", what, value, least), here);
  };
  if (directory.empty()) throw ValueError("Run: the directory's name is empty", here);
  require(options.steps >= 1, "steps", options.steps, 1);
  require(options.save_every >= 0, "save_every", options.save_every, 0);
  require(options.keep >= 1, "keep", options.keep, 1);
  if (options.name.find('/') != std::string::npos)
    throw ValueError("Run: name \"" + options.name + "\" has a / in it", here);
  if (options.larger_is_better && options.best.empty())
    throw ValueError("Run: larger_is_better is of `best`, the metric that is to be given with it", here);
  check_directory(here);
  if (options.progress) prepare_output();
  parts_ = {checkpoint_part("random", default_generator()), checkpoint_part("metrics", metrics_)};
  light_ = {true, false};
  catch_interrupts();
}

Run::~Run() = default;

std::string Run::file(const std::string& what) const { return file_of(directory_, options_.name, what); }
std::string Run::path() const { return file(""); }
std::string Run::best_path() const { return file("best"); }
std::string Run::last() const { return last_in(directory_, options_.name); }
std::vector<std::pair<std::int64_t, std::string>> Run::earlier() const { return earlier_in(directory_, options_.name); }

bool Run::exists(const std::string& directory, const std::string& name) { return fs::exists(last_in(directory, name)); }

/// What can be done about it, if a checkpoint of before is sound.
std::string Run::before_damaged(const std::string& damaged) const {
  const auto step_of = [](const std::string& path) -> std::optional<std::int64_t> {
    try {
      return checkpoint_info(path).step;
    } catch (const FileError&) {
      return std::nullopt;
    }
  };
  const auto all = earlier();
  for (auto each = all.rbegin(); each != all.rend(); ++each)
    if (each->second != damaged && step_of(each->second))
      return fmt::format(
          "the one before, {}, is of step {}: with the damaged one moved away the run goes on from there", each->second,
          each->first);
  if (const std::optional<std::int64_t> step = step_of(best_path()))
    return fmt::format("the best one, {}, is of step {}: copied over the damaged one it lets the run go on from there",
                       best_path(), *step);
  return "";
}

void Run::check_directory(Here here) {
  using Reason = RunError::Reason;
  if (fs::exists(directory_)) lock_ = shared_lock(directory_, here);
  const std::string last = this->last();
  const bool there = fs::exists(last);
  if (options_.resume && !there) throw RunError(Reason::nothing_to_resume, last, {}, "", options_.steps, here);
  if (there) {
    CheckpointInfo info;
    try {
      info = checkpoint_info(last, here);
    } catch (const FileError& e) {
      const std::string way_on = options_.resume ? before_damaged(last) : "";
      if (way_on.empty()) throw;
      throw FileError(first_line(e.what()) + "; " + way_on, here);
    }
    const std::string others = nn::difference(info.settings, options_.settings);
    const auto refuse = [&](Reason why) { throw RunError(why, last, info, others, options_.steps, here); };
    if (!options_.resume && !info.finished()) refuse(Reason::unfinished);
    if (options_.resume && !others.empty()) refuse(Reason::other_settings);
    if (options_.resume && info.step > options_.steps) refuse(Reason::too_few_steps);
    if (options_.resume) step_ = info.step;
  }
  resume_path_ = last;
  make_directory(directory_, here);
  if (!lock_) lock_ = shared_lock(directory_, here);
}

/// What a finished run left gets a number; its events a folder, since TensorBoard draws a folder's files as one run.
/// Logs without a checkpoint, of a run that was killed before its first, are written over.
void Run::keep_aside(Here here) {
  std::vector<std::string> files{path(), file("best"), file("csv")};
  for (const auto& [step, name] : earlier()) files.push_back(name);
  std::erase_if(files, [](const std::string& name) { return !fs::exists(name); });
  if (files.empty() || (files.size() == 1 && files[0] == file("csv"))) return;
  if (fs::exists(file("events"))) files.push_back(file("events"));
  const auto renamed = [&](const fs::path& from, int i) {
    if (from == file("events"))
      return fs::path(directory_) / fmt::format("{}-{}", options_.name.empty() ? "events" : options_.name, i) /
             from.filename();
    return from.parent_path() / fmt::format("{}-{}{}", from.stem().string(), i, from.extension().string());
  };
  const auto taken = [&](int i) {
    return std::any_of(files.begin(), files.end(), [&](const std::string& f) { return fs::exists(renamed(f, i)); });
  };
  int i = 1;
  while (taken(i)) ++i;
  for (const std::string& name : files) {
    const fs::path to = renamed(name, i);
    std::error_code error;
    fs::create_directories(to.parent_path(), error);
    fs::rename(name, to, error);
    if (error) throw FileError(name + ": cannot be renamed: " + error.message(), here);
    if (options_.progress && name == path())
      print_text(fmt::format("{} is of a finished run; kept as {}\n", name, to.string()));
  }
}

void Run::track_part(CheckpointPart part, bool light, Here here) {
  if (part.name.empty() || part.name.find('.') != std::string::npos)
    throw ValueError("Run: \"" + part.name + "\" is no name of a part, which has no dots", here);
  if (started_) throw ValueError("Run: \"" + part.name + "\" is tracked after the run has started", here);
  for (const CheckpointPart& other : parts_)
    if (other.name == part.name) throw ValueError("Run: two parts are named \"" + part.name + "\"", here);
  parts_.push_back(std::move(part));
  light_.push_back(light);
}

void Run::load(Here here) {
  if (loaded_ || !options_.resume) return;
  step_ = load_checkpoint(resume_path_, parts_, here).step;
  saved_ = step_;
  loaded_ = true;
}

void Run::start(Here here) {
  load(here);
  if (!options_.resume)
    keep_aside(here);
  else if (options_.progress)
    print_text(fmt::format("Resuming after step {} from {}\n", step_, resume_path_));
  std::error_code error;  // which open() tells of
  fs::create_directories(fs::path(file("events")).parent_path(), error);
  metrics_.open(file("csv"), file("events"), options_.resume ? step_ : -1, here);
  started_ = true;
  flush_output();
}

bool Run::every(std::int64_t n, Here here) const {
  if (n < 1) throw ValueError("Run: every(" + std::to_string(n) + ") needs a number of steps", here);
  return step_ % n == 0 || step_ == options_.steps;
}

bool Run::give_up() {
  if (!nn::interrupted()) return false;
  for (const auto& [part, state] : undo_) parts_[part].restore(state);
  return given_up_ = true;
}

bool Run::next(Here here) {
  if (!started_) start(here);
  if (!clock_) {
    clock_ = std::make_unique<Clock>(options_.steps);
    reset_peak_memory();
  }
  if (open_) end_step(here);
  open_ = false;
  if (finished() || nn::interrupted()) {
    end(here);
    return false;
  }
  given_up_ = false;
  undo_.clear();
  for (std::size_t i = 0; i < parts_.size(); ++i)
    if (light_[i]) undo_.emplace_back(i, parts_[i].state());
  ++step_;
  return open_ = true;
}

/// What comes after the last step, or an interruption.
void Run::end(Here here) {
  if (!clock_->ended) {
    clock_->progress.finish();
    clock_->ended = clock_->progress.seconds();
    clock_->peak_bytes = memory_stats().peak_bytes;
    if (finished()) tell_of_best();
  }
  if (saved_ != step_) save(here);
  if (finished() || interrupted_) return;
  interrupted_ = true;
  if (!options_.hint.empty())
    print_text(fmt::format("Interrupted{} after step {} of {}; saved to {}. {}\n", interruption(), step_,
                           options_.steps, path(), options_.hint));
}

/// If there is none.
void Run::tell_of_best() const {
  if (options_.best.empty()) return;
  const Series& values = metrics_.series(options_.best);
  if (std::any_of(values.begin(), values.end(), [](const auto& each) { return !std::isnan(each.second); })) return;
  std::fprintf(stderr, "%s: no \"%s\" that is a number was logged, so that no checkpoint is the best%s\n",
               directory_.c_str(), options_.best.c_str(), values.empty() ? "" : " (all are NaN)");
}

void Run::log(const Metrics& metrics, Here here) {
  if (!open_)
    throw ValueError(started_ ? "Run: log() after the steps, whose logs are written; in the last step every(n) is true"
                              : "Run: log() before the first next(), which begins a step",
                     here);
  metrics_.add(metrics, here);
}

void Run::end_step(Here here) {
  if (given_up_) {
    --step_;
    metrics_.drop_step();
    return;
  }
  std::string status = status_;
  if (status.empty())
    for (const auto& [name, value] : metrics_.now())
      status += fmt::format("{}{} {:.4f}", status.empty() ? "" : "  ", name, value);
  status_.clear();
  bool is_best = false;
  for (const auto& [name, value] : metrics_.now()) {
    if (name != options_.best) continue;
    is_best = value == value;  // NaN is never the best
    for (const auto& [step, other] : metrics_.series(name))
      if (options_.larger_is_better ? other >= value : other <= value) is_best = false;
  }
  metrics_.end_step(step_, seconds());
  if (options_.progress) clock_->progress.show(step_, options_.units_per_step, options_.unit.c_str(), status);
  if (is_best) save_best(here);
  if (options_.save_every > 0 && step_ % options_.save_every == 0 && !finished()) save(here);
}

void Run::save(Here here) {
  if (options_.keep > 1 && saved_ >= 0 && fs::exists(path())) {
    const std::string kept = file("-step" + std::to_string(saved_));
    std::error_code error;
    fs::remove(kept, error);
    fs::create_hard_link(path(), kept, error);
    if (error) fs::copy_file(path(), kept, error);
  }
  save_checkpoint(path(), parts_, {step_, options_.steps, options_.settings, {}}, here);
  saved_ = step_;
  const auto before = earlier();
  const auto most = static_cast<std::size_t>(options_.keep - 1);
  std::error_code ignored;
  for (std::size_t i = 0; i + most < before.size(); ++i) fs::remove(before[i].second, ignored);
}

void Run::save_best(Here here) {
  save_checkpoint(best_path(), parts_, {step_, options_.steps, options_.settings, {}}, here);
}

int Run::exit_code() const { return interrupted_ ? interrupted_exit_code() : 0; }

double Run::seconds() const { return !clock_ ? 0 : clock_->ended ? *clock_->ended : clock_->progress.seconds(); }

std::int64_t Run::peak_bytes() const {
  return !clock_ ? 0 : clock_->ended ? clock_->peak_bytes : memory_stats().peak_bytes;
}

}  // namespace attune::nn
