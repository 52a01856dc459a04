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
  /// `message` without the call site, which is appended where `here` has a line.
  explicit Error(const std::string& message, Here here = {});
  Here where() const { return here_; }

 private:
  Here here_;
};

class ShapeError : public Error {
  using Error::Error;
};  ///< sizes, ranks or axes that do not fit
class DTypeError : public Error {
  using Error::Error;
};  ///< element types that an operation does not take
class IndexError : public Error {
  using Error::Error;
};  ///< an index outside its axis, also inside an index tensor
class ValueError : public Error {
  using Error::Error;
};  ///< any other argument outside its range; bad options
class GradError : public Error {
  using Error::Error;
};  ///< misuse of the tape: freed graphs, changed saved tensors, ...
class MemoryError : public Error {
  using Error::Error;
};  ///< the memory budget is exhausted, or the system's memory
class FileError : public Error {
  using Error::Error;
};  ///< a file that is missing, unreadable, malformed or unwritable
class AnomalyError : public Error {
  using Error::Error;
};  ///< anomaly mode met the first NaN or infinity

}  // namespace attune
