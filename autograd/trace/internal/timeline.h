// When each operation, backward step and module began and ended, in the Trace Event format that browsers' trace viewers
// open (chrome://tracing, Perfetto, Firefox's profiler). For ATTUNE_PROFILE=FILE.json.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/runtime/frame.h"

namespace attune::detail {

class Timeline {
 public:
  /// So many frames are kept, the first ones; how many more there were stands in the file.
  static constexpr std::size_t most_events = 400'000;

  Timeline();
  /// At the beginning and the end of a frame, by its own thread. `backward`: part of a backward step.
  void entered(const Frame& frame, bool backward) noexcept;
  void left(const Frame& frame) noexcept;
  /// The file's text; frames that have not ended last until now, and say so.
  std::string json() const;
  std::size_t left_out() const { return left_out_; }

 private:
  struct Event {
    double begin = 0, end = -1;                   // microseconds; -1: it runs
    std::int64_t flops = 0, bytes = 0, live = 0;  // until then, then its own; of the pool at its end
    std::uint32_t name = 0, module = 0, thread = 0;
    Frame::Kind kind = Frame::Kind::call;
    bool backward = false;
    Here here;
  };
  struct Open {
    const Frame* frame;
    std::size_t event;
  };
  struct Thread {
    std::string name;
    std::vector<Open> open;
  };

  std::uint32_t text(std::string_view s);
  /// The calling thread's place in threads_.
  std::uint32_t this_thread();
  std::string event_json(const Event& e, double now) const;

  // Guarded by the caller's lock.
  double begin_;
  std::deque<Event> events_;
  std::size_t left_out_ = 0;
  std::vector<std::string> texts_;
  std::map<std::string, std::uint32_t, std::less<>> places_;
  std::map<int, std::uint32_t> thread_of_;  // by the system's number
  std::vector<Thread> threads_;
};

}  // namespace attune::detail
