// Models and threads: each thread its own model, one model for all that only read it, a backward pass elsewhere. The
// thread sanitizer runs these.

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

struct Classifier : nn::Module {
  nn::Embedding& token = child<nn::Embedding>("token", 17, 32);
  nn::TransformerEncoder& blocks = child<nn::TransformerEncoder>(
      "blocks", 2, 32, 4, nn::TransformerOptions{.d_ff = 64, .dropout = 0, .pre_norm = true});
  nn::GRU& recurrent = child<nn::GRU>("recurrent", 32, 32);
  nn::Linear& head = child<nn::Linear>("head", 32, 5);

  Tensor operator()(const Tensor& tokens) { return head(recurrent(blocks(token(tokens))).output); }
};

struct Batch {
  Tensor tokens, classes;
  explicit Batch(std::uint64_t seed) {
    Generator g(seed);
    tokens = randint(0, 17, {8, 24}, g);
    classes = randint(0, 5, {8, 24}, g);
  }
};

std::unique_ptr<Classifier> classifier(std::uint64_t seed) {
  manual_seed(seed);
  return std::make_unique<Classifier>();
}

void train(Classifier& model, std::uint64_t seed) {
  optim::AdamW opt(model.parameters(), {.lr = 0.01});
  for (std::uint64_t i = 0; i < 4; ++i) {
    const Batch batch(10 * seed + i);
    cross_entropy(model(batch.tokens), batch.classes).backward();
    optim::clip_grad_norm(model.parameters(), 1);
    opt.step();
  }
}

Values weights(const Classifier& model) {
  Values all;
  for (const Tensor& p : model.parameters())
    for (const double v : values(p)) all.push_back(v);
  return all;
}

/// While it lives, loops may run on two threads.
class TwoThreads {
 public:
  TwoThreads() { set_num_threads(2); }
  ~TwoThreads() { set_num_threads(before_); }
  TwoThreads(const TwoThreads&) = delete;
  TwoThreads& operator=(const TwoThreads&) = delete;

 private:
  int before_ = num_threads();
};

}  // namespace

TEST_CASE("threads and models: two threads train two models, each as if alone") {
  const TwoThreads two;
  std::vector<Values> want;
  std::vector<std::unique_ptr<Classifier>> models;
  for (std::uint64_t i = 0; i < 2; ++i) {
    const auto alone = classifier(i);
    train(*alone, i);
    want.push_back(weights(*alone));
    models.push_back(classifier(i));
  }
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 2; ++i) threads.emplace_back([&model = *models[i], i] { train(model, i); });
  for (std::thread& t : threads) t.join();
  for (std::size_t i = 0; i < 2; ++i) CHECK(weights(*models[i]) == want[i]);
}

TEST_CASE("threads and models: four threads share one under NoGrad") {
  const TwoThreads two;
  const auto model = classifier(3);
  std::vector<Values> want;
  const auto predict = [&model](std::uint64_t seed) {
    const NoGrad off;
    return values((*model)(Batch(seed).tokens));
  };
  for (std::uint64_t i = 0; i < 4; ++i) want.push_back(predict(i));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) wrong += predict(i) != want[i];
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("threads and models: the backward pass on another thread than the forward pass") {
  const TwoThreads two;
  const Batch batch(4);
  const auto gradients = [](const Classifier& model) {
    std::vector<Values> all;
    for (const Tensor& p : model.parameters()) all.push_back(values(p.grad()));
    return all;
  };
  const auto here = classifier(4), there = classifier(4);
  cross_entropy((*here)(batch.tokens), batch.classes).backward();
  {
    Tensor loss = cross_entropy((*there)(batch.tokens), batch.classes);
    std::thread([loss = std::move(loss)] { loss.backward(); }).join();
  }
  CHECK(gradients(*there) == gradients(*here));

  // A pipeline: one thread's forward passes, another's backward passes, of graphs that share no parameters.
  const auto a = classifier(5), b = classifier(5);
  Tensor loss_a = cross_entropy((*a)(batch.tokens), batch.classes);
  std::thread other([loss = std::move(loss_a)]() mutable {
    loss.backward();
    loss = Tensor();  // the graph dies here
  });
  const Tensor loss_b = cross_entropy((*b)(batch.tokens), batch.classes);
  other.join();
  loss_b.backward();
  CHECK(gradients(*a) == gradients(*b));
}

}  // namespace attune::tests
