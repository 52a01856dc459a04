// Python's pickles as PyTorch writes them, read without running anything.
//
// A pickle is a program for a machine with a stack, whose instructions may call any function of Python. This reader has
// the instructions that make numbers, texts and containers. Of functions it knows those by which PyTorch rebuilds
// tensors, as values of their own; any other name is an error before anything is done with it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "autograd/io/file.h"

namespace attune::io {

struct PickleValue;
/// Values are owned by their Pickle: containers may hold themselves, and nesting has no depth that matters.
using PickleRef = PickleValue*;

struct PickleNone {};
struct PickleTuple {
  std::vector<PickleRef> items;
};
struct PickleList {
  std::vector<PickleRef> items;
};
struct PickleDict {
  std::vector<std::pair<PickleRef, PickleRef>> items;
};
/// A function or class by its name, one that is known.
struct PickleGlobal {
  std::string name;  ///< "torch._utils._rebuild_tensor_v2"
};
struct PickleStorage {
  std::string dtype;  ///< PyTorch's name; "" for bytes whose tensors say what they are
  std::string key;    ///< of its member in the archive
  std::int64_t numel = 0;
};
struct PickleTensor {
  PickleStorage storage;
  std::string dtype;
  std::int64_t offset = 0;  ///< in elements, as the strides
  std::vector<std::int64_t> sizes{}, strides{};
};

struct PickleValue {
  std::variant<PickleNone, bool, std::int64_t, double, std::string, PickleTuple, PickleList, PickleDict, PickleGlobal,
               PickleStorage, PickleTensor>
      value;
};

class Pickle {
 public:
  /// Reads the whole program; `file` is the archive, which errors name. Throws FileError.
  Pickle(const Input& file, std::string_view program);
  Pickle(const Pickle&) = delete;
  Pickle& operator=(const Pickle&) = delete;
  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  PickleRef root_ = nullptr;
};

}  // namespace attune::io
