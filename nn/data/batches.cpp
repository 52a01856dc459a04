#include "nn/data/batches.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <system_error>
#include <thread>

#include "autograd/io/internal/checksum.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune::nn {

namespace detail {

namespace {

BatchPlace after(const BatchSource& source, BatchPlace p) {
  return p.batch + 1 < source.count(p.epoch) ? BatchPlace{p.epoch, p.batch + 1} : BatchPlace{p.epoch + 1, 0};
}

/// A batch, or what came of making it.
struct Made {
  BatchPlace place;
  std::shared_ptr<void> batch;
  std::exception_ptr error;
};

}  // namespace

struct BatchFeed::State {
  State(BatchSource s, bool p) : source(std::move(s)), prefetch(p) {}
  ~State() { stop(); }

  Made make(BatchPlace p) {
    const std::lock_guard hold(making);  // the thread's batches and a pass's share what the source remembers
    const NoGrad off;
    try {
      return {p, source.make(p), nullptr};
    } catch (...) {
      return {p, nullptr, std::current_exception()};
    }
  }
  std::int64_t count(std::int64_t epoch) {
    const std::lock_guard hold(making);
    return source.count(epoch);
  }
  BatchPlace following(BatchPlace p) {
    const std::lock_guard hold(making);
    return after(source, p);
  }

  /// The thread: makes the batch at `wanted` and waits until it was taken.
  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || wanted; });
      if (stopping) return;
      const BatchPlace p = *wanted;
      wanted.reset();
      lock.unlock();
      Made m = make(p);
      lock.lock();
      ready = std::move(m);
      changed.notify_all();
    }
  }
  void ask(BatchPlace p) {
    const std::lock_guard lock(mutex);
    try {
      if (!thread.joinable()) thread = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      return;  // the system has no more threads: next() makes the batch
    }
    wanted = p;
    asked = true;
    changed.notify_all();
  }
  Made take() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ready.has_value(); });
    Made m = std::move(*ready);
    ready.reset();
    asked = false;
    return m;
  }
  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      changed.notify_all();
    }
    if (thread.joinable()) thread.join();
  }

  BatchSource source;
  const bool prefetch;
  BatchPlace place;
  std::mutex making, mutex;
  std::condition_variable changed;
  std::thread thread;
  std::optional<BatchPlace> wanted;
  std::optional<Made> ready;
  bool asked = false, stopping = false;
};

BatchFeed::BatchFeed(BatchSource source, bool prefetch)
    : state_(std::make_unique<State>(std::move(source), prefetch)) {}
BatchFeed::~BatchFeed() = default;
BatchFeed::BatchFeed(BatchFeed&&) noexcept = default;
BatchFeed& BatchFeed::operator=(BatchFeed&&) noexcept = default;

BatchFeed::State& BatchFeed::state() const {
  if (!state_) throw ValueError("batches: these were moved to another object", Here::current());
  return *state_;
}

std::shared_ptr<void> BatchFeed::next() {
  State& s = state();
  std::optional<Made> m;
  if (s.asked) m = s.take();
  if (!m || m->place != s.place) m = s.make(s.place);  // the first, or the position was set
  if (m->error) std::rethrow_exception(m->error);
  s.place = s.following(s.place);
  if (s.prefetch) s.ask(s.place);
  return m->batch;
}

std::shared_ptr<void> BatchFeed::at(BatchPlace place) const {
  State& s = state();
  if (place.batch >= s.count(place.epoch)) return nullptr;
  const Made m = s.make(place);
  if (m.error) std::rethrow_exception(m.error);
  return m.batch;
}

BatchPlace BatchFeed::place() const { return state().place; }
std::int64_t BatchFeed::count(std::int64_t epoch) const {
  if (epoch < 0) throw ValueError("batches: there is no epoch " + std::to_string(epoch), Here::current());
  return state().count(epoch);
}

StateDict BatchFeed::state_dict() const {
  const State& s = state();
  const std::string& name = s.source.name;
  const std::vector<std::int32_t> characters(name.begin(), name.end());
  return {{"place", tensor({s.place.epoch, s.place.batch}, {2}, DType::int64)},
          {"of", tensor(characters, {static_cast<std::int64_t>(name.size())}, DType::int32)}};
}

void BatchFeed::load_state_dict(const StateDict& saved, Here here) {
  constexpr std::int64_t most_epochs = std::int64_t{1} << 40;  // whose places cannot overflow
  State& s = state();
  const auto place = saved.find("place"), of = saved.find("of");
  if (saved.size() != 2 || place == saved.end() || of == saved.end() || place->second.dtype() != DType::int64 ||
      place->second.shape() != Shape{2} || of->second.dtype() != DType::int32 || of->second.rank() != 1)
    throw ValueError("batches: this is no position in batches", here);
  std::string name;
  for (const std::int32_t c : of->second.to_vector<std::int32_t>()) name += static_cast<char>(c);
  if (name != s.source.name)
    throw ValueError("batches: the position is in " + name + ", and here are " + s.source.name, here);
  const auto at = place->second.to_vector<std::int64_t>();
  if (at[0] < 0 || at[0] >= most_epochs || at[1] < 0 || at[1] >= s.count(at[0]))
    throw ValueError("batches: there is no batch " + std::to_string(at[1]) + " of epoch " + std::to_string(at[0]),
                     here);
  s.place = {at[0], at[1]};
}

namespace {

/// A shuffle of 0 .. n-1 (Fisher and Yates) by numbers of its own.
std::vector<std::int64_t> shuffled(std::int64_t n, RandomKey key) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto words = philox(key, static_cast<std::uint64_t>(i));
    const std::uint64_t word = std::uint64_t{words[1]} << 32 | words[0];
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(static_cast<unsigned __int128>(word) * static_cast<std::uint64_t>(i + 1) >>
                                             64)]);
  }
  return order;
}

using Batch = std::vector<std::int64_t>;  // numbers of samples

/// Samples by lengths, as options have it.
class Samples {
 public:
  Samples(std::vector<std::int64_t> lengths, const BatchOptions& options) : o(options), lengths_(std::move(lengths)) {}

  /// Its batches. Two epochs are remembered: that of the training, and the first, for passes and size() in between.
  const std::vector<Batch>& epoch(std::int64_t number) {
    if (number != now_.epoch) std::swap(now_, before_);
    if (number != now_.epoch) now_ = {number, plan(number)};
    return now_.batches;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(lengths_.size()); }

  const BatchOptions o;

 private:
  std::vector<Batch> plan(std::int64_t number) const {
    const auto stream = static_cast<std::uint64_t>(number) * 2;
    Batch order = shuffled(size(), {o.seed, stream});
    if (!o.shuffle) std::sort(order.begin(), order.end());
    // Before samples are grouped by length: otherwise it would always be the longest that are left out.
    if (o.drop_last) order.resize(static_cast<std::size_t>(size() / o.batch * o.batch));
    const auto kept = static_cast<std::int64_t>(order.size());
    if (o.group > 0) {
      const std::int64_t mean =
          std::max<std::int64_t>(1, std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0}) / size());
      const std::int64_t batch = o.batch > 0 ? o.batch : std::max<std::int64_t>(1, o.max_tokens / mean);
      const std::int64_t pool = o.group > kept / batch ? kept : o.group * batch;  // no product that overflows
      for (std::int64_t begin = 0; begin < kept; begin += pool) {
        const auto end = order.begin() + std::min(begin + pool, kept);
        std::stable_sort(order.begin() + begin, end, [&](auto a, auto b) { return length(a) < length(b); });
      }
    }
    std::vector<Batch> batches = cut(order);
    if (o.group > 0 && o.shuffle) {
      std::vector<Batch> mixed;
      for (const std::int64_t i : shuffled(static_cast<std::int64_t>(batches.size()), {o.seed, stream + 1}))
        mixed.push_back(std::move(batches[static_cast<std::size_t>(i)]));
      batches = std::move(mixed);
    }
    return batches;
  }

  std::vector<Batch> cut(const Batch& order) const {
    std::vector<Batch> batches;
    Batch now;
    std::int64_t longest = 1;
    for (const std::int64_t i : order) {
      const auto count = static_cast<std::int64_t>(now.size());
      const bool full =
          o.batch > 0 ? count == o.batch : count > 0 && count >= o.max_tokens / std::max(longest, length(i));
      if (full) {
        batches.push_back(std::move(now));
        now.clear();
        longest = 1;
      }
      now.push_back(i);
      longest = std::max(longest, length(i));
    }
    if (!now.empty()) batches.push_back(std::move(now));
    return batches;
  }
  std::int64_t length(std::int64_t i) const { return lengths_[static_cast<std::size_t>(i)]; }

  std::vector<std::int64_t> lengths_;
  struct Plan {
    std::int64_t epoch = -1;
    std::vector<Batch> batches;
  };
  Plan now_, before_;
};

/// Where a batch's random numbers begin: each batch has 2^16 drawings. High bits of the epoch go to the seed.
Generator generator_of(std::uint64_t seed, BatchPlace p) {
  const auto epoch = static_cast<std::uint64_t>(p.epoch), batch = static_cast<std::uint64_t>(p.batch);
  Generator random;
  random.set_state({(seed ^ 0x9e3779b97f4a7c15u) + (epoch >> 8) * 0xbf58476d1ce4e5b9u, (epoch << 40 | batch) << 16});
  return random;
}

}  // namespace

BatchSource sample_source(std::uint32_t checksum, std::vector<std::int64_t> lengths, const BatchOptions& o,
                          std::function<std::shared_ptr<void>(const Batch&, Generator&)> collate, Here here) {
  const auto n = static_cast<std::int64_t>(lengths.size());
  const auto fail = [&](const std::string& what) { throw ValueError("batches: " + what, here); };
  if (n == 0) fail("there are no samples");
  if (o.batch < 0 || o.max_tokens < 0 || (o.batch > 0) == (o.max_tokens > 0))
    fail("one of batch = " + std::to_string(o.batch) + " and max_tokens = " + std::to_string(o.max_tokens) +
         " must be at least 1, the other 0");
  if (o.group < 0) fail("group = " + std::to_string(o.group) + " must not be negative");
  if (o.drop_last && o.max_tokens > 0) fail("drop_last is for batches by size; those by tokens have no full size");
  std::int64_t tokens = 0;
  for (const std::int64_t length : lengths) {
    if (length < 0 || length > std::numeric_limits<std::int64_t>::max() - tokens)
      fail("a length of " + std::to_string(length) + " is negative, or too much");
    tokens += length;
  }
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  if (o.max_tokens > 0 && longest > o.max_tokens)
    fail("a sample of " + std::to_string(longest) +
         " tokens does not fit max_tokens = " + std::to_string(o.max_tokens));
  if (o.drop_last && n < o.batch)
    fail("drop_last leaves none of " + std::to_string(n) + " samples in batches of " + std::to_string(o.batch));
  checksum = io::crc32(checksum, lengths.data(), n * static_cast<std::int64_t>(sizeof(std::int64_t)));
  std::string name = std::to_string(n) + " samples of " + std::to_string(tokens) + " tokens (checksum " +
                     io::hexadecimal(checksum) + ") in batches of " +
                     (o.batch > 0 ? std::to_string(o.batch) : std::to_string(o.max_tokens) + " tokens");
  if (o.shuffle) name += ", shuffled by seed " + std::to_string(o.seed);
  if (o.group > 0) name += ", grouped by " + std::to_string(o.group);
  if (o.drop_last) name += ", full ones only";
  auto samples = std::make_shared<Samples>(std::move(lengths), o);
  return {std::move(name),
          [samples](std::int64_t epoch) { return static_cast<std::int64_t>(samples->epoch(epoch).size()); },
          [samples, collate = std::move(collate)](BatchPlace p) {
            const Batch rows = samples->epoch(p.epoch)[static_cast<std::size_t>(p.batch)];
            Generator random = generator_of(samples->o.seed, p);
            return collate(rows, random);
          }};
}

}  // namespace detail

}  // namespace attune::nn
