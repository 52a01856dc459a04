// What the reference programs share: comparing tensors, counting cases.
#pragma once

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "autograd/autograd.h"

namespace attune::tests {

/// The largest difference relative to the expected tensor's largest element (at least `floor`); infinite if shapes
/// differ or something is NaN.
inline double relative_difference(const Tensor& got, const Tensor& expected, double floor = 1e-300) {
  if (!got.defined() || got.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = got.detach().to_vector<double>(), b = expected.to_vector<double>();
  double worst = 0, largest = floor;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!(std::isfinite(a[i]) && std::isfinite(b[i])) && a[i] != b[i]) return INFINITY;
    worst = std::max(worst, a[i] == b[i] ? 0.0 : std::abs(a[i] - b[i]));
    largest = std::max(largest, std::abs(b[i]));
  }
  return worst / largest;
}

/// |got - expected| / |expected| in the Euclidean norm; relative to `floor` if |expected| is 0.
inline double norm_difference(const Tensor& got, const Tensor& expected, double floor = 0) {
  if (!got.defined() || got.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = got.detach().to_vector<double>(), b = expected.to_vector<double>();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return difference == 0 ? 0 : std::sqrt(difference) / (size > 0 ? std::sqrt(size) : floor);
}

/// In magnitude, of those that are finite.
inline double largest_element(const Tensor& x) {
  double largest = 0;
  for (double v : x.to_vector<double>())
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  return largest;
}

/// The checks of one case: what failed, and by how much.
class CaseChecks {
 public:
  void check(const std::string& what, double difference, double tolerance) {
    if (difference <= tolerance) return;  // false for NaN
    char text[64];
    std::snprintf(text, sizeof text, " (%.3g > %.3g)", difference, tolerance);
    failures_.push_back(what + text);
  }
  void fail(const std::string& what) { failures_.push_back(what); }
  bool passed() const { return failures_.empty(); }
  std::string str() const {
    std::string s;
    for (std::size_t i = 0; i < failures_.size() && i < 4; ++i) s += (i ? "; " : "") + failures_[i];
    if (failures_.size() > 4) s += "; and " + std::to_string(failures_.size() - 4) + " more";
    return s;
  }

 private:
  std::vector<std::string> failures_;
};

inline std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> out;
  for (const auto& e : std::filesystem::directory_iterator(directory)) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// Prints a program's last line and returns its exit code: 0 if something passed and nothing failed.
inline int report(int passed, int failed, const std::string& only, const std::string& directory) {
  if (passed + failed == 0)
    std::printf("no case%s in %s\n", only.empty() ? "" : (" " + only).c_str(), directory.c_str());
  std::printf("%d passed, %d failed\n", passed, failed);
  return passed + failed == 0 || failed > 0 ? 1 : 0;
}

}  // namespace attune::tests
