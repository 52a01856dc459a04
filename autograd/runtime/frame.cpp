#include "autograd/runtime/frame.h"

namespace attune {

namespace {
[[gnu::tls_model("initial-exec")]] thread_local constinit const Frame* top_frame = nullptr;
}  // namespace

Frame::Frame(const char* name, Here here, const void* module, std::string (*path)(const void*)) noexcept
    : name_(name), here_(here), parent_(top_frame), module_(module), path_(path) {
  top_frame = this;
}

Frame::~Frame() { top_frame = parent_; }

const Frame* Frame::top() { return top_frame; }

std::string Frame::full_name() const {
  const Frame* outer = this;
  while (outer->parent_ && outer->parent_->operation_) outer = outer->parent_;
  const std::string own = name_;
  return own == outer->name_ ? own : outer->name_ + (": " + own);
}

Here Frame::site() const {
  Here site = here_;
  for (const Frame* f = parent_; f; f = f->parent_)
    if (f->here_.line != 0) site = f->here_;
  return site;
}

}  // namespace attune
