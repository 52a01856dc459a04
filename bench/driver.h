// What the programs of the comparison share: one list of workloads each, under the same names, timed by Google
// Benchmark, or run once for its results or its memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// A loss or a gradient, by a name that all sides use.
using Results = std::vector<std::pair<std::string, std::vector<float>>>;

struct Job {
  std::function<void()> step;        ///< what is timed
  std::function<Results()> results;  ///< one step's loss and gradients from the given start; empty: nothing to compare
  std::function<void()> touch;  ///< for memory: the smallest step after which parameters, gradients and states exist
};

struct Workload {
  std::string name;
  std::function<Job()> make;
  std::int64_t items = 1;  ///< tokens or operations that a step handles: times are given by item
};

/// The main program. Google Benchmark's options, or one of
///   --save DIR NAME...   writes each workload's results to DIR/NAME.f32, with '/' in the name as '-'
///   --memory NAME        prints the resident bytes before the first whole step and at the peak of three
///   --first-gradient     prints one small gradient and ends
/// `library` is stamped on the results with the BLAS in use and the number of threads.
int run(int argc, char** argv, const std::string& library, const std::vector<Workload>& workloads,
        double (*first_gradient)());

}  // namespace bench
