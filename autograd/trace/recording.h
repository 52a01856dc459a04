// Recording: backward passes of a program as plain values, with the forward passes that led to them: what a trace file
// holds and a page shows. docs/trace.md has the JSON that stands for it in both.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape/tape.h"
#include "autograd/tape/tracing.h"
#include "autograd/tensor/tensor.h"

namespace attune {

/// What can be said of a tensor of any size. Of integers and flags too, as numbers.
struct Summary {
  double min = 0, max = 0, mean = 0, std = 0,
         norm = 0;  ///< of the finite elements; std divides by n, norm is the 2-norm
  std::int64_t zeros = 0, nans = 0, infinities = 0;
  double histogram_low = 0, histogram_high = 0;
  /// Not counted yet in a recording's values that are whole, nor is their picture drawn: summarise() does both.
  /// At most 32 bins of equal width over [low, high], of the finite ones among at most 4096 elements from all over.
  std::vector<std::int64_t> histogram;
  std::int64_t picture_rows = 0, picture_columns = 0;
  std::vector<float> picture;  ///< means over a grid of at most 32 x 32 cells, last axis across, the others down
};

Summary summarise(const Tensor& x);

/// A tensor that was recorded.
struct RecordedValue {
  Shape shape;
  DType dtype = DType::float32;
  Summary summary;
  Tensor whole;                                        ///< undefined if the budget did not reach it
  std::vector<std::pair<std::string, Tensor>> slices;  ///< what was asked for: "[0, :4]" and its elements
};

/// A level of the call stack: see CallSite.
struct RecordedCall {
  std::string module, name, site;
};

/// A tensor argument of a node.
struct RecordedInput {
  std::string name;  ///< what the operation calls it: "a"
  int node = -1;     ///< whose output it is; -1: a constant
  std::uint32_t slot = 0;
  int value = -1;  ///< index into Recording::values; -1: not known
  bool differentiable = false;
  std::string rule;   ///< "da = b dy"
  std::string words;  ///< '\n' between the words that name the positions of its length axis, if somebody named them
};

/// A node of the tape: an operation, or a leaf.
struct RecordedNode {
  std::uint64_t sequence = 0;
  std::string operation;  ///< "matmul"; "leaf"
  std::string label;      ///< "w", "encoder.layers.0.weight", "%3"
  bool leaf = false;
  std::string module;                                          ///< "encoder.layers.0"; "" outside of modules
  std::vector<RecordedCall> stack;                             ///< outermost first
  std::string site;                                            ///< the user's line, "learn.cpp:53"
  std::string rule;                                            ///< as one text
  std::vector<std::pair<std::string, std::string>> arguments;  ///< those that are no tensors: {"axis", "-1"}
  std::vector<RecordedInput> inputs;
  std::vector<int> outputs;                        ///< values
  std::vector<std::pair<std::string, int>> saved;  ///< what it calls them, values
  std::string check;  ///< its rule beside finite differences, "right: 12 elements": see NodeCheck; "" if not compared
  int parts = -1;     ///< of a fused operation: index into Recording::parts of its composed form; -1: none
};

/// A gradient that came to a node.
struct RecordedArrival {
  int from = -1;  ///< the node that sent it; -1: where the pass began
  int input = 0;
  int slot = 0;
  int value = -1, sum = -1;  ///< values; `sum` with those before
  int k = 1, n = 1;          ///< the k-th of n for that output
};

/// What grad() of a leaf was before and after: values, -1 if undefined.
struct RecordedChange {
  int slot = 0;
  int before = -1, after = -1;
};

/// A step of the backward pass.
struct RecordedStep {
  int node = 0;
  std::vector<RecordedArrival> arrivals;
  std::vector<int> received, returned, sent;  ///< values, -1 where there is none
  std::vector<RecordedChange> grads;
};

/// A parameter before and after an optimiser, or whoever it was, changed it.
struct RecordedUpdate {
  int node = 0;
  int before = -1, after = -1, change = -1;
  double ratio = 0;  ///< norm of the change over norm of the parameter before
};

/// A backward pass, and the forward pass that led to it.
struct RecordedPass {
  std::int64_t number = 0;          ///< which backward pass of the program, from 1
  std::string site;                 ///< of the call of backward()
  int root = 0;                     ///< the node that it began at
  double loss = 0;                  ///< NaN unless the root has one element
  std::string error;                ///< what ended it early; "" if it ran to its end
  std::vector<RecordedNode> nodes;  ///< in order of execution
  std::vector<RecordedStep> steps;  ///< in order
  std::vector<RecordedUpdate> updates;
};

/// What is kept of every pass, recorded in full or not.
struct RecordedProgress {
  std::int64_t number = 0;
  double loss = 0;
  std::map<std::string, double> gradient_norms;  ///< by parameter
  std::map<std::string, double> update_ratios;   ///< by parameter: |change| / |parameter|, once the next pass begins
};

/// Passes of a program, with what they share.
struct Recording {
  std::string program;  ///< its name
  std::vector<RecordedPass> passes;
  std::vector<RecordedPass> parts;  ///< composed forms of fused nodes: tapes of their own, with steps
  std::vector<RecordedProgress> progress;
  std::vector<RecordedValue> values;
  std::map<std::string, std::map<int, std::string>> sources;  ///< by file: the lines around those that were named
  std::int64_t summarised = 0;                                ///< how many values are not whole, because of the budget
};

}  // namespace attune
