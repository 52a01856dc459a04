#include "nn/training/run.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "autograd/autograd.h"
#include "autograd/io/safetensors.h"
#include "nn/layers/linear.h"
#include "nn/models/gpt2.h"
#include "nn/training/interrupts.h"
#include "nn/weight_average.h"
#include "optim/optim.h"

using namespace attune;
namespace fs = std::filesystem;

namespace {

/// An empty directory, gone at the end.
struct Folder {
  Folder() : path(fs::temp_directory_path() / ("attune-run-" + std::to_string(getpid()))) { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
  std::string str() const { return path.string(); }
  fs::path path;
};

std::string text_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing thrown";
}

nn::RunOptions quiet(std::int64_t steps, bool resume = false) {
  nn::RunOptions o{.steps = steps, .save_every = 2, .resume = resume};
  o.progress = false;
  o.hint = "";
  return o;
}

/// A regression whose data, weights, averages and dropout all have a state.
struct Script {
  explicit Script(const std::string& directory, const nn::RunOptions& o) : run(directory, o) {
    run.track("model", model);
    run.track("optimizer", opt);
    run.track("average", average);
    run.track("data", data);
  }
  void step() {
    const Tensor x = randn({4, 3}, float32, data);
    const Tensor loss = mean(square(model(dropout(x, 0.25)) - sum(x, {1}, true)));
    loss.backward();
    opt.step();
    average.update();
    run.log({{"loss", loss.item()}});
    if (run.every(3)) run.log({{"validation", static_cast<double>(10 - run.step())}});
  }
  void train(std::int64_t until = 1000) {
    while (run.next()) {
      step();
      if (run.step() == until) return;  // as if the process ended here
    }
  }
  nn::Run run;
  bool seeded = (manual_seed(5), true);
  nn::Linear model{3, 1};
  optim::AdamW opt{model.parameters(), {.lr = 1e-2}};
  nn::WeightAverage average{model, {.decay = 0.9}};
  Generator data{17};
};

}  // namespace

TEST_CASE("a run that is resumed ends with the bits of one that never stopped") {
  const Folder whole, broken;
  const std::string other = broken.str() + "-broken";
  {
    Script s(whole.str(), quiet(9));
    s.train();
    CHECK(s.run.finished());
    CHECK(s.run.exit_code() == 0);
  }
  {
    Script s(other, quiet(9));
    s.train(6);  // saved after step 4, and dead in step 6, whose end was never reached
  }
  {
    Script s(other, quiet(9, true));
    s.train();
    CHECK(s.run.history("loss").size() == 9);
    CHECK(s.run.history("validation") == nn::Series{{3, 7}, {6, 4}, {9, 1}});
  }
  CHECK(text_of(whole.path / "checkpoint.safetensors") == text_of(other + "/checkpoint.safetensors"));
  const std::string csv = text_of(other + "/metrics.csv");
  CHECK(csv.starts_with("step,seconds,loss,validation\n1,"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 10);
  fs::remove_all(other);
}

TEST_CASE("the last checkpoints and the best one are kept") {
  const Folder folder;
  nn::RunOptions o = quiet(9);
  o.keep = 3;
  o.best = "validation";
  Script s(folder.str(), o);
  s.train();
  std::vector<std::string> names;
  for (const auto& each : fs::directory_iterator(folder.path)) names.push_back(each.path().filename().string());
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{".attune.lock", "best.safetensors", "checkpoint-step6.safetensors",
                                          "checkpoint-step8.safetensors", "checkpoint.safetensors",
                                          "events.out.tfevents.attune", "metrics.csv"});
  CHECK(nn::checkpoint_info(folder.str() + "/best.safetensors").step == 9);
  CHECK(nn::checkpoint_info(folder.str() + "/checkpoint-step6.safetensors").step == 6);
  nn::Linear model(3, 1);
  CHECK(nn::load_from_checkpoint(folder.str(), "model", model).step == 9);
  CHECK(all(eq(model.weight, s.model.weight)));
  CHECK(message_of([&] {
          nn::load_from_checkpoint(folder.str(), "decoder", model);
        }).find("best.safetensors: has no \"decoder\" but \"average\", \"data\"") != std::string::npos);
}

TEST_CASE("a damaged checkpoint is refused, and the one before is offered and resumes") {
  const Folder folder;
  nn::RunOptions o = quiet(9);
  o.keep = 2;
  Script(folder.str(), o).train(7);
  const std::string last = folder.str() + "/checkpoint.safetensors";
  CHECK(nn::checkpoint_info(last).step == 6);
  std::string bytes = text_of(last);
  bytes[bytes.size() - 3] ^= 1;
  std::ofstream(last, std::ios::binary) << bytes;
  o.resume = true;
  const std::string what = message_of([&] { Script(folder.str(), o); });
  CHECK(what.find("checkpoint.safetensors") != std::string::npos);
  CHECK(what.find("the one before, " + folder.str() + "/checkpoint-step4.safetensors, is of step 4") !=
        std::string::npos);
  const std::string before = folder.str() + "/checkpoint-step4.safetensors", sound = text_of(before);
  std::ofstream(before, std::ios::binary) << "torn";
  CHECK(message_of([&] { Script(folder.str(), o); }).find("the one before") == std::string::npos);
  std::ofstream(before, std::ios::binary) << sound;
  fs::remove(last);
  Script s(folder.str(), o);
  s.train();
  CHECK(s.run.finished());
}

TEST_CASE("a best checkpoint is offered where no other is sound") {
  const Folder folder;
  nn::RunOptions o = quiet(9);
  o.keep = 1;
  o.best = "validation";
  Script(folder.str(), o).train(7);
  std::ofstream(folder.path / "checkpoint.safetensors", std::ios::binary) << "torn";
  o.resume = true;
  const std::string best = folder.str() + "/best.safetensors";
  CHECK(message_of([&] { Script(folder.str(), o); }).find("the best one, " + best + ", is of step 6") !=
        std::string::npos);
  fs::copy_file(best, folder.path / "checkpoint.safetensors", fs::copy_options::overwrite_existing);
  Script s(folder.str(), o);
  s.train();
  CHECK(s.run.finished());
  CHECK(s.run.history("loss").size() == 9);
}

TEST_CASE("runs of several names share a directory, each with its own files") {
  const Folder folder;
  for (const char* name : {"a", "b"}) {
    nn::RunOptions o = quiet(3);
    o.name = name;
    Script s(folder.str(), o);
    s.train();
    CHECK(s.run.path() == folder.str() + "/" + name + ".safetensors");
    CHECK(fs::exists(folder.path / name / "events.out.tfevents.attune"));
    CHECK(fs::exists(folder.path / (std::string(name) + ".csv")));
  }
  nn::RunOptions o = quiet(3);
  o.name = "a";
  Script(folder.str(), o).train();
  for (const char* kept : {"a-1.safetensors", "a-1.csv", "a-1/events.out.tfevents.attune", "b.safetensors"})
    CHECK(fs::exists(folder.path / kept));
  o.name = "../a";
  CHECK_THROWS_AS(nn::Run(folder.str(), o), ValueError);
}

TEST_CASE("names of parts are clear") {
  const Folder folder;
  nn::Run run(folder.str(), quiet(3));
  nn::Linear model(3, 1);
  for (const char* name : {"", "model.ema", "random", "metrics"}) CHECK_THROWS_AS(run.track(name, model), ValueError);
  run.track("model", model);
  CHECK_THROWS_AS(run.track("model", model), ValueError);
  CHECK(run.next());
  CHECK_THROWS_AS(run.track("late", model), ValueError);
  CHECK_THROWS_AS(run.every(0), ValueError);
  CHECK(run.every(1));
  CHECK_FALSE(run.every(2));
  CHECK_THROWS_AS(nn::save_checkpoint(folder.str() + "/c", {nn::checkpoint_part("a.b", model)}, {1, 2, {}, {}}),
                  ValueError);
}

TEST_CASE("a part that does not fit leaves all parts as they were") {
  const Folder folder;
  { Script(folder.str(), quiet(4)).train(); }
  nn::Linear model(3, 1), other(3, 2);
  Generator data(3);
  const Tensor before = clone(model.weight.detach());
  std::vector<nn::CheckpointPart> parts{nn::checkpoint_part("data", data), nn::checkpoint_part("model", model)};
  const std::string path = folder.str() + "/checkpoint.safetensors";
  CHECK(message_of([&] { nn::load_checkpoint(path, parts); }).find("and this run has \"data\", \"model\"") !=
        std::string::npos);
  nn::save_checkpoint(path, {nn::checkpoint_part("data", data), nn::checkpoint_part("model", other)}, {1, 2, {}, {}});
  data.seed(4);
  CHECK(message_of([&] { nn::load_checkpoint(path, parts); }).find("its \"model\" does not fit") != std::string::npos);
  CHECK(all(eq(model.weight, before)));
  CHECK(data.state().seed == 4);
}

TEST_CASE("an unfinished run, other settings and another process's run are refused") {
  const Folder folder;
  nn::RunOptions o = quiet(9);
  o.settings = {{"lr", "0.01"}};
  {
    Script s(folder.str(), o);
    s.train(5);
  }
  CHECK(message_of([&] { Script(folder.str(), o); }).find("is of an unfinished run (step 4 of 9)") !=
        std::string::npos);
  o.settings = {{"lr", "0.02"}};
  o.resume = true;
  CHECK(message_of([&] { Script(folder.str(), o); }).find("lr 0.01 there and 0.02 here") != std::string::npos);
  CHECK(message_of([&] { Script(folder.str() + "/none", o); }).find("cannot be opened") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.path / "none"));
  CHECK_THROWS_AS(nn::Run("", quiet(3)), ValueError);
  CHECK_THROWS_AS(nn::Run(folder.str() + "/x", quiet(0)), ValueError);
}

TEST_CASE("why a run cannot begin: in words of the library, and in parts") {
  const Folder folder;
  using Reason = nn::RunError::Reason;
  const auto error_of = [&](const nn::RunOptions& o) -> nn::RunError {
    try {
      nn::Run run(folder.str(), o);
    } catch (const nn::RunError& e) {
      return e;
    }
    FAIL("nothing thrown");
    std::abort();
  };
  const std::string file = folder.str() + "/checkpoint.safetensors";
  const auto starts = [](const nn::RunError& e, const std::string& text) {
    INFO(e.what());
    CHECK(std::string(e.what()).starts_with(text));
  };
  CHECK_FALSE(nn::Run::exists(folder.str()));
  const nn::RunError nothing = error_of(quiet(9, true));
  CHECK(nothing.reason == Reason::nothing_to_resume);
  starts(nothing, file + ": cannot be opened: there is no checkpoint in " + folder.str() + " to resume from\n");
  { Script(folder.str(), quiet(9, nn::Run::exists(folder.str()))).train(5); }
  CHECK(nn::Run::exists(folder.str()));
  CHECK_FALSE(nn::Run::exists(folder.str(), "other"));

  nn::RunOptions o = quiet(9);
  const nn::RunError unfinished = error_of(o);
  CHECK(unfinished.reason == Reason::unfinished);
  CHECK(unfinished.info.step == 4);
  starts(unfinished, file +
                         ": is of an unfinished run (step 4 of 9); RunOptions::resume continues it, another directory "
                         "leaves it alone\n");
  o.settings = {{"lr", "1"}};
  starts(error_of(o), file + ": is of an unfinished run (step 4 of 9) under other settings (lr ");
  o.resume = true;
  const nn::RunError others = error_of(o);
  CHECK(others.reason == Reason::other_settings);
  starts(others, file + ": was written under other settings: lr ");

  const nn::RunError few = error_of(quiet(3, true));
  CHECK(few.reason == Reason::too_few_steps);
  starts(few, file + ": has 4 steps behind it, more than the 3 that the resumed run is to have\n");
  Script s(folder.str(), quiet(9, nn::Run::exists(folder.str())));
  s.train();
  CHECK(s.run.history("loss").size() == 9);
}

TEST_CASE("measures are of a step") {
  const Folder folder;
  nn::Run run(folder.str(), quiet(2));
  CHECK(message_of([&] { run.log({{"loss", 1}}); }).starts_with("Run: log() before the first next()"));
  while (run.next()) run.log({{"loss", 1}});
  CHECK(message_of([&] { run.log({{"test", 1}}); }).starts_with("Run: log() after the steps"));
  CHECK(run.history("loss").size() == 2);
}

TEST_CASE("a best checkpoint that cannot be is told") {
  const Folder folder;
  nn::RunOptions o = quiet(2);
  o.larger_is_better = true;
  CHECK_THROWS_AS(nn::Run(folder.str(), o), ValueError);
  o.best = "loss";
  nn::Run run(folder.str(), o);
  while (run.next()) run.log({{"loss", std::nan("")}});
  CHECK_FALSE(fs::exists(run.best_path()));
  // What is told is on standard error.
  std::fflush(stderr);
  const int before = dup(2);
  const std::string told = folder.str() + "/told";
  REQUIRE(std::freopen(told.c_str(), "w", stderr) != nullptr);
  {
    o.best = "validation";
    o.name = "other";
    nn::Run other(folder.str(), o);
    while (other.next()) other.log({{"validation", std::nan("")}});
  }
  std::fflush(stderr);
  dup2(before, 2);
  close(before);
  CHECK(text_of(told).find("no \"validation\" that is a number was logged") != std::string::npos);
}

TEST_CASE("a checkpoint of a run is no file of weights, and says what reads it") {
  const Folder folder;
  nn::Gpt2 model({.vocabulary = 11, .positions = 8, .d_model = 12, .heads = 3, .layers = 2});
  nn::Run run(folder.str(), quiet(1));
  run.track("model", model);
  while (run.next()) run.log({{"loss", 1}});
  const std::string told = run.path() + ": is a checkpoint of a training run; nn::load_from_checkpoint(path, ";
  CHECK(message_of([&] { model.load_published(run.path()); }).starts_with(told));
  CHECK(message_of([&] { model.load(run.path()); }).starts_with(told));
  const std::string published = folder.str() + "/published.safetensors";
  model.save_published(published);
  nn::StateDict bare;
  for (const auto& [name, value] : load_safetensors(published).tensors)
    bare[name.starts_with("transformer.") ? name.substr(12) : name] = value;
  save_safetensors(published, bare);
  model.load_published(published);
  CHECK(message_of([&] { model.load(published); }).find("load_published()") != std::string::npos);
}

TEST_CASE("a step that is given up leaves data and random numbers as it found them") {
  const Folder folder;
  Script s(folder.str(), quiet(9));
  CHECK(s.run.next());
  const RandomKey before = s.data.state();
  CHECK_FALSE(s.run.give_up());
  s.data.next();
  nn::catch_interrupts();
  std::raise(SIGTERM);
  CHECK(s.run.give_up());
  CHECK(s.data.state().counter == before.counter);
  CHECK_FALSE(s.run.next());
  CHECK(s.run.interrupted());
  CHECK(s.run.step() == 0);
  CHECK(s.run.exit_code() == 128 + SIGTERM);
  CHECK(nn::checkpoint_info(s.run.path()).step == 0);
  nn::forget_interrupts();
}
