#include "autograd/trace/internal/timeline.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "autograd/runtime/memory.h"
#include "autograd/runtime/watch.h"

namespace attune::detail {

namespace {

double microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// As JSON; what is no UTF-8 is replaced.
std::string quoted(const std::string& s) {
  return nlohmann::json(s).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

bool is_optimiser(const std::string& name) {
  constexpr const char* names[] = {"SGD", "Adam", "AdamW", "Adadelta", "Adafactor", "RMSprop", "Adagrad"};
  for (const char* each : names)
    if (name == each) return true;
  return false;
}

std::string name_of_this_thread() {
  std::array<char, 32> name{};
  if (::gettid() == ::getpid()) return "main";
  return ::pthread_getname_np(::pthread_self(), name.data(), name.size()) == 0 ? name.data() : "";
}

}  // namespace

Timeline::Timeline() : begin_(microseconds()) { text(""); }

std::uint32_t Timeline::text(std::string_view s) {
  if (const auto known = places_.find(s); known != places_.end()) return known->second;
  texts_.emplace_back(s);
  return places_.emplace(std::string(s), static_cast<std::uint32_t>(texts_.size() - 1)).first->second;
}

std::uint32_t Timeline::this_thread() {
  const int id = ::gettid();
  if (const auto known = thread_of_.find(id); known != thread_of_.end()) return known->second;
  threads_.push_back({name_of_this_thread(), {}});
  return thread_of_[id] = static_cast<std::uint32_t>(threads_.size() - 1);
}

void Timeline::entered(const Frame& frame, bool backward) noexcept try {
  if (events_.size() >= most_events) {
    ++left_out_;
    return;
  }
  const std::uint32_t thread = this_thread();
  Event e;
  e.name = text(frame.name());
  e.thread = thread;
  e.kind = frame.kind();
  e.backward = backward;
  e.here = frame.here();
  // A frame of a module gets its path when it ends: it is not whole yet.
  for (const Frame* f = frame.parent(); f && e.module == 0; f = f->parent()) e.module = text(f->module_path());
  e.flops = watch::flops.load(std::memory_order_relaxed);
  e.bytes = watch::bytes.load(std::memory_order_relaxed);
  e.begin = microseconds();
  events_.push_back(e);
  threads_[thread].open.push_back({&frame, events_.size() - 1});
} catch (...) {
  ++left_out_;  // no memory for it
}

void Timeline::left(const Frame& frame) noexcept try {
  const double now = microseconds();
  std::vector<Open>& open = threads_[this_thread()].open;
  if (open.empty() || open.back().frame != &frame) return;  // it was left out
  Event& e = events_[open.back().event];
  open.pop_back();
  e.end = now;
  e.flops = watch::flops.load(std::memory_order_relaxed) - e.flops;
  e.bytes = watch::bytes.load(std::memory_order_relaxed) - e.bytes;
  e.live = memory_stats().live_bytes;
  if (e.kind == Frame::Kind::module)
    if (const std::string path = frame.module_path(); !path.empty()) e.module = text(path);
} catch (...) {
  // No memory for its path.
}

std::string Timeline::event_json(const Event& e, double now) const {
  const bool runs = e.end < 0;
  const char* const category = e.kind == Frame::Kind::module      ? "module"
                               : e.backward                       ? "backward"
                               : is_optimiser(texts_[e.name])     ? "optimiser"
                               : e.kind == Frame::Kind::operation ? "forward"
                                                                  : "call";
  std::string args;
  const auto add = [&args](const char* key, const std::string& value) {
    args += fmt::format("{}\"{}\":{}", args.empty() ? "" : ",", key, value);
  };
  if (e.module != 0) add("module", quoted(texts_[e.module]));
  if (e.here.line != 0) add("line", quoted(e.here.str()));
  if (!runs && e.flops > 0) add("flops", std::to_string(e.flops));
  if (!runs && e.bytes > 0) add("bytes", std::to_string(e.bytes));
  if (runs) add("unfinished", "true");
  return fmt::format(R"({{"ph":"X","name":{},"cat":"{}","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":{},"args":{{{}}}}})",
                     quoted(texts_[e.name]), category, e.begin - begin_, (runs ? now : e.end) - e.begin, ::getpid(),
                     e.thread + 1, args);
}

std::string Timeline::json() const {
  const double now = microseconds();
  const int process = ::getpid();
  std::string s = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  s += fmt::format(R"({{"ph":"M","name":"process_name","pid":{},"tid":1,"args":{{"name":"attune"}}}})", process);
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    const std::string name = threads_[i].name.empty() ? "thread " + std::to_string(i + 1) : threads_[i].name;
    s += fmt::format(
        ",\n"
        R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})",
        process, i + 1, quoted(name));
  }
  std::map<double, std::int64_t> live;  // at the ends of frames, which is not their order
  for (const Event& e : events_) {
    s += ",\n" + event_json(e, now);
    if (e.end >= 0) live[e.end] = e.live;
  }
  std::int64_t before = -1;
  for (const auto& [at, bytes] : live) {
    if (bytes != before)
      s += fmt::format(
          ",\n"
          R"({{"ph":"C","name":"memory","ts":{:.3f},"pid":{},"tid":1,"args":{{"live bytes":{}}}}})",
          at - begin_, process, bytes);
    before = bytes;
  }
  s += fmt::format("\n],\"otherData\":{{\"events\":{},\"left out\":{}}}}}\n", events_.size(), left_out_);
  return s;
}

}  // namespace attune::detail
