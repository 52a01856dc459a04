// A module as text: its tree.

#include <cxxabi.h>

#include <cstdlib>
#include <ostream>
#include <sstream>
#include <typeinfo>

#include "autograd/io/print.h"
#include "nn/module.h"

namespace attune::nn {

namespace {

/// "ModuleList<Linear>" of "attune::nn::ModuleList<attune::nn::Linear>": each name without the scopes before it, a
/// function's ("f(int) const::Net") included.
std::string short_name(const std::string& full) {
  std::string out;
  std::vector<std::size_t> begins{0};  // where in `out` the names begin that are being read
  int parentheses = 0;
  for (std::size_t i = 0; i < full.size(); ++i) {
    const char c = full[i];
    if (parentheses == 0 && full.compare(i, 2, "::") == 0) {
      out.resize(begins.back());
      ++i;
      continue;
    }
    if (c == '(') ++parentheses;
    if (c == ')') --parentheses;
    if (parentheses == 0 && c == '>' && begins.size() > 1) begins.pop_back();
    out += c;
    if (parentheses != 0) continue;
    if (c == '<') begins.push_back(out.size());
    if (c == ',' || (c == ' ' && i > 0 && full[i - 1] == ',')) begins.back() = out.size();
  }
  return out;
}

std::string type_of(const Module& m) {
  int failed = 0;
  char* const demangled = abi::__cxa_demangle(typeid(m).name(), nullptr, nullptr, &failed);
  std::string name = failed == 0 ? short_name(demangled) : typeid(m).name();
  std::free(demangled);
  return name;
}

std::string grouped(std::int64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

void print(std::ostream& out, Module& m, const std::string& name, int depth) {
  std::int64_t all = 0, frozen = 0;
  std::string own;
  for (const auto& [path, p] : m.named_parameters()) {
    all += p.numel();
    if (!p.requires_grad()) frozen += p.numel();
    bool below = false;
    for (const auto& [child, unused] : m.children()) below |= path.starts_with(child + ".");
    if (!below) own += (own.empty() ? "" : ", ") + path + " " + p.shape().str();
  }
  for (int i = 0; i < depth; ++i) out << "  ";
  if (!name.empty()) out << name << ": ";
  out << type_of(m);
  if (!own.empty()) out << "(" << own << ")";
  if (all > 0) out << ", " << grouped(all) << (all == 1 ? " parameter" : " parameters");
  if (frozen > 0) out << " (" << (frozen == all ? "frozen" : grouped(frozen) + " frozen") << ")";
  out << "\n";
  for (const auto& [child, module] : m.children()) print(out, *module, child, depth + 1);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Module& module) {
  print(out, const_cast<Module&>(module), "", 0);  // reads alone: children() hands out modules that may change
  return out;
}

namespace {

template <class T>
const char* kept_text(const T& shown) noexcept {
  thread_local std::string text;
  try {
    std::ostringstream out;
    out << shown;
    text = out.str();
    while (text.ends_with('\n')) text.pop_back();
    return text.c_str();
  } catch (...) {
    return "(it cannot be shown)";
  }
}

}  // namespace

extern "C" {
// What gdb's printers call (autograd/trace/gdb/printers.py), declared for the compiler's sake. The text stays until the
// thread's next call.
const char* attune_debugger_module(const Module* module);
const char* attune_debugger_held(const Registered* held);

const char* attune_debugger_module(const Module* module) { return kept_text(*module); }
const char* attune_debugger_held(const Registered* held) {
  const std::string path = held->path();
  return kept_text((path.empty() ? "" : path + " = ") + to_string(held->tensor()));
}
}

}  // namespace attune::nn
