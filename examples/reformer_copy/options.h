// What reformer_copy can be told.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "nn/models/reformer.h"

namespace reformer_copy {

struct Options {
  std::int64_t length = 128;   // of `0 w 0 w`
  std::int64_t symbols = 127;  // w is drawn from 1..symbols
  std::int64_t batch = 32;
  std::int64_t d_model = 128;
  std::int64_t d_ff = 256;
  std::int64_t heads = 4;
  std::int64_t layers = 1;
  std::int64_t hashes = 4;
  std::int64_t chunk = 16;
  std::int64_t axial_rows = 0;    // 0: one row a position, a plain table of learned positions
  std::string variant = "paper";  // of LSH attention
  bool full = false;              // attend to everything while training
  bool keep_activations = false;  // ordinary instead of reversible execution
  double dropout = 0;
  double lr = 1e-3;
  std::int64_t warmup = 50;
  std::int64_t steps = 1000;
  std::int64_t accumulate = 1;  // batches to a step
  std::int64_t seed = 0;
  std::int64_t threads = 0;  // 0: as many as there are cores
  std::string out = "reformer_copy_out";
  std::int64_t save_every = 200;
  std::string checkpoint = "checkpoint.safetensors";  // in `out`
  bool resume = false;
  bool table = false;
  bool paper = false;
};

/// From the command line. Prints help (and exits with 0) or refuses what is wrong.
Options parse(int argc, char** argv);

/// Says on stderr, in a line, what is wrong with what was asked for, and ends the program with exit code 2.
[[noreturn]] void refuse(const std::string& what);

/// f(), whose exceptions are refusals.
template <class F>
auto or_refuse(F&& f) {
  try {
    return f();
  } catch (const std::exception& e) {
    refuse(e.what());
  }
}

attune::nn::ReformerConfig model_config(const Options& o);
std::string checkpoint_path(const Options& o);

/// Everything that decides the course of training, as text: "length 128 symbols 127 ...". A checkpoint of another
/// course is refused.
std::string course(const Options& o);
std::int64_t steps_of(const std::string& course);  ///< 0 if it does not say
/// How two of them differ: "--lr 0.001 there and 0.01 here".
std::string difference(const std::string& there, const std::string& here);

}  // namespace reformer_copy
