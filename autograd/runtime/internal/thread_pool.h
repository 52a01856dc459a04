// The threads behind parallel_for. They help whoever runs a loop; nobody waits for them to come.
//
// A loop's chunks lie in shares. Whoever takes a chunk counts its share's ticket down in one atomic step, which fails
// if another thread did so or the loop is over; the loop's owner waits until every chunk that was taken is finished,
// and for nothing else: not for a helper that sleeps, comes late, or was set aside by the system between two chunks.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>

#include "autograd/runtime/frame.h"
#include "autograd/runtime/internal/helper_budget.h"
#include "autograd/runtime/parallel.h"

namespace attune::detail {

inline constexpr int most_threads = 4096;
inline constexpr int most_shares = 32;

using RunChunk = void (*)(void* context, std::int64_t chunk);

/// The exception of the lowest chunk that threw.
class FirstFailure {
 public:
  void keep(std::int64_t chunk);
  std::exception_ptr take();

 private:
  std::mutex mutex_;
  std::int64_t chunk_ = 0;
  std::exception_ptr error_;
};

/// Consecutive chunks up to `end`, on a cache line of its own.
struct alignas(64) Share {
  std::atomic<std::uint64_t> ticket{0};  // the loop's number, and in the lower half the chunks that nobody has begun
  std::atomic<std::int64_t> finished{0};
  std::int64_t end = 0;  // for who has taken a chunk
};

/// A place where one thread after the other runs its loops; it outlives them all, so that who comes late may look.
struct alignas(64) Loop {
  std::atomic<bool> owned{false};
  std::atomic<int> shares{0}, helpers{0};
  std::uint32_t number = 0;
  // For who has taken a chunk.
  void* context = nullptr;
  RunChunk run = nullptr;
  std::uint64_t modes = 0;
  const Frame* frame = nullptr;
  FirstFailure failure;
  bool forked = false;  // the owner is the only thread of a forked child: who else had begun a chunk is not here
  alignas(64) std::atomic<std::uint32_t> owner_sleeps{0};
  std::array<Share, most_shares> share;

  std::int64_t finished() const;
};

struct alignas(64) Worker {
  std::atomic<std::uint32_t> asleep{0};
  std::atomic<const Loop*> at{nullptr};  // the loop whose chunks it runs
  std::atomic<clockid_t> clock{-1};      // of the processor time it has had
  int index = 0;                         // from 1 on: the share it begins with; 0 is the owner
};

class ThreadPool {
 public:
  /// Never destroyed: its threads may run while the process ends.
  static ThreadPool& instance();
  /// Whether this thread is running a chunk, so that what it calls stays on it.
  static bool inside();

  /// Runs chunks [0, chunks), also on up to threads - 1 others; threads and chunks are at least 2. Throws the exception
  /// of the lowest chunk that threw.
  void run(int threads, std::int64_t chunks, void* context, RunChunk run_chunk);
  /// All helpers may come again.
  void trust() { budget_.reset(); }

 private:
  ThreadPool();
  void run_shared(Loop& loop, int helpers, std::int64_t first, std::int64_t chunks);
  bool work(Loop& loop, int who, Worker* guest);
  void wait_for_others(Loop& loop, int helpers, std::int64_t chunks);
  void sleep_until_finished(Loop& loop, int helpers, std::int64_t chunks);
  Loop* own_loop();
  int start(int helpers);
  void call(int helpers);
  void wake(int helpers);
  void serve(Worker& me);
  bool help(Worker& me);
  void sleep(Worker& me, std::uint32_t seen);
  static void* thread(void* worker);
  static void in_child() noexcept;

  static constexpr int most_loops = 64;  // at a time; further threads run theirs alone

  HelperBudget budget_;
  std::atomic<int> owners_{0};      // threads that run a loop
  std::atomic<int> started_{0};     // workers
  std::atomic<int> used_loops_{0};  // of loops_, the first ones
  std::array<Loop, most_loops> loops_;
  alignas(64) std::atomic<std::uint32_t> calls_{0};  // counts loops that want helpers
  std::atomic<int> caller_cpu_{-1};                  // the processor that the last call came from
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex start_mutex_;
  std::array<std::unique_ptr<Worker>, most_threads> workers_;  // by index; read below started_
};

}  // namespace attune::detail
