#include "nn/module.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "autograd/runtime/error.h"
#include "autograd/tape/op.h"
#include "autograd/tape/replay.h"
#include "autograd/tensor/named.h"

namespace attune::nn {

Module::Module(Here here) : site_(here) {
  if (const Frame* top = Frame::top(); top && top->site().line != 0) site_ = top->site();
}

Module::~Module() { place_->module = nullptr; }

void Module::check_name(const std::string& name) const {
  const std::string dots = "." + name + ".";
  if (dots.find("..") != std::string::npos)
    throw ValueError("module: the name \"" + name + "\" " + (name.empty() ? "is empty" : "has an empty part"));
  const auto check = [&](const std::string& other) {
    if (other == name) throw ValueError("module: the name \"" + name + "\" is taken");
    for (const auto& [above, below] : {std::pair{other, name}, std::pair{name, other}})
      if (below.starts_with(above + "."))
        throw ValueError(fmt::format("module: the name \"{}\" lies below \"{}\"", below, above));
  };
  for (const auto& e : entries_) check(e->name_);
  for (const auto& c : children_) check(c->name_);
}

void Module::adopt(std::string name, std::unique_ptr<Module> module) {
  check_name(name);
  module->name_ = std::move(name);
  module->parent_ = this;
  children_.push_back(std::move(module));
}

Here Module::line_below(Here own) const {
  const Module* root = this;
  while (root->parent_) root = root->parent_;
  return root != this && root->site_.line != 0 ? root->site_ : own;
}

Parameter& Module::parameter(std::string name, Tensor value, Here here) {
  check_name(name);
  if (!value.defined()) throw ValueError("module: the parameter \"" + name + "\" is undefined");
  value.requires_grad_(true, site_.line != 0 ? site_ : here);
  struct Name final : NameSource {
    Name(std::shared_ptr<Place> p, std::string n) : place(std::move(p)), own(std::move(n)) {}
    std::string name() const override {
      const std::string above = place->module ? place->module->path() : "";
      return above.empty() ? own : above + "." + own;
    }
    std::shared_ptr<Place> place;
    std::string own;
  };
  name_tensor(value, std::make_shared<Name>(place_, name));
  const std::shared_ptr<Parameter> made(new Parameter(this, std::move(name), std::move(value), true, true));
  entries_.push_back(made);
  return *made;
}

Buffer& Module::buffer(std::string name, Tensor value, bool persistent) {
  check_name(name);
  if (!value.defined()) throw ValueError("module: the buffer \"" + name + "\" is undefined");
  const std::shared_ptr<Buffer> made(new Buffer(this, std::move(name), std::move(value), false, persistent));
  entries_.push_back(made);
  return *made;
}

Parameter& Module::absent(std::string name) {
  absent_.emplace_back(new Parameter(this, std::move(name), {}, true, false));
  return *absent_.back();
}

void Module::each_entry(const std::string& prefix, const Visit& visit) const {
  for (const auto& e : entries_) visit(prefix + e->name_, *e);
  for (const auto& c : children_) c->each_entry(prefix + c->name_ + ".", visit);
}

std::vector<std::pair<std::string, Tensor>> Module::named_parameters() const {
  std::vector<std::pair<std::string, Tensor>> out;
  std::unordered_set<const TensorImpl*> seen;
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (e.trainable_ && seen.insert(e.value_.impl()).second) out.emplace_back(path, e.value_);
  });
  return out;
}

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> out;
  for (auto& [path, value] : named_parameters()) out.push_back(value);
  return out;
}

std::vector<std::pair<std::string, Tensor>> Module::named_buffers() const {
  std::vector<std::pair<std::string, Tensor>> out;
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (!e.trainable_ && !e.made_) out.emplace_back(path, e.value_);
  });
  return out;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> out{{"", this}};
  for (const auto& c : children_)
    for (const auto& [path, m] : c->named_modules())
      out.emplace_back(path.empty() ? c->name_ : c->name_ + "." + path, m);
  return out;
}

std::vector<std::pair<std::string, Module*>> Module::children() {
  std::vector<std::pair<std::string, Module*>> out;
  for (const auto& c : children_) out.emplace_back(c->name_, c.get());
  return out;
}

std::int64_t Module::parameter_count() const {
  std::int64_t n = 0;
  for (const Tensor& p : parameters()) n += p.numel();
  return n;
}

void Module::train(bool on) {
  training_ = on;
  for (const auto& c : children_) c->train(on);
}

bool Module::training() const { return ReplayLog::setting(training_); }

void Module::requires_grad_(bool on, Here here) {
  for (Tensor& p : parameters()) p.requires_grad_(on, here);
}

void Module::zero_grad() {
  for (Tensor& p : parameters()) p.zero_grad();
}

void Module::to(DType dtype, Here here) {
  if (!is_floating(dtype)) throw DTypeError(std::string("module: cannot be converted to ") + name_of(dtype), here);
  each_entry("", [&](const std::string&, Registered& e) {
    if (is_floating(e.value_.dtype())) e.value_.convert_(dtype, here);
  });
}

Tensors Module::with_parameters(const Tensors& values, const std::function<Tensors()>& f, Here here) {
  const Tensors own = parameters();
  if (values.size() != own.size())
    throw ValueError("with_parameters: " + std::to_string(values.size()) + " tensors for " +
                         std::to_string(own.size()) + " parameters",
                     here);
  std::unordered_map<const TensorImpl*, std::size_t> place;
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (!values[i].defined() || values[i].shape() != own[i].shape())
      throw ShapeError("with_parameters: tensor " + std::to_string(i) + " must have the shape " + own[i].shape().str(),
                       here);
    place[own[i].impl()] = i;
  }
  using Entries = std::vector<std::pair<std::shared_ptr<Registered>, std::size_t>>;
  struct Exchange {
    Exchange(const Entries& entries, const Tensors& by) {
      before.reserve(entries.size());  // nothing throws below
      for (const auto& [entry, i] : entries) before.emplace_back(entry, std::exchange(entry->value_, by[i]));
    }
    ~Exchange() {
      for (auto& [entry, value] : before) entry->value_ = std::move(value);
    }
    std::vector<std::pair<std::shared_ptr<Registered>, Tensor>> before;
  };
  Entries entries;
  each_entry("", [&](const std::string&, Registered& e) {
    if (e.trainable_) entries.emplace_back(e.shared_from_this(), place.at(e.value_.impl()));
  });
  const Exchange exchange(entries, values);
  const ReplayLog::Surrounding surrounding([entries, saved = std::vector<Saved>(values.begin(), values.end())] {
    return std::make_shared<Exchange>(entries, Tensors(saved.begin(), saved.end()));
  });
  return f();
}

std::string Module::path() const {
  if (!parent_) return "";
  const std::string above = parent_->path();
  return above.empty() ? name_ : above + "." + name_;
}

}  // namespace attune::nn
