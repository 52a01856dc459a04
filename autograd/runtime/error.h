// The exceptions that Attune throws. Every message begins with the operation (or file) and ends with the call site:
//
//     matmul: inner sizes differ: [8, 256] x [128, 64] (256 != 128)
//       at train.cpp:42
#pragma once

#include <stdexcept>
#include <string>

#include "autograd/runtime/here.h"

namespace attune {

/// The base of all of Attune's exceptions.
class Error : public std::runtime_error {
 public:
  /// `message` without the call site, which is appended if `here` has a line.
  explicit Error(const std::string& message, Here here = {});
  Here where() const { return here_; }

 private:
  Here here_;
};

/// Sizes, ranks or axes that do not fit.
class ShapeError : public Error {
  using Error::Error;
};
/// Element types that an operation does not take.
class DTypeError : public Error {
  using Error::Error;
};
/// An index outside its axis, also inside an index tensor.
class IndexError : public Error {
  using Error::Error;
};
/// Any other argument outside its range; bad options.
class ValueError : public Error {
  using Error::Error;
};
/// Misuse of the tape: freed graphs, changed saved tensors, ...
class GradError : public Error {
  using Error::Error;
};
/// The memory budget is exhausted, or the system's memory.
class MemoryError : public Error {
  using Error::Error;
};
/// A file that is missing, unreadable, malformed or unwritable.
class FileError : public Error {
  using Error::Error;
};
/// Anomaly mode met the first NaN or infinity.
class AnomalyError : public Error {
  using Error::Error;
};

}  // namespace attune
