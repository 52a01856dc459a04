// Who is running on this thread: the stack of public operations and modules, innermost on top. An error, a node on the
// tape or a trace takes its call site from the outermost frame, so that it shows the user's line and not one inside the
// library.
#pragma once

#include <string>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune {

class Frame {
 public:
  /// `name` must outlive the frame (a literal). `module` and `path` describe a module's frame: path(module) is
  /// "encoder.layers.0".
  Frame(const char* name, Here here, const void* module = nullptr, std::string (*path)(const void*) = nullptr) noexcept;
  /// An operation's frame.
  struct Operation {};
  Frame(const char* name, Here here, Operation) noexcept : Frame(name, here) { operation_ = true; }
  ~Frame();
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  const char* name() const { return name_; }
  Here here() const { return here_; }
  /// "outer: inner" for an operation that others are made of; the name alone for the one that was called. A module
  /// between the two hides what is around it.
  std::string full_name() const;
  const Frame* parent() const { return parent_; }
  /// The call site of the outermost frame that has one.
  Here site() const;
  /// The module's path, "" for an operation's frame.
  std::string module_path() const { return module_ ? path_(module_) : std::string(); }

  static const Frame* top();

 private:
  const char* name_;
  Here here_;
  const Frame* parent_;
  bool operation_ = false;
  const void* module_;
  std::string (*path_)(const void*);
};

}  // namespace attune
