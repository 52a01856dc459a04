#include "autograd/runtime/error.h"

#include <cstring>

#include "autograd/runtime/frame.h"

namespace attune {

std::string Here::str() const {
  if (line == 0) return "";
  const char* slash = std::strrchr(file, '/');
  return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
}

namespace {

/// The user's line: of the outermost frame, if one has a line; errors from below the operations have none
/// of their own.
Here site_of(Here here) {
  const Here outermost = Frame::top() ? Frame::top()->site() : Here{};
  return outermost.line == 0 ? here : outermost;
}

/// "encoder.layers.0: ", the innermost module that runs and has a path, unless the message names it already.
std::string module_prefix(const std::string& message) {
  for (const Frame* f = Frame::top(); f; f = f->parent())
    if (const std::string path = f->module_path(); !path.empty())
      return message.find(path + ": ") == std::string::npos ? path + ": " : "";
  return "";
}

std::string full_text(const std::string& message, Here here) {
  if (message.find("\n  ") != std::string::npos)
    return module_prefix(message) + message + (here.line == 0 ? "" : "\n  at " + here.str());
  std::string text = message;
  if (const Frame* frame = Frame::top(); here.line == 0 && frame && !message.starts_with(frame->name()))
    text = std::string(frame->name()) + ": " + message;
  text = module_prefix(text) + text;
  const Here site = site_of(here);
  return site.line == 0 ? text : text + "\n  at " + site.str();
}

}  // namespace

Error::Error(const std::string& message, Here here)
    : std::runtime_error(full_text(message, here)), here_(site_of(here)) {}

}  // namespace attune
