#include "nn/data/batches.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

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
    if (!thread.joinable()) thread = std::thread([this] { work(); });
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

std::shared_ptr<void> BatchFeed::next() {
  State& s = *state_;
  std::optional<Made> m;
  if (s.asked) m = s.take();
  if (!m || m->place != s.place) m = s.make(s.place);  // the first, or the position was set
  if (m->error) std::rethrow_exception(m->error);
  s.place = s.following(s.place);
  if (s.prefetch) s.ask(s.place);
  return m->batch;
}

std::shared_ptr<void> BatchFeed::at(BatchPlace place) {
  if (place.batch >= state_->count(place.epoch)) return nullptr;
  const Made m = state_->make(place);
  if (m.error) std::rethrow_exception(m.error);
  return m.batch;
}

BatchPlace BatchFeed::place() const { return state_->place; }
std::int64_t BatchFeed::count(std::int64_t epoch) const { return state_->count(epoch); }

StateDict BatchFeed::state_dict() const {
  const std::string& name = state_->source.name;
  const std::vector<std::int32_t> characters(name.begin(), name.end());
  return {{"place", tensor({state_->place.epoch, state_->place.batch}, {2}, DType::int64)},
          {"of", tensor(characters, {static_cast<std::int64_t>(name.size())}, DType::int32)}};
}

void BatchFeed::load_state_dict(const StateDict& state, Here here) {
  const auto place = state.find("place"), of = state.find("of");
  if (state.size() != 2 || place == state.end() || of == state.end() || place->second.dtype() != DType::int64 ||
      place->second.shape() != Shape{2} || of->second.dtype() != DType::int32 || of->second.rank() != 1)
    throw ValueError("batches: this is no position in batches", here);
  std::string name;
  for (const std::int32_t c : of->second.to_vector<std::int32_t>()) name += static_cast<char>(c);
  if (name != state_->source.name)
    throw ValueError("batches: the position is in " + name + ", and here are " + state_->source.name, here);
  const auto at = place->second.to_vector<std::int64_t>();
  if (at[0] < 0 || at[1] < 0 || at[1] >= state_->count(at[0]))
    throw ValueError("batches: there is no batch " + std::to_string(at[1]) + " of epoch " + std::to_string(at[0]),
                     here);
  state_->place = {at[0], at[1]};
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

  const std::vector<Batch>& epoch(std::int64_t number) {
    if (number != epoch_) {
      batches_ = plan(number);
      epoch_ = number;
    }
    return batches_;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(lengths_.size()); }

  const BatchOptions o;

 private:
  std::vector<Batch> plan(std::int64_t number) const {
    const auto stream = static_cast<std::uint64_t>(number) * 2;
    Batch order = shuffled(size(), {o.seed, stream});
    if (!o.shuffle) std::sort(order.begin(), order.end());
    if (o.group > 0) {
      const std::int64_t mean =
          std::max<std::int64_t>(1, std::accumulate(lengths_.begin(), lengths_.end(), std::int64_t{0}) / size());
      const std::int64_t pool = o.group * (o.batch > 0 ? o.batch : std::max<std::int64_t>(1, o.max_tokens / mean));
      for (std::int64_t begin = 0; begin < size(); begin += pool) {
        const auto end = order.begin() + std::min(begin + pool, size());
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
    std::int64_t longest = 0;
    for (const std::int64_t i : order) {
      const auto count = static_cast<std::int64_t>(now.size());
      const bool full =
          o.batch > 0 ? count == o.batch : count > 0 && (count + 1) * std::max(longest, length(i)) > o.max_tokens;
      if (full) {
        batches.push_back(std::move(now));
        now.clear();
        longest = 0;
      }
      now.push_back(i);
      longest = std::max(longest, length(i));
    }
    const bool partial = o.batch > 0 && static_cast<std::int64_t>(now.size()) < o.batch;
    if (!now.empty() && !(partial && o.drop_last)) batches.push_back(std::move(now));
    return batches;
  }
  std::int64_t length(std::int64_t i) const { return lengths_[static_cast<std::size_t>(i)]; }

  std::vector<std::int64_t> lengths_;
  std::int64_t epoch_ = -1;
  std::vector<Batch> batches_;
};

}  // namespace

BatchSource sample_source(std::vector<std::int64_t> lengths, const BatchOptions& o,
                          std::function<std::shared_ptr<void>(const Batch&, Generator&)> collate, Here here) {
  const auto n = static_cast<std::int64_t>(lengths.size());
  const auto fail = [&](const std::string& what) { throw ValueError("batches: " + what, here); };
  if (n == 0) fail("there are no samples");
  if (o.batch < 0 || o.max_tokens < 0 || (o.batch > 0) == (o.max_tokens > 0))
    fail("one of batch = " + std::to_string(o.batch) + " and max_tokens = " + std::to_string(o.max_tokens) +
         " must be at least 1, the other 0");
  if (o.group < 0) fail("group = " + std::to_string(o.group) + " must not be negative");
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  if (o.max_tokens > 0 && longest > o.max_tokens)
    fail("a sample of " + std::to_string(longest) +
         " tokens does not fit max_tokens = " + std::to_string(o.max_tokens));
  if (o.drop_last && n < o.batch)
    fail("drop_last leaves none of " + std::to_string(n) + " samples in batches of " + std::to_string(o.batch));
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  std::string name = std::to_string(n) + " samples of " + std::to_string(tokens) + " tokens in batches of " +
                     (o.batch > 0 ? std::to_string(o.batch) : std::to_string(o.max_tokens) + " tokens");
  if (o.shuffle) name += ", shuffled by seed " + std::to_string(o.seed);
  if (o.group > 0) name += ", grouped by " + std::to_string(o.group);
  if (o.drop_last) name += ", full ones only";
  auto samples = std::make_shared<Samples>(std::move(lengths), o);
  return {std::move(name),
          [samples](std::int64_t epoch) { return static_cast<std::int64_t>(samples->epoch(epoch).size()); },
          [samples, collate = std::move(collate)](BatchPlace p) {
            const Batch rows = samples->epoch(p.epoch)[static_cast<std::size_t>(p.batch)];
            // Streams of its own, far from those of the shuffles.
            Generator random(samples->o.seed ^ 0x9e3779b97f4a7c15u);
            random.set_state({random.state().seed,
                              (static_cast<std::uint64_t>(p.epoch) << 40 | static_cast<std::uint64_t>(p.batch)) << 16});
            return collate(rows, random);
          }};
}

}  // namespace detail

}  // namespace attune::nn
