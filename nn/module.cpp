#include "nn/module.h"

#include <unordered_map>
#include <unordered_set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/reduce.h"
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
        throw ValueError("module: the name \"" + below + "\" lies below \"" + above + "\"");
  };
  for (const auto& e : entries_) check(e->name);
  for (const auto& c : children_) check(c->name_);
}

void Module::adopt(std::string name, std::unique_ptr<Module> module) {
  check_name(name);
  module->name_ = std::move(name);
  module->parent_ = this;
  children_.push_back(std::move(module));
}

Tensor& Module::parameter(std::string name, Tensor value, Here here) {
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
  entries_.push_back(std::make_shared<Entry>(std::move(name), std::move(value), true, true));
  return entries_.back()->value;
}

Tensor& Module::buffer(std::string name, Tensor value, bool persistent) {
  check_name(name);
  if (!value.defined()) throw ValueError("module: the buffer \"" + name + "\" is undefined");
  entries_.push_back(std::make_shared<Entry>(std::move(name), std::move(value), false, persistent));
  return entries_.back()->value;
}

template <class Visit>
void Module::each_entry(const std::string& prefix, Visit&& visit) const {
  for (const auto& e : entries_) visit(prefix + e->name, *e);
  for (const auto& c : children_) c->each_entry(prefix + c->name_ + ".", visit);
}

std::vector<std::pair<std::string, Tensor>> Module::named_parameters() const {
  std::vector<std::pair<std::string, Tensor>> out;
  std::unordered_set<const TensorImpl*> seen;
  each_entry("", [&](const std::string& path, const Entry& e) {
    if (e.trainable && seen.insert(e.value.impl()).second) out.emplace_back(path, e.value);
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
  each_entry("", [&](const std::string& path, const Entry& e) {
    if (!e.trainable) out.emplace_back(path, e.value);
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

void Module::requires_grad_(bool on, Here here) {
  for (Tensor& p : parameters()) p.requires_grad_(on, here);
}

void Module::zero_grad() {
  for (Tensor& p : parameters()) p.zero_grad();
}

void Module::to(DType dtype) {
  if (!is_floating(dtype)) throw DTypeError(std::string("module: cannot be converted to ") + name_of(dtype));
  // Tied parameters stay tied.
  std::unordered_map<const TensorImpl*, Tensor> converted;
  std::vector<Tensor> before;  // keeps the old addresses from being reused meanwhile
  const NoGrad off;
  each_entry("", [&](const std::string&, Entry& e) {
    if (!is_floating(e.value.dtype()) || e.value.dtype() == dtype) return;
    Tensor& fresh = converted[e.value.impl()];
    if (!fresh.defined()) {
      fresh = attune::to(e.value.detach(), dtype);
      if (e.value.requires_grad()) fresh.requires_grad_(true, e.value.node()->site());
    }
    before.push_back(e.value);
    e.value = fresh;
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
  using Entries = std::vector<std::pair<std::shared_ptr<Entry>, std::size_t>>;
  struct Exchange {
    Exchange(const Entries& entries, const Tensors& by) {
      before.reserve(entries.size());  // nothing throws below
      for (const auto& [entry, i] : entries) before.emplace_back(entry, std::exchange(entry->value, by[i]));
    }
    ~Exchange() {
      for (auto& [entry, value] : before) entry->value = std::move(value);
    }
    std::vector<std::pair<std::shared_ptr<Entry>, Tensor>> before;
  };
  Entries entries;
  each_entry("", [&](const std::string&, Entry& e) {
    if (e.trainable) entries.emplace_back(e.shared_from_this(), place.at(e.value.impl()));
  });
  const Exchange exchange(entries, values);
  const ReplayLog::Surrounding surrounding([entries, saved = std::vector<Saved>(values.begin(), values.end())] {
    return std::make_shared<Exchange>(entries, Tensors(saved.begin(), saved.end()));
  });
  return f();
}

StateDict Module::state_dict() const {
  StateDict state;
  each_entry("", [&](const std::string& path, const Entry& e) {
    if (e.persistent) state[path] = e.value.detach();
  });
  return state;
}

namespace {

void list(std::string& message, const char* what, const std::vector<std::string>& entries) {
  if (entries.empty()) return;
  const char* separator = ": ";
  message += std::string("\n  ") + what;
  for (const std::string& e : entries) message += separator + e, separator = ", ";
}

/// Of one shape; NaN equals NaN.
bool same_values(const Tensor& a, const Tensor& b) {
  if (a.numel() == 0 || a.raw() == b.raw()) return true;
  const Tensor x = attune::to(a.detach(), b.dtype()), y = b.detach();
  return all(logical_or(eq(x, y), logical_and(ne(x, x), ne(y, y))));
}

}  // namespace

void Module::load_state_dict(const StateDict& state, const LoadOptions& options, Here here) {
  struct Copy {
    Tensor to, from;
  };
  std::vector<Copy> copies;
  std::vector<std::string> missing, unexpected, misshaped, differing;
  std::unordered_set<const TensorImpl*> found;
  std::unordered_map<const TensorImpl*, const StateDict::value_type*> chosen;  // of a tied parameter's, the first
  std::unordered_set<std::string> known;
  each_entry("", [&](const std::string& path, const Entry& e) {
    if (!e.persistent) return;
    known.insert(path);
    const auto at = state.find(path);
    if (at == state.end()) return;
    found.insert(e.value.impl());
    if (!at->second.defined()) {
      misshaped.push_back(path + " (expected " + e.value.shape().str() + " " + name_of(e.value.dtype()) +
                          ", found nothing)");
      return;
    }
    const bool convertible =
        at->second.dtype() == e.value.dtype() || (is_floating(at->second.dtype()) && is_floating(e.value.dtype()));
    if (at->second.shape() != e.value.shape() || !convertible)
      misshaped.push_back(path + " (expected " + e.value.shape().str() + " " + name_of(e.value.dtype()) + ", found " +
                          at->second.shape().str() + " " + name_of(at->second.dtype()) + ")");
    else if (const auto [first, fresh] = chosen.emplace(e.value.impl(), &*at); fresh)
      copies.push_back({e.value, at->second});
    else if (!same_values(first->second->second, at->second))
      differing.push_back(first->second->first + " and " + path);
  });
  if (options.strict) {
    each_entry("", [&](const std::string& path, const Entry& e) {
      if (e.persistent && !found.contains(e.value.impl())) missing.push_back(path);
    });
    for (const auto& [path, value] : state)
      if (!known.contains(path)) unexpected.push_back(path);
  }
  if (!missing.empty() || !unexpected.empty() || !misshaped.empty() || !differing.empty()) {
    std::string message = "load_state_dict: the state does not fit the module";
    list(message, "missing", missing);
    list(message, "unexpected", unexpected);
    list(message, "misshaped", misshaped);
    list(message, "tied, but with different values", differing);
    throw ValueError(message, here);
  }
  const NoGrad off;
  for (Copy& c : copies) copy_(c.to, c.from);
}

void Module::save(const std::string& path, Here here) const { save_safetensors(path, state_dict(), {}, here); }

void Module::load(const std::string& path, const LoadOptions& options, Here here) {
  load_state_dict(load_safetensors(path, here).tensors, options, here);
}

std::string Module::path() const {
  if (!parent_) return "";
  const std::string above = parent_->path();
  return above.empty() ? name_ : above + "." + name_;
}

}  // namespace attune::nn
