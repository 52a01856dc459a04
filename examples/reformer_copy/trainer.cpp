#include "examples/reformer_copy/trainer.h"

#include <fmt/format.h>

#include <cmath>
#include <sstream>
#include <stdexcept>

#include "autograd/autograd.h"
#include "examples/support/progress.h"

namespace reformer_copy {

using namespace attune;

namespace {

constexpr double largest_norm = 1;  // of the joint gradient

nn::ReformerConfig seeded_config(const Options& o) {
  manual_seed(static_cast<std::uint64_t>(o.seed));  // before the weights are drawn
  return model_config(o);
}

std::string text(RandomKey k) { return fmt::format("{} {}", k.seed, k.counter); }

std::optional<RandomKey> key_from(const std::string& s) {
  RandomKey k;
  std::istringstream in(s);
  if (!(in >> k.seed >> k.counter) || !(in >> std::ws).eof()) return std::nullopt;
  return k;
}

/// A checkpoint that was read, or a FileError.
struct File {
  explicit File(const std::string& p) : path(p), content(load_safetensors(p)) {}
  [[noreturn]] void none(const std::string& what) const {
    throw FileError(path + ": is no checkpoint of this program (" + what + ")");
  }
  std::string entry(const char* name) const {
    const auto at = content.metadata.find(name);
    if (at == content.metadata.end()) none(fmt::format("no \"{}\"", name));
    return at->second;
  }
  std::string course() const { return entry("course"); }
  Tensor history() const {
    const auto at = content.tensors.find("history");
    if (at == content.tensors.end() || at->second.rank() != 2 || at->second.size(1) != 3) none("no \"history\"");
    return at->second;
  }
  std::string path;
  SafetensorsFile content;
};

}  // namespace

Tensor Task::batch(std::int64_t b) {
  const Tensor w = randint(1, symbols_ + 1, {b, length_ / 2 - 1}, random_), zero = zeros({b, 1}, int64);
  return cat({zero, w, zero, w}, 1);
}

Tensor Task::labels(const Tensor& tokens) const {
  const std::int64_t second = length_ / 2 + 1;
  return cat({full({tokens.size(0), second}, -100, int64), slice(tokens, 1, second)}, 1);
}

double Task::accuracy(const Tensor& logits, const Tensor& tokens) const {
  const NoGrad off;
  const Tensor predicted = argmax(slice(logits, 1, length_ / 2, length_ - 1));
  return mean(to(eq(predicted, slice(tokens, 1, length_ / 2 + 1)), float32)).item();
}

Trainer::Trainer(const Options& o)
    : options_(o),
      model_(seeded_config(o)),
      optimizer_(model_.parameters(), {.lr = o.lr,
                                       .beta2 = 0.98,
                                       .weight_decay = 0,
                                       .schedule = optim::cosine(o.steps, std::min(o.warmup, o.steps), 0.1)}),
      task_(o, 1'000'003) {}

nn::ReformerCall Trainer::call(Hashes hashes) {
  nn::ReformerCall c;
  c.attention.resize(static_cast<std::size_t>(options_.layers));
  for (std::size_t i = 0; i < c.attention.size(); ++i) {
    c.attention[i].full = hashes == 0;
    if (hashes > 0) model_.lsh_attention(i).options.hashes = hashes;
  }
  return c;
}

std::optional<Trainer::Point> Trainer::train_step(const nn::ReformerCall& attention) {
  const RandomKey random = default_generator().state(), data = task_.random().state();
  Point p{static_cast<double>(step() + 1), 0, 0};
  const double share = 1.0 / static_cast<double>(options_.accumulate);
  for (std::int64_t i = 0; i < options_.accumulate; ++i) {
    if (i > 0 && examples::interrupted()) {
      // As if the step had not begun.
      optimizer_.zero_grad();
      default_generator().set_state(random);
      task_.random().set_state(data);
      return std::nullopt;
    }
    const Tensor tokens = task_.batch(options_.batch);
    const Tensor logits = model_(tokens, attention);
    const Tensor loss = model_.loss(logits, task_.labels(tokens));
    (loss * share).backward();
    p.loss += share * loss.item();
    p.accuracy += share * task_.accuracy(logits, tokens);
  }
  const auto require_finite = [&](const char* what, double value) {
    if (!std::isfinite(value))
      throw std::runtime_error(fmt::format("{} is {} in step {}; a smaller --lr may help", what,
                                           std::isnan(value) ? "not a number" : "infinite", step() + 1));
  };
  require_finite("the loss", p.loss);
  require_finite("the gradient's norm",
                 optim::clip_grad_norm(model_.parameters(), largest_norm, {.error_if_nonfinite = false}));
  optimizer_.step();
  return p;
}

bool Trainer::run(const std::string& checkpoint) {
  model_.train();
  const nn::ReformerCall attention = call(options_.full ? 0 : options_.hashes);
  const double tokens_per_step = static_cast<double>(options_.batch * options_.accumulate * options_.length);
  if (step() == options_.steps) return true;  // resumed after its end
  examples::Progress progress(options_.steps);
  reset_peak_memory();
  while (step() < options_.steps && !examples::interrupted()) {
    if (const std::optional<Point> p = train_step(attention)) {
      history_.push_back(*p);
      progress.show(step(), tokens_per_step, "tokens",
                    fmt::format("loss {:.4f}  accuracy {:5.1f} %", p->loss, 100 * p->accuracy));
      if (step() % options_.save_every == 0 && step() < options_.steps) save(checkpoint);
    }
  }
  progress.finish();
  save(checkpoint);
  seconds_ = progress.seconds();
  peak_bytes_ = memory_stats().peak_bytes;
  return step() == options_.steps;
}

double Trainer::evaluate(Hashes hashes, int batches) {
  const NoGrad off;
  model_.eval();
  // Its hashes, like its sequences, are those of its seed, whatever was evaluated before.
  const RandomKey before = default_generator().state();
  default_generator().seed(static_cast<std::uint64_t>(options_.seed) + 4'000'003);
  Task fresh(options_, 2'000'003);
  const nn::ReformerCall attention = call(hashes);
  double sum = 0;
  for (int i = 0; i < batches; ++i) {
    const Tensor tokens = fresh.batch(64);
    sum += fresh.accuracy(model_(tokens, attention), tokens);
  }
  default_generator().set_state(before);
  return sum / batches;
}

void Trainer::save(const std::string& path) const {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, value] : model_.shared_state_dict()) tensors["model." + name] = value;
  for (const auto& [name, value] : optimizer_.state_dict()) tensors["optimizer." + name] = value;
  std::vector<double> points;
  for (const Point& p : history_) points.insert(points.end(), {p.step, p.loss, p.accuracy});
  tensors["history"] = tensor(points, {static_cast<std::int64_t>(history_.size()), 3}, float64);
  save_safetensors(path, tensors,
                   {{"course", course(options_)},
                    {"random", text(default_generator().state())},
                    {"data", text(task_.random().state())}});
}

void Trainer::load(const std::string& path) {
  const File file(path);
  if (file.course() != course(options_))
    throw ValueError(path + ": was written under other options: " + difference(file.course(), course(options_)));
  std::map<std::string, Tensor> model, optimizer;
  for (const auto& [name, value] : file.content.tensors) {
    if (name.rfind("model.", 0) == 0)
      model[name.substr(6)] = value;
    else if (name.rfind("optimizer.", 0) == 0)
      optimizer[name.substr(10)] = value;
  }
  const std::optional<RandomKey> random = key_from(file.entry("random")), data = key_from(file.entry("data"));
  if (!random || !data) file.none("malformed random state");
  const Tensor points = file.history();
  const auto before = optimizer_.state_dict();
  optimizer_.load_state_dict(optimizer);
  try {
    if (points.size(0) != step() || step() > options_.steps) file.none("a history of another length");
    model_.load_state_dict(model);
  } catch (...) {
    optimizer_.load_state_dict(before);
    throw;
  }
  default_generator().set_state(*random);
  task_.random().set_state(*data);
  history_.clear();
  const std::vector<double> values = points.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); i += 3) history_.push_back({values[i], values[i + 1], values[i + 2]});
}

CheckpointInfo checkpoint_info(const std::string& path) {
  const File file(path);
  return {file.course(), file.history().size(0), steps_of(file.course())};
}

}  // namespace reformer_copy
