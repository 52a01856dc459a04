#include "autograd/trace/profile.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "autograd/io/file.h"
#include "autograd/runtime/fork.h"
#include "autograd/runtime/frame.h"
#include "autograd/runtime/watch.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/timeline.h"

namespace attune {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Time and work: of a frame so far, or of the frames inside it.
struct Spent {
  double seconds = 0;
  std::int64_t flops = 0, bytes = 0;

  static Spent until_now() { return {now(), watch::flops.load(), watch::bytes.load()}; }
  Spent operator-(const Spent& o) const { return {seconds - o.seconds, flops - o.flops, bytes - o.bytes}; }
  void operator+=(const Spent& o) { seconds += o.seconds, flops += o.flops, bytes += o.bytes; }
};

/// A frame that has not ended.
struct Running {
  const Frame* frame;
  const char* name;  // the row that it counts for
  bool backward;
  Spent begin, inside;
};

/// Watches on behalf of all profiles. Never destroyed: frames may outlive every profile.
class Collector final : public Watcher {
 public:
  static Collector& get() {
    static auto* collector = new Collector;
    return *collector;
  }

  std::vector<ProfileRow> begin() {
    const ForkSafeLock lock(mutex_);
    if (profiles_++ == 0) {
      ++session_;
      watch::watcher.store(this);
    }
    return rows_locked();
  }
  void end() {
    const ForkSafeLock lock(mutex_);
    if (--profiles_ == 0) watch::watcher.store(nullptr);
  }
  std::vector<ProfileRow> rows() {
    const ForkSafeLock lock(mutex_);
    return rows_locked();
  }

  /// From now on; null ends it. `t` is used under the lock.
  void tell(detail::Timeline* t) {
    const ForkSafeLock lock(mutex_);
    timeline_.store(t);
  }

  void entered(const Frame& frame) noexcept override {
    std::vector<Running>& stack = stack_of_this_thread();
    if (frame.kind() == Frame::Kind::module) {
      note([&](detail::Timeline& t) { t.entered(frame, false); });
      return;
    }
    const bool step = frame.kind() == Frame::Kind::step;
    // A rule's own calls are part of its step; where gradients are on, it is running a block again.
    const bool part = !step && !stack.empty() && stack.back().backward && !grad_enabled();
    note([&](detail::Timeline& t) { t.entered(frame, step || part); });
    stack.push_back({&frame, part ? stack.back().name : frame.name(), step || part, Spent::until_now(), {}});
  }

  void left(const Frame& frame) noexcept override {
    note([&](detail::Timeline& t) { t.left(frame); });
    std::vector<Running>& stack = stack_of_this_thread();
    if (stack.empty() || stack.back().frame != &frame) return;  // it began before the profile did
    const Running r = stack.back();
    stack.pop_back();
    const Spent all = Spent::until_now() - r.begin, own = all - r.inside;
    if (!stack.empty()) stack.back().inside += all;
    const ForkSafeLock lock(mutex_);
    ProfileRow& row = rows_[r.name];
    (r.backward ? row.backward_seconds : row.forward_seconds) += own.seconds;
    row.flops += own.flops;
    row.bytes += own.bytes;
    if (!r.backward) ++row.calls;
    if (frame.kind() == Frame::Kind::step) ++row.steps;
  }

 private:
  template <class F>
  void note(F&& f) {
    if (!timeline_.load(std::memory_order_relaxed)) return;
    const ForkSafeLock lock(mutex_);
    if (detail::Timeline* t = timeline_.load()) f(*t);
  }

  std::vector<ProfileRow> rows_locked() const {
    std::vector<ProfileRow> all;
    for (const auto& [name, row] : rows_) {
      all.push_back(row);
      all.back().name = name;
    }
    return all;
  }

  /// Without what an earlier session left behind: frames that ended while nobody watched.
  std::vector<Running>& stack_of_this_thread() const {
    thread_local std::vector<Running> stack;
    thread_local std::int64_t session = 0;
    if (session != session_.load(std::memory_order_relaxed)) {
      stack.clear();
      session = session_.load(std::memory_order_relaxed);
    }
    return stack;
  }

  std::mutex mutex_;
  int profiles_ = 0;
  std::atomic<std::int64_t> session_{0};
  std::atomic<detail::Timeline*> timeline_{nullptr};
  std::map<std::string, ProfileRow> rows_;
};

/// What ATTUNE_PROFILE asks for: 1, a table at the end of the program; FILE.json, its timeline.
class WholeRun {
 public:
  WholeRun() {
    const char* const wanted = std::getenv("ATTUNE_PROFILE");
    const std::string value = wanted ? wanted : "";
    if (value.empty() || value == "0") return;
    if (value == "1") {
      profile_ = std::make_unique<Profile>();
    } else if (value.size() > 5 && value.ends_with(".json")) {
      begin(value);
    } else {
      refuse("ATTUNE_PROFILE=" + value + ": expected 1, for a table, or a file's name that ends in .json");
    }
  }
  ~WholeRun() {
    if (profile_) std::fputs(profile_->str().c_str(), stderr);
    write();
  }

 private:
  [[noreturn]] static void refuse(const std::string& why) {
    std::fputs((why + "\n").c_str(), stderr);
    std::_Exit(2);  // before main, with nothing to clean up
  }

  void begin(const std::string& file) {
    std::error_code unknown;
    path_ = std::filesystem::absolute(file, unknown).string();  // wherever the program goes
    struct Tried {};
    try {
      io::write_atomically(path_, [](const io::Sink&) { throw Tried(); }, {});
    } catch (const Tried&) {
    } catch (const std::exception& e) {
      refuse(std::string("ATTUNE_PROFILE: ") + e.what());
    }
    process_ = ::getpid();
    timeline_ = std::make_unique<detail::Timeline>();
    collecting_ = std::make_unique<Profile>();
    Collector::get().tell(timeline_.get());
    running_ = this;
    terminate_before_ = std::set_terminate([] {
      running_->write();
      running_->terminate_before_();
      std::abort();
    });
  }

  /// Once, by the process that began it.
  void write() noexcept {
    if (!timeline_ || written_.exchange(true) || ::getpid() != process_) return;
    Collector::get().tell(nullptr);
    try {
      io::write_text(path_, timeline_->json(), {});
      if (timeline_->left_out() > 0)
        std::fputs(fmt::format("ATTUNE_PROFILE: {}: the first {} of {} calls; the rest is left out\n", path_,
                               detail::Timeline::most_events, detail::Timeline::most_events + timeline_->left_out())
                       .c_str(),
                   stderr);
    } catch (const std::exception& e) {
      std::fputs(fmt::format("ATTUNE_PROFILE: {}\n", e.what()).c_str(), stderr);
    }
  }

  static WholeRun* running_;
  std::unique_ptr<Profile> profile_, collecting_;
  std::unique_ptr<detail::Timeline> timeline_;
  std::string path_;
  pid_t process_ = 0;
  std::atomic<bool> written_{false};
  std::terminate_handler terminate_before_ = nullptr;
};
WholeRun* WholeRun::running_ = nullptr;
WholeRun whole_run;

}  // namespace

Profile::Profile() : begin_(now()), before_(Collector::get().begin()) {}
Profile::~Profile() { Collector::get().end(); }

std::vector<ProfileRow> Profile::rows() const {
  std::vector<ProfileRow> all = Collector::get().rows();
  for (const ProfileRow& old : before_) {
    ProfileRow& row = *std::find_if(all.begin(), all.end(), [&](const ProfileRow& r) { return r.name == old.name; });
    row.calls -= old.calls;
    row.steps -= old.steps;
    row.forward_seconds -= old.forward_seconds;
    row.backward_seconds -= old.backward_seconds;
    row.flops -= old.flops;
    row.bytes -= old.bytes;
  }
  std::erase_if(all, [](const ProfileRow& r) { return r.calls == 0 && r.steps == 0; });
  std::stable_sort(all.begin(), all.end(), [](const ProfileRow& a, const ProfileRow& b) {
    return a.forward_seconds + a.backward_seconds > b.forward_seconds + b.backward_seconds;
  });
  return all;
}

double Profile::seconds() const { return now() - begin_; }

std::string Profile::str() const {
  const double whole = seconds();
  double outside = whole;
  std::string text = fmt::format("{:24} {:>8} {:>12} {:>12} {:>9} {:>11} {:>8}\n", "operation", "calls", "forward ms",
                                 "backward ms", "GFLOP/s", "MB", "share");
  for (const ProfileRow& r : rows()) {
    const double own = r.forward_seconds + r.backward_seconds;
    outside -= own;
    const std::string rate = r.flops == 0 ? "" : fmt::format("{:.1f}", 1e-9 * static_cast<double>(r.flops) / own);
    text += fmt::format("{:24} {:8} {:12.3f} {:12.3f} {:>9} {:11.2f} {:6.1f} %\n", r.name, std::max(r.calls, r.steps),
                        1e3 * r.forward_seconds, 1e3 * r.backward_seconds, rate, 1e-6 * static_cast<double>(r.bytes),
                        100 * own / whole);
  }
  text += fmt::format("{:24} {:8} {:12.3f} {:>43.1f} %\n", "outside of operations", "", 1e3 * outside,
                      100 * outside / whole);
  return text + fmt::format("{:24} {:8} {:12.3f}\n", "all", "", 1e3 * whole);
}

}  // namespace attune
