// The tensors of a recording: each once, however many hold it, and whole as far as the budget goes.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "autograd/trace/recording.h"

namespace attune {

class Values {
 public:
  Values(Recording& recording, std::int64_t budget) : recording_(recording), budget_(budget) {}

  /// The number of x among the recording's values; -1 if it is undefined. Until settle() the elements may not change.
  int add(const Tensor& x);
  std::vector<int> add(const Tensors& xs);
  /// Keeps part of a value whatever its size: "[0, :4]". Throws ValueError if the text is no such part of it.
  void keep_slice(int value, const std::string& slice);
  /// Copies what is to stay whole, smallest first until the budget is spent, and forgets the rest.
  void settle();

 private:
  Recording& recording_;
  std::int64_t budget_;
  std::unordered_map<const void*, std::vector<int>> by_place_;  // of what was added since settle()
  std::vector<Tensor> added_;                                   // keeps their places theirs
};

/// "[0, 1:3, -1]" of x: the part that such text names, as by index(). Throws ValueError.
Tensor part_of(const Tensor& x, const std::string& slice, Here here = Here::current());

}  // namespace attune
