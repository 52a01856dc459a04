#include "nn/training/metrics_log.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

using namespace attune;
namespace fs = std::filesystem;

namespace {

/// A file's name, and the file gone at the end.
struct Csv {
  ~Csv() { fs::remove(path); }
  std::string text() const {
    std::ifstream in(path);
    std::stringstream s;
    s << in.rdbuf();
    return s.str();
  }
  std::string path = fs::temp_directory_path() / ("attune-metrics-" + std::to_string(getpid()) + ".csv");
};

}  // namespace

TEST_CASE("metrics have a line a step and a column a metric, which may come late") {
  const Csv csv;
  nn::MetricsLog log;
  log.open(csv.path, "", -1);
  log.add({{"loss", 2.5}});
  log.end_step(1, 0.5);
  log.end_step(2, 1);
  log.add({{"loss", 2}});
  log.add({{"validation/bits", std::numeric_limits<double>::infinity()}});
  log.end_step(3, 1.5);
  CHECK(csv.text() == "step,seconds,loss,validation/bits\n1,0.500,2.5,\n2,1.000,,\n3,1.500,2,inf\n");
  CHECK(log.series("loss") == nn::Series{{1, 2.5}, {3, 2}});
  CHECK(log.series("accuracy").empty());
}

TEST_CASE("a log goes on after the step that a run resumes from") {
  const Csv csv;
  nn::MetricsLog before;
  before.open(csv.path, "", -1);
  for (std::int64_t step = 1; step <= 3; ++step) {
    before.add({{"loss", static_cast<double>(step)}});
    before.end_step(step, 0);
  }
  std::ofstream(csv.path, std::ios::app) << "4,0.0";  // killed while it wrote
  nn::MetricsLog after;
  after.load_state_dict({{"loss", tensor({1, 1, 2, 2}, {2, 2}, float64)}});
  after.open(csv.path, "", 2);
  after.add({{"accuracy", 1}, {"loss", 7}});
  after.end_step(3, 0);
  CHECK(csv.text() == "step,seconds,loss,accuracy\n1,0.000,1,\n2,0.000,2,\n3,0.000,7,1\n");
  CHECK(after.series("loss") == nn::Series{{1, 1}, {2, 2}, {3, 7}});
}

TEST_CASE("a full disk costs lines, not the log") {
  const Csv csv;
  nn::MetricsLog log;
  log.open(csv.path, "", -1);
  log.add({{"loss", 1}});
  log.end_step(1, 0);
  const std::string before = csv.text();
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit full{before.size() + 3, limit.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &full);
  log.add({{"loss", 2}});
  log.end_step(2, 0);
  setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, handler);
  CHECK(csv.text() == before);
  log.add({{"loss", 3}});
  log.end_step(3, 0);
  CHECK(csv.text() == before + "3,0.000,3\n");
  CHECK(log.series("loss").size() == 3);
}

TEST_CASE("names and states of another form are refused") {
  nn::MetricsLog log;
  for (const char* name : {"", "a,b", "a\nb", "step", "seconds", "verlust\"quote"})
    CHECK_THROWS_AS(log.add({{name, 1}}), ValueError);
  log.add({{"loss", 1}});
  CHECK_THROWS_AS(log.add({{"loss", 2}}), ValueError);
  log.end_step(1, 0);
  for (const nn::StateDict& state : {nn::StateDict{{"loss", zeros({2, 3}, float64)}},
                                     {{"loss", zeros({2, 2}, float32)}},
                                     {{"loss", tensor({2, 1, 2, 1}, {2, 2}, float64)}},
                                     {{"a,b", zeros({0, 2}, float64)}}})
    CHECK_THROWS_AS(log.load_state_dict(state), ValueError);
  CHECK(log.series("loss") == nn::Series{{1, 1}});
  CHECK_THROWS_AS(log.open("/proc/none/metrics.csv", "", -1), FileError);
}
