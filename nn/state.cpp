// The states of modules: taken, loaded, copied.

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "autograd/io/safetensors.h"
#include "autograd/ops/create.h"
#include "autograd/ops/inplace.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"
#include "nn/internal/file_kind.h"
#include "nn/module.h"

namespace attune::nn {

namespace {

std::string kind_of(const Tensor& x) {
  return x.defined() ? x.shape().str() + " " + name_of(x.dtype()) : std::string("nothing");
}

void list(std::string& message, const char* what, const std::vector<std::string>& entries) {
  if (entries.empty()) return;
  const char* separator = ": ";
  message += std::string("\n  ") + what;
  for (const std::string& e : entries) message += separator + e, separator = ", ";
}

bool convertible(const Tensor& from, const Tensor& to) {
  if (!from.defined() || from.shape() != to.shape()) return false;
  return from.dtype() == to.dtype() || (is_floating(from.dtype()) && is_floating(to.dtype()));
}

/// Whether x and y, of one shape, are the same values (bit by bit) in `dtype`.
bool same_values(const Tensor& x, const Tensor& y, DType dtype) {
  const Tensor a = contiguous(to(x.detach(), dtype)), b = contiguous(to(y.detach(), dtype));
  return std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.numel()) * size_of(dtype)) == 0;
}

}  // namespace

namespace {

/// Published files and the models that load_published() reads them into differ in the beginnings of names, or in all of
/// them: what a file may be that has weights of another program, or of the same names behind a beginning.
bool may_be_published(const StateDict& state, const StateDict& own) {
  const auto ends_with_part = [](const std::string& whole, const std::string& end) {
    return whole.size() > end.size() && whole.ends_with(end) && whole[whole.size() - end.size() - 1] == '.';
  };
  for (const auto& [theirs, value] : state)
    for (const auto& [ours, to] : own)
      if (ends_with_part(theirs, ours) || ends_with_part(ours, theirs)) return true;
  return false;
}

}  // namespace

std::string LoadReport::str() const {
  std::string text;
  list(text, "missing", missing);
  list(text, "unexpected", unexpected);
  list(text, "misshaped", misshaped);
  return text.empty() ? text : text.substr(1);
}

StateDict Module::shared_state_dict() const {
  StateDict state;
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (e.persistent_) state[path] = e.value_.detach();
  });
  return state;
}

StateDict Module::state_dict() const {
  const NoGrad off;
  std::unordered_map<const TensorImpl*, Tensor> copies;  // tied entries share one
  StateDict state;
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (!e.persistent_) return;
    Tensor& copy = copies[e.value_.impl()];
    if (!copy.defined()) copy = attune::clone(e.value_.detach());
    state[path] = copy.detach();
  });
  return state;
}

LoadReport Module::load_state_dict(const StateDict& state, const LoadOptions& options, Here here) {
  const NoGrad off;
  struct Copy {
    std::string path;
    Tensor to, from;
  };
  std::vector<Copy> copies;
  std::unordered_map<const TensorImpl*, std::size_t> found;  // the copy of a tensor of the module
  std::unordered_set<std::string> known;
  std::vector<std::string> differing;
  LoadReport report;
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (!e.persistent_) return;
    known.insert(path);
    const auto at = state.find(path);
    if (at == state.end()) return;
    const Tensor &to = e.value_, &from = at->second;
    const bool fits = convertible(from, to);
    if (!fits) report.misshaped.push_back(path + " (expected " + kind_of(to) + ", found " + kind_of(from) + ")");
    const auto [place, fresh] = found.try_emplace(to.impl(), copies.size());
    if (!fits || fresh) {
      copies.push_back({path, to, fits ? from : Tensor()});
      return;
    }
    const Copy& other = copies[place->second];
    if (other.from.defined() && !same_values(from, other.from, to.dtype()))
      differing.push_back(other.path + " and " + path);
  });
  each_entry("", [&](const std::string& path, const Registered& e) {
    if (e.persistent_ && !found.contains(e.value_.impl())) report.missing.push_back(path);
  });
  for (const auto& [path, value] : state)
    if (!known.contains(path)) report.unexpected.push_back(path);

  LoadReport wrong;
  if (options.strict) wrong = report;
  if (!options.skip_misshaped) wrong.misshaped = report.misshaped;
  if (!wrong.complete() || !differing.empty()) {
    std::string message = "load_state_dict: the state does not fit the module";
    if (!wrong.complete()) message += "\n" + wrong.str();
    list(message, "of two values, though they are one parameter", differing);
    throw ValueError(message, here);
  }
  // A state may share memory with the module, under other names: what another copy changes is copied first.
  for (Copy& c : copies)
    if (c.from.defined() && std::any_of(copies.begin(), copies.end(), [&](const Copy& other) {
          return &other != &c && other.to.same_storage(c.from);
        }))
      c.from = attune::clone(c.from.detach());
  for (Copy& c : copies)
    if (c.from.defined()) copy_(c.to, c.from, here);
  return report;
}

void Module::save(const std::string& path, Here here) const { save_safetensors(path, shared_state_dict(), {}, here); }

LoadReport Module::load(const std::string& path, const LoadOptions& options, Here here) {
  const SafetensorsFile file = load_safetensors(path, here);
  each_entry("", [&](const std::string& name, const Registered& e) {
    if (e.persistent_ && file.unreadable.contains(name)) file.at(name, here);  // throws, with its dtype
  });
  try {
    return load_state_dict(file.tensors, options, here);
  } catch (const ValueError& e) {
    if (const std::string advice = detail::checkpoint_advice(file.metadata); !advice.empty())
      throw ValueError(path + ": " + advice, here);
    const std::string what = e.what();
    std::string message = path + ": " + what.substr(0, what.rfind("\n  at "));
    if (may_be_published(file.tensors, shared_state_dict()))
      message +=
          "\n  Some names differ in their beginnings alone: the load_published() of a model reads published weights";
    throw ValueError(message, here);
  }
}

void copy_state(const Module& from, Module& to, Here here) {
  const NoGrad off;
  std::map<std::string, Registered*> theirs;
  from.each_entry("", [&](const std::string& path, Registered& e) { theirs[path] = &e; });
  std::vector<std::pair<Registered*, Registered*>> pairs;
  LoadReport wrong;
  to.each_entry("", [&](const std::string& path, Registered& e) {
    const auto at = theirs.find(path);
    if (at == theirs.end()) {
      wrong.missing.push_back(path);
      return;
    }
    Registered& source = *at->second;
    theirs.erase(at);
    if (!convertible(source.value_, e.value_))
      wrong.misshaped.push_back(path + " (expected " + kind_of(e.value_) + ", found " + kind_of(source.value_) + ")");
    pairs.emplace_back(&source, &e);
  });
  for (const auto& [path, entry] : theirs) wrong.unexpected.push_back(path);
  if (!wrong.complete()) throw ValueError("copy_state: the modules differ\n" + wrong.str(), here);
  for (const auto& [source, entry] : pairs) {
    if (source->dtype() != entry->dtype()) entry->value_.convert_(source->dtype(), here);
    attune::copy_(entry->value_, source->value_, here);
    if (entry->trainable_) entry->value_.requires_grad_(source->value_.requires_grad(), here);
  }
  const std::function<void(const Module&, Module&)> modes = [&](const Module& a, Module& b) {
    b.training_ = a.training_;
    for (std::size_t i = 0; i < std::min(a.children_.size(), b.children_.size()); ++i)
      modes(*a.children_[i], *b.children_[i]);
  };
  modes(from, to);
}

}  // namespace attune::nn
