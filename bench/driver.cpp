#include "bench/driver.h"

#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <thread>

namespace bench {

namespace {

/// A function that one of the loaded libraries may have: every side is asked about the BLAS and the OpenMP it runs on.
template <class F>
F* loaded(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_DEFAULT, name));
}

std::string blas_in_use() {
  auto* config = loaded<char*()>("openblas_get_config");
  auto* core = loaded<char*()>("openblas_get_corename");
  if (!config || !core) return "unknown";
  auto* parallel = loaded<int()>("openblas_get_parallel");
  const std::string text = config();  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  const char* threads[] = {"sequential", "pthreads", "OpenMP"};
  return text.substr(0, text.find(' ', text.find(' ') + 1)) + " " + core() + " " +
         (parallel ? threads[parallel() % 3] : "");
}

std::string openmp_threads() {
  auto* threads = loaded<int()>("omp_get_max_threads");
  return threads ? std::to_string(threads()) : "unknown";
}

/// Keeps this thread on one of the cores that it may use, while it lives.
class OnCore {
 public:
  explicit OnCore(int core) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(core), &one);
    sched_getaffinity(0, sizeof before_, &before_);
    sched_setaffinity(0, sizeof one, &one);
  }
  ~OnCore() { sched_setaffinity(0, sizeof before_, &before_); }
  OnCore(const OnCore&) = delete;
  OnCore& operator=(const OnCore&) = delete;

 private:
  cpu_set_t before_;
};

std::vector<int> usable_cores() {
  cpu_set_t all;
  CPU_ZERO(&all);
  sched_getaffinity(0, sizeof all, &all);
  std::vector<int> cores;
  for (unsigned i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(i, &all)) cores.push_back(static_cast<int>(i));
  return cores;
}

/// Nanoseconds of a cache line's way from the first usable core to the second and back, the quickest of many; 0 with
/// one core. A virtual machine's host moves its cores, and the way from one die to another is four times that on one.
double round_trip() {
  using Clock = std::chrono::steady_clock;
  const std::vector<int> cores = usable_cores();
  if (cores.size() < 2) return 0;
  alignas(64) std::atomic<int> ball{0};  // odd: the other's turn; negative: the end
  std::thread other([&ball, &cores] {
    const OnCore there(cores[1]);
    for (int seen = ball; seen >= 0; seen = ball)
      if (seen % 2 == 1) ball = seen + 1;
  });
  const OnCore here(cores[0]);
  double least = std::numeric_limits<double>::infinity();
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(10);
  for (int at = 0; at == 0 || Clock::now() < end;) {
    constexpr int trips = 64;
    const Clock::time_point began = Clock::now();
    for (const int last = at + 2 * trips; at < last; at += 2) {
      ball = at + 1;
      while (ball != at + 2) {
      }
    }
    least = std::min(least, std::chrono::duration<double, std::nano>(Clock::now() - began).count() / trips);
  }
  ball = -1;
  other.join();
  return least;
}

const Workload& find(const std::vector<Workload>& workloads, const std::string& name) {
  for (const Workload& w : workloads)
    if (w.name == name) return w;
  throw std::runtime_error("there is no workload " + name);
}

/// A line of names and counts, then the elements.
void save(const std::string& directory, const Workload& workload) {
  std::string file = workload.name;
  std::replace(file.begin(), file.end(), '/', '-');
  const std::string path = directory + "/" + file + ".f32";
  std::ofstream out(path, std::ios::binary);
  const Results results = workload.make().results();
  for (const auto& [name, values] : results) out << name << ' ' << values.size() << ' ';
  out << '\n';
  for (const auto& [name, values] : results)
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!out.flush()) throw std::runtime_error(path + ": cannot be written");
}

/// "VmRSS" or "VmHWM" (its peak) of this process, in bytes.
std::int64_t resident(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return 1024 * std::stoll(line.substr(std::strlen(field) + 1));
  throw std::runtime_error("/proc/self/status has no " + std::string(field));
}

void print_memory(const Workload& workload) {
  const Job job = workload.make();
  if (job.touch) job.touch();
  const std::int64_t before = resident("VmRSS");
  for (int i = 0; i < 3; ++i) job.step();
  std::printf("{\"before\": %lld, \"peak\": %lld}\n", static_cast<long long>(before),
              static_cast<long long>(resident("VmHWM")));
}

void time(benchmark::State& state, const Workload& workload, std::unique_ptr<Job>& job) {
  if (!job) {
    job = std::make_unique<Job>(workload.make());
    job->step();  // memory is fresh and code unread the first time
  }
  for (auto _ : state) job->step();
  state.counters["items"] = static_cast<double>(workload.items);
}

int run_or_throw(int argc, char** argv, const std::string& library, const std::vector<Workload>& workloads,
                 double (*first_gradient)()) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "--first-gradient") {
    std::printf("%g\n", first_gradient());
    return 0;
  }
  if (mode == "--save" && argc > 2) {
    for (int i = 3; i < argc; ++i) save(argv[2], find(workloads, argv[i]));
    return 0;
  }
  if (mode == "--memory" && argc == 3) {
    print_memory(find(workloads, argv[2]));
    return 0;
  }
  std::unique_ptr<Job> job;  // of the workload that ran last
  const Workload* owner = nullptr;
  for (const Workload& w : workloads)
    benchmark::RegisterBenchmark(w.name.c_str(), [&w, &job, &owner](benchmark::State& state) {
      if (owner != &w) job.reset();
      owner = &w;
      time(state, w, job);
    })->UseRealTime();
  benchmark::AddCustomContext("library", library);
  benchmark::AddCustomContext("blas", blas_in_use());
  benchmark::AddCustomContext("threads", openmp_threads());
  benchmark::AddCustomContext("round_trip", std::to_string(round_trip()));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace

int run(int argc, char** argv, const std::string& library, const std::vector<Workload>& workloads,
        double (*first_gradient)()) {
  try {
    return run_or_throw(argc, argv, library, workloads, first_gradient);
  } catch (const std::exception& e) {
    std::cerr << argv[0] << ": " << e.what() << "\n";
    return 1;
  }
}

}  // namespace bench
