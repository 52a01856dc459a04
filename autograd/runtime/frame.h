// Who is running on this thread: the stack of public operations and modules, innermost on top. An error, a node on
// the tape or a trace takes its call site from the outermost frame, so that it shows the user's line and not one
// inside the library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune {

class Frame {
 public:
  enum class Kind : std::uint8_t {
    operation,  ///< of an operation
    call,       ///< of what else a profile has a row for, and errors a line
    module,     ///< of a module, around the calls inside
    step        ///< of a node's rule in a backward pass
  };

  /// `name` must outlive the frame (a literal).
  Frame(const char* name, Here here, Kind kind = Kind::call) noexcept;
  /// A module's frame: path(module) is "encoder.layers.0".
  Frame(const char* name, Here here, const void* module, std::string (*path)(const void*)) noexcept;
  ~Frame();
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  const char* name() const { return name_; }
  Here here() const { return here_; }
  Kind kind() const { return kind_; }
  /// "outer: inner" for an operation that others are made of; the name alone for the one that was called. A module
  /// between the two hides what is around it.
  std::string full_name() const;
  const Frame* parent() const { return parent_; }
  /// The call site of the outermost frame that has one.
  Here site() const;
  /// The module's path, "" for an operation's frame.
  std::string module_path() const { return module_ ? path_(module_) : std::string(); }

  static const Frame* top();
  /// For a thread that works for another one: the frames it works in, which must outlive that work.
  static void set_top(const Frame* frame) noexcept;

 private:
  const char* name_;
  Here here_;
  const Frame* parent_;
  const void* module_ = nullptr;
  std::string (*path_)(const void*) = nullptr;
  Kind kind_;
};

}  // namespace attune
