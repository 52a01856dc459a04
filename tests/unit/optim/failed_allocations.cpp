// A training step that runs out of memory, wherever it does: an exception, nothing half done, and the next step is the
// one that would have been.

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <new>
#include <string>

#include "autograd/runtime/internal/failing_memory.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/failing_new.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

using Everything = std::map<std::string, Values>;

/// A model, its optimiser, and steps that depend on their number alone.
class Training {
 public:
  virtual ~Training() = default;
  void step() {
    manual_seed(100 + static_cast<std::uint64_t>(done_));
    loss().backward();  // all parameters get a gradient or none
    try {
      opt_->step();
    } catch (...) {  // whoever does not try that again has to take back the gradients
      opt_->zero_grad();
      throw;
    }
    ++done_;
  }
  /// Parameters, and all that the optimiser would save.
  Everything everything() const {
    Everything all;
    for (const auto& [name, p] : module().named_parameters()) all["parameter " + name] = values(p);
    for (const auto& [name, x] : opt_->state_dict()) all["optimiser " + name] = values(x);
    return all;
  }

 protected:
  virtual Tensor loss() = 0;
  virtual const nn::Module& module() const = 0;
  void start() { opt_ = std::make_unique<optim::AdamW>(module().parameters(), optim::AdamWOptions{.lr = 0.01}); }

 private:
  std::unique_ptr<optim::Optimizer> opt_;
  int done_ = 0;
};

struct LanguageModel : nn::Module {
  nn::Embedding& token = child<nn::Embedding>("token", 11, 16);
  nn::TransformerEncoder& blocks = child<nn::TransformerEncoder>(
      "blocks", 2, 16, 2, nn::TransformerOptions{.d_ff = 32, .dropout = 0.1, .pre_norm = true});
  nn::Linear& head = child<nn::Linear>("head", 16, 11);
};

class TransformerTraining : public Training {
 public:
  TransformerTraining() { start(); }

 protected:
  Tensor loss() override {
    const Tensor tokens = randint(0, 11, {3, 12});
    return cross_entropy(model_.head(model_.blocks(model_.token(tokens), {.causal = true})), tokens);
  }
  const nn::Module& module() const override { return model_; }

 private:
  LanguageModel model_;
};

nn::ReformerConfig reformer_config() {
  nn::ReformerConfig c;
  c.vocabulary = 13;
  c.d_model = 16;
  c.d_ff = 32;
  c.heads = 2;
  c.layers.assign(2, nn::ReformerAttention::lsh);
  c.lsh.hashes = 2;
  c.lsh.chunk = 4;
  c.axial_rows = c.axial_columns = 4;
  c.axial_row_dim = 8;
  c.dropout = 0.1;
  return c;
}

class ReformerTraining : public Training {
 public:
  ReformerTraining() { start(); }

 protected:
  Tensor loss() override {
    const Tensor tokens = randint(0, 13, {2, 16});
    return model_.loss(model_(tokens), tokens);
  }
  const nn::Module& module() const override { return model_; }

 private:
  nn::Reformer model_{reformer_config()};
};

template <class T>
std::unique_ptr<T> trained(int steps) {
  manual_seed(7);
  auto training = std::make_unique<T>();
  for (int i = 0; i < steps; ++i) training->step();
  return training;
}

/// Step number `before` fails at its n-th allocation, for every n up to 200 and then for some up to its last.
template <class T, class FailAt>
void check_failures(int before, FailAt fail_at) {
  CAPTURE(before);
  const Everything unharmed = trained<T>(before)->everything(), next = trained<T>(before + 1)->everything();
  int failures = 0;
  for (long n = 1;; n += n <= 200 ? 1 : 13) {
    CAPTURE(n);
    const auto training = trained<T>(before);
    bool failed = false;
    fail_at(n);
    try {
      training->step();
    } catch (const MemoryError&) {
      failed = true;
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool came = fail_at(0) == 0;
    if (!failed) {  // std::stable_sort, for one, does without its buffer
      REQUIRE(training->everything() == next);
      if (!came) break;  // the step has fewer allocations
      continue;
    }
    ++failures;
    REQUIRE(training->everything() == unharmed);
    training->step();
    REQUIRE(training->everything() == next);
  }
  CHECK(failures >= 5);
}

template <class T>
void check_all_failures() {
  const int threads = num_threads();
  set_num_threads(2);
  for (const int before : {0, 1}) {
    {
      INFO("the memory of tensors");
      check_failures<T>(before, [](long n) { return detail::fail_allocation(n); });
    }
    INFO("operator new");
    if (new_can_fail) check_failures<T>(before, fail_new);
  }
  set_num_threads(threads);
}

}  // namespace

TEST_CASE("memory: an optimiser's step over both dtypes that fails has changed nothing") {
  if (!new_can_fail) return;
  const auto check = [](const char* name, auto make) {
    CAPTURE(name);
    for (const bool begun : {false, true})
      for (long n = 1;; ++n) {
        CAPTURE(n);
        Generator g(1);
        Tensors parameters;
        for (const DType dtype : {float32, float64, float32})
          parameters.push_back(randn({40, 30}, dtype, g).requires_grad_());
        const auto opt = make(parameters);
        const auto give = [&] {
          for (Tensor& p : parameters) p.set_grad(randn(p.shape(), p.dtype(), g));
        };
        const auto everything = [&] {
          Everything all;
          for (std::size_t i = 0; i < parameters.size(); ++i) all[std::to_string(i)] = values(parameters[i]);
          for (const auto& [key, x] : opt->state_dict()) all["optimiser " + key] = values(x);
          return all;
        };
        give();
        if (begun) opt->step();
        give();
        const Everything before = everything();
        bool failed = false;
        fail_new(n);
        try {
          opt->step();
        } catch (const std::bad_alloc&) {
          failed = true;
        }
        if (fail_new(0) > 0) break;
        REQUIRE(failed);
        REQUIRE(everything() == before);
        CHECK(parameters[1].grad().defined());
      }
  };
  using Parameters = std::vector<Tensor>;
  check("SGD", [](const Parameters& p) { return std::make_unique<optim::SGD>(p, optim::SGDOptions{.momentum = 0.9}); });
  check("AdamW", [](const Parameters& p) { return std::make_unique<optim::AdamW>(p, optim::AdamWOptions{}); });
  check("Adadelta", [](const Parameters& p) { return std::make_unique<optim::Adadelta>(p, optim::AdadeltaOptions{}); });
}

TEST_CASE("memory: a Transformer's training step that fails at any allocation leaves everything as it was") {
  check_all_failures<TransformerTraining>();
}

TEST_CASE("memory: a reversible Reformer's training step that fails at any allocation leaves everything as it was") {
  check_all_failures<ReformerTraining>();
}

}  // namespace attune::tests
