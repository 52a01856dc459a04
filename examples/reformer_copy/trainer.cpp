#include "examples/reformer_copy/trainer.h"

#include <fmt/format.h>

#include "autograd/autograd.h"
#include "examples/support/progress.h"

namespace reformer_copy {

using namespace attune;

namespace {

constexpr double largest_norm = 1;  // of the joint gradient

nn::ReformerConfig seeded_config(const Options& o) {
  manual_seed(o.seed);  // before the weights are drawn
  return model_config(o);
}

std::string text(RandomKey k) { return fmt::format("{} {}", k.seed, k.counter); }

RandomKey key_from(const std::string& s) {
  RandomKey k;
  if (std::sscanf(s.c_str(), "%lu %lu", &k.seed, &k.counter) != 2)
    throw FileError("checkpoint: malformed random state \"" + s + "\"");
  return k;
}

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
      task_(o, o.seed + 1'000'003) {}

nn::ReformerCall Trainer::call(Hashes hashes) {
  nn::ReformerCall c;
  c.attention.resize(static_cast<std::size_t>(options_.layers));
  for (std::size_t i = 0; i < c.attention.size(); ++i) {
    c.attention[i].full = hashes == 0;
    if (hashes > 0) model_.lsh_attention(i).options.hashes = hashes;
  }
  return c;
}

bool Trainer::run(const std::string& checkpoint) {
  model_.train();
  const nn::ReformerCall attention = call(options_.full ? 0 : options_.hashes);
  const double tokens_per_step = static_cast<double>(options_.batch * options_.accumulate * options_.length);
  examples::Progress progress(options_.steps, step());
  while (step() < options_.steps) {
    Point p{static_cast<double>(step() + 1), 0, 0};
    const double share = 1.0 / static_cast<double>(options_.accumulate);
    for (std::int64_t i = 0; i < options_.accumulate; ++i) {
      const Tensor tokens = task_.batch(options_.batch);
      const Tensor logits = model_(tokens, attention);
      const Tensor loss = model_.loss(logits, task_.labels(tokens));
      (loss * share).backward();
      p.loss += share * loss.item();
      p.accuracy += share * task_.accuracy(logits, tokens);
    }
    optim::clip_grad_norm(model_.parameters(), largest_norm);
    optimizer_.step();
    history_.push_back(p);
    progress.show(step(), tokens_per_step, "tokens",
                  fmt::format("loss {:.4f}  accuracy {:5.1f} %", p.loss, 100 * p.accuracy));
    const bool stop = examples::interrupted();
    if (stop || step() % options_.save_every == 0 || step() == options_.steps) save(checkpoint);
    if (stop && step() < options_.steps) {
      progress.finish();
      return false;
    }
  }
  progress.finish();
  seconds_ = progress.seconds();
  return true;
}

double Trainer::evaluate(Hashes hashes, int batches) {
  const NoGrad off;
  model_.eval();
  Task fresh(options_, options_.seed + 2'000'003);
  const nn::ReformerCall attention = call(hashes);
  double sum = 0;
  for (int i = 0; i < batches; ++i) {
    const Tensor tokens = fresh.batch(64);
    sum += fresh.accuracy(model_(tokens, attention), tokens);
  }
  return sum / batches;
}

void Trainer::save(const std::string& path) const {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, value] : model_.state_dict()) tensors["model." + name] = value;
  for (const auto& [name, value] : optimizer_.state_dict()) tensors["optimizer." + name] = value;
  std::vector<double> points;
  for (const Point& p : history_) points.insert(points.end(), {p.step, p.loss, p.accuracy});
  tensors["history"] = tensor(points, {static_cast<std::int64_t>(history_.size()), 3}, float64);
  save_safetensors(path, tensors,
                   {{"course", course(options_)},
                    {"random", text(default_generator().state())},
                    {"data", text(const_cast<Trainer*>(this)->task_.random().state())}});
}

void Trainer::load(const std::string& path) {
  const SafetensorsFile file = load_safetensors(path);
  const auto entry = [&](const char* name) {
    const auto at = file.metadata.find(name);
    if (at == file.metadata.end()) throw FileError(path + ": is no checkpoint of this program (no \"" + name + "\")");
    return at->second;
  };
  if (entry("course") != course(options_))
    throw ValueError(path + ": was written under other options\n  checkpoint: " + entry("course") +
                     "\n  now:        " + course(options_));
  std::map<std::string, Tensor> model, optimizer;
  for (const auto& [name, value] : file.tensors) {
    if (name.rfind("model.", 0) == 0)
      model[name.substr(6)] = value;
    else if (name.rfind("optimizer.", 0) == 0)
      optimizer[name.substr(10)] = value;
  }
  const RandomKey random = key_from(entry("random")), data = key_from(entry("data"));
  model_.load_state_dict(model);
  optimizer_.load_state_dict(optimizer);
  default_generator().set_state(random);
  task_.random().set_state(data);
  history_.clear();
  const std::vector<double> points = file.tensors.at("history").to_vector<double>();
  for (std::size_t i = 0; i + 2 < points.size(); i += 3) history_.push_back({points[i], points[i + 1], points[i + 2]});
}

}  // namespace reformer_copy
