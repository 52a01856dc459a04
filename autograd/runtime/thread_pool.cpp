#include "autograd/runtime/internal/thread_pool.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <new>
#include <utility>

#include "autograd/runtime/error.h"
#include "autograd/runtime/fork.h"
#include "autograd/runtime/internal/waiting.h"

namespace attune::detail {

namespace {

// How long a thread turns round before it lets the processor go: a helper for as long as a training step's gaps
// between loops are, an owner for as long as a chunk takes. Sleeping and being woken costs tens of microseconds.
constexpr Nanoseconds helper_spins = 200'000, owner_spins = 100'000;
constexpr Nanoseconds usual_wake = 50'000;  // at the most, of two helpers

constinit std::atomic<const CarriedModes*> carried_modes{nullptr};

[[gnu::tls_model("initial-exec")]] thread_local constinit bool inside_chunk = false;
[[gnu::tls_model("initial-exec")]] thread_local constinit bool owning = false;  // while it runs a loop, shared or not
[[gnu::tls_model("initial-exec")]] thread_local constinit Loop* owned_loop = nullptr;  // while it runs one

/// A chunk of the share that nobody has begun, or -1.
std::int64_t take(Share& share) {
  std::uint64_t ticket = share.ticket.load(std::memory_order_acquire);
  for (;;) {
    const auto left = static_cast<std::uint32_t>(ticket);
    if (left == 0) return -1;
    if (share.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire))
      return share.end - left;
  }
}

/// Processor time that a worker's thread has had, or -1.
Nanoseconds time_used(const Worker& worker) {
  timespec t{};
  const clockid_t clock = worker.clock.load(std::memory_order_relaxed);
  if (clock == -1 || clock_gettime(clock, &t) != 0) return -1;
  return Nanoseconds{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

class InsideChunk {
 public:
  InsideChunk() { inside_chunk = true; }
  ~InsideChunk() { inside_chunk = false; }
  InsideChunk(const InsideChunk&) = delete;
  InsideChunk& operator=(const InsideChunk&) = delete;
};

/// The count of owners is one higher while it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int>& count) : before(count.fetch_add(1, std::memory_order_relaxed)), count_(count) {
    owning = true;
  }
  ~Counted() {
    owning = false;
    count_.fetch_sub(1, std::memory_order_relaxed);
  }
  Counted(const Counted&) = delete;
  const int before;

 private:
  std::atomic<int>& count_;
};

}  // namespace

void carry_modes(const CarriedModes* modes) noexcept { carried_modes.store(modes, std::memory_order_release); }

void FirstFailure::keep(std::int64_t chunk) {
  const std::lock_guard lock(mutex_);
  if (error_ && chunk_ < chunk) return;
  chunk_ = chunk;
  error_ = std::current_exception();
}

std::exception_ptr FirstFailure::take() { return std::exchange(error_, nullptr); }

std::int64_t Loop::finished() const {
  std::int64_t sum = 0;
  for (int i = 0, n = shares.load(std::memory_order_relaxed); i < n; ++i)
    sum += share[static_cast<std::size_t>(i)].finished.load();
  return sum;
}

ThreadPool::ThreadPool() { in_forked_child(&ThreadPool::in_child); }

ThreadPool& ThreadPool::instance() {
  // Neither allocated, since a loop may run when memory is short, nor destroyed.
  alignas(ThreadPool) static std::byte place[sizeof(ThreadPool)];
  static ThreadPool& pool = *new (place) ThreadPool;
  return pool;
}

bool ThreadPool::inside() { return inside_chunk; }

// ---- the loop's owner

void ThreadPool::run(int threads, std::int64_t chunks, void* context, RunChunk run_chunk) {
  const Counted owner(owners_);
  // Owners work, too: all together are no more than the number of threads, as far as owners leave it at that.
  const int free = threads - 1 - owner.before;
  int helpers = free > 0 ? budget_.allowed(free, now) : 0;
  if (helpers > 0) helpers = std::min(helpers, start(helpers));
  Loop* const loop = helpers > 0 ? own_loop() : nullptr;
  const InsideChunk inside;
  if (!loop) {
    for (std::int64_t c = 0; c < chunks; ++c) run_chunk(context, c);
    return;
  }
  loop->context = context;
  loop->run = run_chunk;
  const CarriedModes* modes = carried_modes.load(std::memory_order_acquire);
  loop->modes = modes ? modes->get() : 0;
  loop->frame = Frame::top();
  std::exception_ptr failure;
  bool lost = false;
  // A ticket counts up to 2^32 - 1 chunks.
  constexpr std::int64_t at_once = std::int64_t{1} << 31;
  for (std::int64_t first = 0; first < chunks && !failure && !lost; first += at_once) {
    const std::int64_t count = std::min(at_once, chunks - first);
    run_shared(*loop, helpers, first, count);
    failure = loop->failure.take();
    lost = loop->finished() < count;
  }
  loop->forked = false;
  owned_loop = nullptr;
  loop->owned.store(false, std::memory_order_release);
  if (lost)
    throw Error("parallel_for: fork() inside a loop: pieces that other threads had begun are lost in the child");
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::run_shared(Loop& loop, int helpers, std::int64_t first, std::int64_t chunks) {
  // Each thread begins with the same share of every loop, since what it wrote in the last one is in its own caches;
  // then it helps the others.
  const int shares = static_cast<int>(std::min<std::int64_t>({helpers + 1, most_shares, chunks}));
  loop.shares.store(shares, std::memory_order_relaxed);
  loop.helpers.store(helpers, std::memory_order_relaxed);
  loop.number = loop.number == UINT32_MAX ? 1 : loop.number + 1;
  const std::uint64_t number = std::uint64_t{loop.number} << 32;
  for (int i = 0; i < shares; ++i) {
    Share& share = loop.share[static_cast<std::size_t>(i)];
    const std::int64_t begin = chunks * i / shares, end = chunks * (i + 1) / shares;
    share.end = first + end;
    share.finished.store(0, std::memory_order_relaxed);
    share.ticket.store(number | static_cast<std::uint64_t>(end - begin), std::memory_order_release);
  }
  call(helpers);
  work(loop, 0, nullptr);
  wait_for_others(loop, helpers, chunks);
}

/// Runs what nobody has begun, from the share of `who` on; returns whether there was something. `guest` is the worker
/// that helps, null for the owner.
bool ThreadPool::work(Loop& loop, int who, Worker* guest) {
  bool any = false;
  std::uint32_t entered = 0;  // the loop's number, which is never 0
  const int shares = loop.shares.load(std::memory_order_relaxed);
  for (int i = 0; i < shares; ++i) {
    Share& share = loop.share[static_cast<std::size_t>((who + i) % shares)];
    for (std::int64_t chunk; (chunk = take(share)) >= 0;) {
      // Only now is the loop sure to live. It may be the next one: the owner does not wait for a guest to leave.
      if (guest && entered != loop.number) {
        entered = loop.number;
        guest->at.store(&loop, std::memory_order_relaxed);
        Frame::set_top(loop.frame);
        if (const CarriedModes* modes = carried_modes.load(std::memory_order_acquire)) modes->set(loop.modes);
        if (sleepers_.load(std::memory_order_relaxed) > 0) wake(loop.helpers.load(std::memory_order_relaxed));
      }
      any = true;
      try {
        loop.run(loop.context, chunk);
      } catch (...) {
        loop.failure.keep(chunk);
      }
      share.finished.fetch_add(1);
      // Either the owner sees the chunk finished, or this thread sees that the owner sleeps.
      if (loop.owner_sleeps.load() != 0 && loop.owner_sleeps.exchange(0) != 0) wake_waiting(loop.owner_sleeps);
    }
  }
  if (any && guest) {
    guest->at.store(nullptr, std::memory_order_relaxed);
    Frame::set_top(nullptr);
  }
  return any;
}

void ThreadPool::wait_for_others(Loop& loop, int helpers, std::int64_t chunks) {
  const auto done = [&] { return loop.finished() >= chunks; };
  if (done() || loop.forked || spin(owner_spins, done)) return;
  sleep_until_finished(loop, helpers, chunks);
}

/// What a helper's clock of processor time does not show of this wait was lost: the helper was not running. An uneven
/// loop, whose owner waits for a chunk that is being worked on, loses nothing.
void ThreadPool::sleep_until_finished(Loop& loop, int helpers, std::int64_t chunks) {
  struct Awaited {
    const Worker* worker;
    Nanoseconds used;
  };
  std::array<Awaited, most_shares> awaited;
  std::size_t count = 0;
  for (int i = 1; i <= helpers && count < awaited.size(); ++i) {
    const Worker& worker = *workers_[static_cast<std::size_t>(i)];
    if (worker.at.load(std::memory_order_relaxed) == &loop) awaited[count++] = {&worker, time_used(worker)};
  }
  const Nanoseconds began = now();
  for (;;) {
    loop.owner_sleeps.store(1);
    if (loop.finished() >= chunks) break;
    wait_while(loop.owner_sleeps, 1);
  }
  loop.owner_sleeps.store(0);
  const Nanoseconds end = now();
  Nanoseconds lost = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Nanoseconds used = time_used(*awaited[i].worker);
    if (used >= 0 && awaited[i].used >= 0) lost = std::max(lost, end - began - (used - awaited[i].used));
  }
  if (lost > 0) budget_.lost(lost, helpers, end);
}

/// A place for this thread's loop, the same one as last time if nobody else has it; null if there are too many.
Loop* ThreadPool::own_loop() {
  for (int i = 0; i < most_loops; ++i) {
    Loop& loop = loops_[static_cast<std::size_t>(i)];
    if (loop.owned.load(std::memory_order_relaxed) || loop.owned.exchange(true, std::memory_order_acquire)) continue;
    for (int used = used_loops_.load(std::memory_order_relaxed);
         used <= i && !used_loops_.compare_exchange_weak(used, i + 1, std::memory_order_release);) {
    }
    return owned_loop = &loop;
  }
  return nullptr;
}

/// So many workers, or as many as the system gives; returns how many of them there are.
int ThreadPool::start(int helpers) {
  if (const int there = started_.load(std::memory_order_acquire); there >= helpers) return helpers;
  const ForkSafeLock lock(start_mutex_);
  int there = started_.load(std::memory_order_relaxed);
  if (there >= helpers) return helpers;
  // Signals are for the program's own threads; those that an instruction raises stay with the thread.
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int raised : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF}) sigdelset(&blocked, raised);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  for (; there < helpers; ++there) {
    const int index = there + 1;
    std::unique_ptr<Worker>& worker = workers_[static_cast<std::size_t>(index)];
    if (!worker) worker.reset(new (std::nothrow) Worker);
    if (!worker) break;
    worker->index = index;
    pthread_t id{};
    if (pthread_create(&id, nullptr, &ThreadPool::thread, worker.get()) != 0) break;
    pthread_detach(id);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  started_.store(there, std::memory_order_release);
  return there;
}

void ThreadPool::call(int helpers) {
  caller_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
  calls_.fetch_add(1);
  // Either a worker that goes to sleep sees the call, or it is seen here.
  if (sleepers_.load() == 0) return;
  const Nanoseconds began = now();
  wake(helpers);
  const Nanoseconds end = now();
  // Whoever was woken took this thread's processor.
  if (end - began > usual_wake) budget_.lost(end - began, helpers, end);
}

/// Wakes two of the sleeping helpers; they wake the next ones.
void ThreadPool::wake(int helpers) {
  int woken = 0;
  for (int i = 1, n = std::min(helpers, started_.load(std::memory_order_acquire)); i <= n && woken < 2; ++i) {
    Worker& worker = *workers_[static_cast<std::size_t>(i)];
    if (worker.asleep.load() == 0 || worker.asleep.exchange(0) == 0) continue;
    sleepers_.fetch_sub(1);
    wake_waiting(worker.asleep);
    ++woken;
  }
}

// ---- the helpers

void* ThreadPool::thread(void* worker) {
  Worker& me = *static_cast<Worker*>(worker);
  pthread_setname_np(pthread_self(), "attune");
  clockid_t clock{};
  if (pthread_getcpuclockid(pthread_self(), &clock) == 0) me.clock.store(clock, std::memory_order_relaxed);
  // Helpers take idle processors and their turn, but when they are woken they push nobody aside: least of all the owner
  // who wakes them.
  const sched_param none{};
  if (sched_getscheduler(0) == SCHED_OTHER) sched_setscheduler(0, SCHED_BATCH, &none);
  inside_chunk = true;
  instance().serve(me);
  return nullptr;
}

void ThreadPool::serve(Worker& me) {
  for (;;) {
    const std::uint32_t seen = calls_.load(std::memory_order_acquire);
    if (help(me)) continue;
    // Where the owner waits to run on this very processor, turning round would keep it from calling.
    const auto called = [&] { return calls_.load(std::memory_order_acquire) != seen; };
    const auto in_the_way = [&] { return sched_getcpu() == caller_cpu_.load(std::memory_order_relaxed); };
    spin(helper_spins, [&] { return called() || in_the_way(); });
    if (!called()) sleep(me, seen);
  }
}

bool ThreadPool::help(Worker& me) {
  bool any = false;
  for (int i = 0, n = used_loops_.load(std::memory_order_acquire); i < n; ++i) {
    Loop& loop = loops_[static_cast<std::size_t>(i)];
    if (me.index <= loop.helpers.load(std::memory_order_relaxed)) any |= work(loop, me.index, &me);
  }
  return any;
}

void ThreadPool::sleep(Worker& me, std::uint32_t seen) {
  me.asleep.store(1);
  sleepers_.fetch_add(1);
  if (calls_.load() == seen)
    while (me.asleep.load() != 0) wait_while(me.asleep, 1);
  else if (me.asleep.exchange(0) != 0)
    sleepers_.fetch_sub(1);
}

// ---- fork

/// Of the parent's threads there is one. The next loop starts workers anew.
void ThreadPool::in_child() noexcept {
  ThreadPool& pool = instance();
  pool.started_.store(0);
  pool.sleepers_.store(0);
  pool.owners_.store(owning ? 1 : 0);
  if (owned_loop) owned_loop->forked = true;
  for (auto& worker : pool.workers_) {
    if (!worker) continue;
    worker->asleep.store(0);
    worker->at.store(nullptr);
    worker->clock.store(-1);
  }
  for (int i = 0, n = pool.used_loops_.load(); i < n; ++i) {
    Loop& loop = pool.loops_[static_cast<std::size_t>(i)];
    if (&loop != owned_loop) new (&loop) Loop;
  }
}

}  // namespace attune::detail
