#include "nn/weight_norm.h"

#include <algorithm>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/movement.h"
#include "autograd/ops/reduce.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/module.h"

namespace attune::nn {

namespace {

Tensor lengths(const Tensor& v, std::int64_t axis) {
  Dims others;
  for (int i = 0; i < v.rank(); ++i)
    if (i != axis) others.push_back(i);
  return others.empty() ? abs(v) : norm(v, others, true);
}

Tensor scaled(const Tensor& v, const Tensor& g, std::int64_t axis) {
  const Tensor length = lengths(v, axis);
  return v * (g / where(eq(length, 0), 1, length));
}

}  // namespace

Parameter& weight_norm(Parameter& w, std::int64_t axis, Here here) {
  const std::string who = "weight_norm: " + w.path();
  if (!w.value_.defined()) throw ValueError(who + ": there is none: the module was made without it", here);
  if (w.made_) throw ValueError(who + " is made of others already", here);
  const std::int64_t rank = w.rank(), at = axis < 0 ? axis + rank : axis;
  if (at < 0 || at >= rank)
    throw IndexError(who + ": axis " + std::to_string(axis) + " is out of range for " + w.shape().str(), here);
  Module& owner = *w.owner_;
  const Module* root = &owner;
  while (root->parent_) root = root->parent_;
  int places = 0;
  root->each_entry("", [&](const std::string&, Registered& e) { places += e.value_.impl() == w.value_.impl(); });
  if (places > 1) throw ValueError(who + " is tied to another parameter", here);

  const NoGrad off;
  const Tensor value = w.value_.detach();
  const bool trained = w.value_.requires_grad();
  Parameter& v = owner.parameter(w.name_ + "_v", clone(value), here);
  Parameter& g = owner.parameter(w.name_ + "_g", lengths(value, at), here);
  for (Parameter* p : {&v, &g}) p->requires_grad_(trained);
  auto made = std::make_unique<Registered::Made>();
  made->parts = {g.shared_from_this(), v.shared_from_this()};
  made->make = [&v, &g, at] { return scaled(v, g, at); };
  made->assign = [&v, &g, at](const Tensor& x) {
    v = x;
    g = lengths(x, at);
  };
  w.value_ = clone(value);  // its shape and dtype
  w.trainable_ = w.persistent_ = false;
  w.made_ = std::move(made);
  return w;
}

Parameter& remove_weight_norm(Parameter& w, Here here) {
  if (!w.made_) throw ValueError("remove_weight_norm: " + w.path() + " is not made of others", here);
  const NoGrad off;
  const bool trained = w.made_->parts[0]->value_.requires_grad();
  w.value_ = clone(w.tensor());
  w.value_.requires_grad_(trained, here);
  const auto parts = w.made_->parts;
  std::erase_if(w.owner_->entries_,
                [&](const auto& e) { return std::find(parts.begin(), parts.end(), e) != parts.end(); });
  w.made_.reset();
  w.trainable_ = w.persistent_ = true;
  return w;
}

}  // namespace attune::nn
