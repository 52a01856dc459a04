// What the reference programs share: comparing tensors, counting cases.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "autograd/autograd.h"

namespace attune::tests {

/// The largest difference relative to the expected tensor's largest element (at least `floor`); infinite where shapes
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

/// |got - expected| / |expected| in the Euclidean norm; relative to `floor` where |expected| is 0.
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

/// A safetensors file without the tensors that have more axes than a Shape: the cases of those fail, not the file.
inline SafetensorsFile load_what_fits(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::uint64_t length = 0;
  if (bytes.size() >= 8) std::memcpy(&length, bytes.data(), 8);
  std::vector<std::string> too_deep;
  if (length > 0 && length <= bytes.size() - 8) {
    nlohmann::json header = nlohmann::json::parse(bytes.substr(8, length), nullptr, false);
    if (header.is_object())
      for (auto& [name, entry] : header.items()) {
        if (!entry.contains("shape") || entry["shape"].size() <= static_cast<std::size_t>(max_rank)) continue;
        std::int64_t count = 1;
        for (const auto& n : entry["shape"]) count *= n.get<std::int64_t>();
        entry["shape"] = {count};
        too_deep.push_back(name);
      }
    if (!too_deep.empty()) {
      const std::string text = header.dump();
      const std::uint64_t size = text.size();
      const auto flat = std::filesystem::temp_directory_path() /
                        (path.stem().string() + "." + std::to_string(std::random_device()()) + ".safetensors");
      std::ofstream out(flat, std::ios::binary);
      out.write(reinterpret_cast<const char*>(&size), 8) << text << bytes.substr(8 + length);
      out.close();
      SafetensorsFile file = load_safetensors(flat.string());
      std::filesystem::remove(flat);
      for (const std::string& name : too_deep) file.tensors.erase(name);
      return file;
    }
  }
  return load_safetensors(path.string());
}

inline std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> out;
  for (const auto& e : std::filesystem::directory_iterator(directory)) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// Prints a program's last line and returns its exit code: 0 where something passed and nothing failed.
inline int report(int passed, int failed, const std::string& only, const std::string& directory) {
  if (passed + failed == 0)
    std::printf("no case%s in %s\n", only.empty() ? "" : (" " + only).c_str(), directory.c_str());
  std::printf("%d passed, %d failed\n", passed, failed);
  return passed + failed == 0 || failed > 0 ? 1 : 0;
}

}  // namespace attune::tests
