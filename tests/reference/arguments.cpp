#include "tests/reference/calls.h"

#include <cmath>
#include <stdexcept>

namespace attune::tests {

std::int64_t Argument::integer() const {
  if (is_tensor()) return static_cast<std::int64_t>(tensor.item());
  return value.is_boolean() ? value.get<bool>() : value.get<std::int64_t>();
}

double Argument::number() const {
  if (is_tensor()) return tensor.item();
  if (value == "inf") return INFINITY;
  if (value == "-inf") return -INFINITY;
  if (value == "nan") return NAN;
  return value.get<double>();
}

std::vector<std::int64_t> Argument::integers() const {
  if (!is_list) return {integer()};
  std::vector<std::int64_t> v;
  for (const Argument& a : items) v.push_back(a.integer());
  return v;
}

Tensor Argument::as_tensor(DType dtype) const { return is_tensor() ? tensor : scalar(number(), dtype); }

std::map<std::string, Argument>::const_iterator Arguments::find(const std::string& name) const {
  // PyTorch takes numpy's names, too; a method has one name of its own.
  static const std::map<std::string, std::string> others{{"dim", "axis"},   {"keepdim", "keepdims"},
                                                         {"other", "x2"},   {"split_size_or_sections", "split_size"},
                                                         {"size", "shape"}, {"src", "value"}};
  const auto at = named_.find(name);
  const auto other = others.find(name);
  return at == named_.end() && other != others.end() ? named_.find(other->second) : at;
}

bool Arguments::has(std::size_t i, const std::string& name) {
  return i < positional_.size() || find(name) != named_.end();
}

const Argument& Arguments::at(std::size_t i, const std::string& name) {
  if (i < positional_.size()) {
    read_.insert(std::to_string(i));
    return positional_[i];
  }
  const auto found = find(name);
  if (found == named_.end())
    throw std::runtime_error("the case has no argument " + (name.empty() ? std::to_string(i) : name));
  read_.insert(found->first);
  return found->second;
}

Tensor Arguments::optional_tensor(std::size_t i, const std::string& name) {
  return has(i, name) ? at(i, name).tensor : Tensor();
}
std::int64_t Arguments::integer(std::size_t i, const std::string& name, std::int64_t otherwise) {
  return has(i, name) && !at(i, name).is_null() ? at(i, name).integer() : otherwise;
}
int Arguments::axis(std::size_t i, const std::string& name, int otherwise) {
  return static_cast<int>(integer(i, name, otherwise));
}
double Arguments::number(std::size_t i, const std::string& name, double otherwise) {
  return has(i, name) && !at(i, name).is_null() ? at(i, name).number() : otherwise;
}
bool Arguments::flag(std::size_t i, const std::string& name, bool otherwise) {
  return integer(i, name, otherwise) != 0;
}
std::string Arguments::text(std::size_t i, const std::string& name, const std::string& otherwise) {
  return has(i, name) && !at(i, name).is_null() ? at(i, name).value.get<std::string>() : otherwise;
}
std::vector<std::int64_t> Arguments::integers(std::size_t i, const std::string& name) {
  return has(i, name) && !at(i, name).is_null() ? at(i, name).integers() : std::vector<std::int64_t>{};
}
std::vector<std::int64_t> Arguments::rest(std::size_t i, const std::string& name) {
  if (i >= positional_.size()) return integers(i, name);
  std::vector<std::int64_t> v;
  for (; i < positional_.size(); ++i)
    for (std::int64_t n : at(i).integers()) v.push_back(n);
  return v;
}

void Arguments::check_all_read() const {
  for (std::size_t i = 0; i < positional_.size(); ++i)
    if (!read_.contains(std::to_string(i)))
      throw std::runtime_error("argument " + std::to_string(i) + " is not understood");
  for (const auto& [name, argument] : named_)
    if (!read_.contains(name)) throw std::runtime_error("argument " + name + " is not understood");
}

}  // namespace attune::tests
