#include "autograd/runtime/frame.h"

#include "autograd/runtime/watch.h"

namespace attune {

namespace {
[[gnu::tls_model("initial-exec")]] thread_local constinit const Frame* top_frame = nullptr;
}  // namespace

Frame::Frame(const char* name, Here here, Kind kind) noexcept
    : name_(name), here_(here), parent_(top_frame), kind_(kind) {
  top_frame = this;
  if (Watcher* w = watch::watcher.load(std::memory_order_acquire)) [[unlikely]]
    w->entered(*this);
}

Frame::Frame(const char* name, Here here, const void* module, std::string (*path)(const void*)) noexcept
    : Frame(name, here, Kind::module) {
  module_ = module;
  path_ = path;
}

Frame::~Frame() {
  top_frame = parent_;
  if (Watcher* w = watch::watcher.load(std::memory_order_acquire)) [[unlikely]]
    w->left(*this);
}

const Frame* Frame::top() { return top_frame; }

void Frame::set_top(const Frame* frame) noexcept { top_frame = frame; }

std::string Frame::full_name() const {
  const Frame* outer = this;
  while (outer->parent_ && outer->parent_->kind_ == Kind::operation) outer = outer->parent_;
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
