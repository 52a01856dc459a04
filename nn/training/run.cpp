#include "nn/training/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
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

}  // namespace

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
  check_directory(here);
  if (options.progress) prepare_output();
  parts_ = {checkpoint_part("random", default_generator()), checkpoint_part("metrics", metrics_)};
  light_ = {true, false};
  catch_interrupts();
}

Run::~Run() = default;

std::string Run::file(const std::string& what) const {
  const std::string& name = options_.name;
  if (what == "csv") return directory_ + "/" + (name.empty() ? "metrics" : name) + ".csv";
  if (what == "events") return directory_ + "/" + (name.empty() ? "" : name + "/") + "events.out.tfevents.attune";
  if (what == "best") return directory_ + "/" + (name.empty() ? "" : name + "-") + "best.safetensors";
  return directory_ + "/" + (name.empty() ? "checkpoint" : name) + what + ".safetensors";
}

std::string Run::path() const { return file(""); }
std::string Run::best_path() const { return file("best"); }

/// Checkpoints before the last one, by step.
std::vector<std::pair<std::int64_t, std::string>> Run::earlier() const {
  std::vector<std::pair<std::int64_t, std::string>> found;
  const std::string prefix = fs::path(file("-step")).stem().string();
  std::error_code none;
  for (const fs::directory_entry& each : fs::directory_iterator(directory_, none)) {
    const std::string stem = each.path().stem().string();
    if (!stem.starts_with(prefix) || each.path().extension() != ".safetensors") continue;
    const std::string digits = stem.substr(prefix.size());
    if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    found.emplace_back(std::stoll(digits), directory_ + "/" + each.path().filename().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

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
  if (fs::exists(directory_)) lock_ = shared_lock(directory_, here);
  const auto before = earlier();
  const std::string last = fs::exists(path()) || before.empty() ? path() : before.back().second;
  if (options_.resume) {
    resume_path_ = last;
    CheckpointInfo info;
    try {
      info = checkpoint_info(last, here);
    } catch (const FileError& e) {
      const std::string way_on = fs::exists(last) ? before_damaged(last) : "";
      if (way_on.empty()) throw;
      throw FileError(first_line(e.what()) + "; " + way_on, here);
    }
    if (const std::string others = difference(info.settings, options_.settings); !others.empty())
      throw FileError(last + ": was written under other options: " + others, here);
    step_ = info.step;
  } else if (fs::exists(last)) {
    const CheckpointInfo info = checkpoint_info(last, here);
    if (!info.finished()) {
      const std::string others = difference(info.settings, options_.settings);
      throw FileError(
          fmt::format("{}: is of an unfinished run (step {} of {}){}", last, info.step, info.steps,
                      others.empty() ? "; --resume continues it, another --out leaves it alone"
                                     : " under other options (" + others + "); another --out leaves it alone"),
          here);
    }
  }
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
    if (!clock_->ended) {
      clock_->progress.finish();
      clock_->ended = clock_->progress.seconds();
      clock_->peak_bytes = memory_stats().peak_bytes;
    }
    if (saved_ != step_) save(here);
    if (finished() && !options_.best.empty() && metrics_.series(options_.best).empty())
      std::fprintf(stderr, "%s: no \"%s\" was logged, so that no checkpoint is the best\n", directory_.c_str(),
                   options_.best.c_str());
    if (!finished() && !interrupted_) {
      interrupted_ = true;
      if (!options_.hint.empty())
        print_text(fmt::format("Interrupted{} after step {} of {}; saved to {}. {}\n", interruption(), step_,
                               options_.steps, path(), options_.hint));
    }
    return false;
  }
  given_up_ = false;
  undo_.clear();
  for (std::size_t i = 0; i < parts_.size(); ++i)
    if (light_[i]) undo_.emplace_back(i, parts_[i].state());
  ++step_;
  return open_ = true;
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
