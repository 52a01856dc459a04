// Runs operations on PyTorch's cases and compares values, gradients and second-order gradients, in float64 and again in
// float32: `reference_ops [DIR] [--op NAME] [--case I]`. A folder holds <op>.json (the calls) and <op>.safetensors
// (their tensors). In float64 the results agree with PyTorch's within 1e-10, relative to the largest element of the
// tensor or of the case's inputs and cotangents; in float32 with the float64 results at the same, rounded inputs within
// 1e-5. A gradient that PyTorch does not reach is undefined or zero. A line for each failing case, a table by
// operation; the last line is "N passed, N failed". What is not understood fails: nothing is skipped.

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/reference/calls.h"
#include "tests/reference/differences.h"
#include "tests/reference/io.h"

using namespace attune;
using namespace attune::tests;
using nlohmann::json;

namespace {

bool zero_or_undefined(const Tensor& x) {
  if (!x.defined()) return true;
  for (double v : x.to_vector<double>())
    if (v != 0) return false;
  return true;
}

// ---- one case

/// The tensors of a folder's file in the precision of this run; leaves stand by their names.
class Case {
 public:
  /// Floating tensors are rounded to `dtype`, moved by a factor of up to 1 +- `by`, and, if given, widened.
  Case(const json& c, const SafetensorsFile& file, DType dtype, DType widened, double by = 0, double phase = 0)
      : c_(c), file_(file), dtype_(dtype), widened_(widened), by_(by), phase_(phase) {}
  Case(const json& c, const SafetensorsFile& file, DType dtype) : Case(c, file, dtype, dtype) {}

  Tensor tensor(const std::string& name) const {
    const auto at = file_.tensors.find(name);
    if (at == file_.tensors.end()) throw std::runtime_error("there is no tensor " + name);
    const NoGrad off;
    if (at->second.dtype() != float64) return at->second;
    const Tensor x = to(to(at->second, dtype_), widened_);
    if (by_ == 0) return x;
    const Tensor places = to(reshape(arange(x.numel()), x.shape()), widened_);
    return x * (1 + by_ * sin(phase_ + (12.9898 + 7 * phase_) * places));
  }
  Argument argument(const json& a) {
    Argument r;
    if (a.contains("t")) {
      const std::string name = a["t"];
      r.tensor = tensor(name);
      if (a.contains("strides")) r.tensor = with_strides(r.tensor, a["strides"].get<std::vector<std::int64_t>>());
      if (a.value("rg", false)) {
        r.tensor = r.tensor.detach().requires_grad_();
        leaves.insert_or_assign(name, r.tensor);
      }
    } else if (a.contains("l") || a.contains("u")) {
      r.is_list = true;
      r.is_tuple = a.contains("u");
      for (const json& item : a.contains("l") ? a["l"] : a["u"]) r.items.push_back(argument(item));
    } else if (a.contains("s")) {
      r.is_slice = true;
      for (const json& end : a["s"]) r.items.push_back({.value = end});
    } else if (a.contains("ell")) {
      r.is_ellipsis = true;
    } else if (a.contains("dtype")) {
      r.value = a["dtype"];
    } else if (a.contains("v")) {
      r.value = a["v"];
    } else {
      throw std::runtime_error("an argument is not understood: " + a.dump());
    }
    return r;
  }
  Arguments arguments() {
    std::vector<Argument> positional;
    std::map<std::string, Argument> named;
    for (const json& a : c_["args"]) positional.push_back(argument(a));
    for (const auto& [name, a] : c_["kwargs"].items()) named[name] = argument(a);
    return {positional, named};
  }

  std::map<std::string, Tensor> leaves;

 private:
  /// The same elements, laid out as PyTorch had them.
  static Tensor with_strides(const Tensor& x, const std::vector<std::int64_t>& strides) {
    std::int64_t size = x.numel() == 0 ? 0 : 1;
    for (int i = 0; i < x.rank(); ++i) size += (x.shape()[i] - 1) * strides[static_cast<std::size_t>(i)];
    const NoGrad off;
    const Tensor memory = zeros({std::max<std::int64_t>(size, 1)}, x.dtype());
    const Tensor y = view_of(memory, x.shape(), Strides(strides), 0);
    // Through an index of places, since elements of an expanded tensor share them.
    const std::vector<double> values = x.to_vector<double>();
    const Tensor places = view_of(arange(memory.numel()), x.shape(), Strides(strides), 0);
    const std::vector<std::int64_t> at = places.to_vector<std::int64_t>();
    // What lies between the elements must not matter.
    std::vector<double> filled(static_cast<std::size_t>(memory.numel()), is_floating(x.dtype()) ? NAN : 0.0);
    for (std::size_t i = 0; i < at.size(); ++i) filled[static_cast<std::size_t>(at[i])] = values[i];
    return view_of(to(tensor_of(filled), x.dtype()), x.shape(), Strides(strides), 0);
  }
  static Tensor tensor_of(const std::vector<double>& v) {
    return attune::tensor(v, {static_cast<std::int64_t>(v.size())}, float64);
  }

  const json& c_;
  const SafetensorsFile& file_;
  DType dtype_, widened_;
  double by_, phase_;
};

double probability(const json& c) {
  const bool training = !c["kwargs"].contains("training") || c["kwargs"]["training"]["v"].get<bool>();
  const double p = c["kwargs"].contains("dropout_p") ? c["kwargs"]["dropout_p"]["v"].get<double>()
                   : c["kwargs"].contains("p")       ? c["kwargs"]["p"]["v"].get<double>()
                   : c["args"].size() > 1            ? c["args"][1].value("v", 0.5)
                                                     : 0.5;
  return training ? p : 0;
}

/// Dropped elements are 0, the others x / (1 - p), the gradient likewise, and the share of them is as asked for.
void check_dropout_law(Case& one, ReferenceCall call, double p, CaseChecks& checks) {
  std::int64_t dropped = 0, all = 0;
  for (int round = 0; round < 50; ++round) {
    Arguments arguments = one.arguments();
    const Tensor x = arguments.tensor(0), y = call(arguments)[0];
    const Tensor dx = attune::grad({sum(y)}, {x}, {})[0];
    const auto xs = x.to_vector<double>(), ys = y.to_vector<double>(), gs = dx.to_vector<double>();
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const bool gone = gs[i] == 0;
      dropped += gone;
      ++all;
      if (std::abs(ys[i] - (gone ? 0 : xs[i] / (1 - p))) > 1e-5 * std::abs(xs[i]) ||
          std::abs(gs[i] - (gone ? 0 : 1 / (1 - p))) > 1e-5)
        checks.fail("an element is neither dropped nor scaled");
    }
  }
  if (all > 0 && std::abs(static_cast<double>(dropped) - p * static_cast<double>(all)) >
                     6 * std::sqrt(p * (1 - p) * static_cast<double>(all)))
    checks.fail("the share of dropped elements is " +
                std::to_string(static_cast<double>(dropped) / static_cast<double>(all)));
}

/// The mean of attention with dropped probabilities is attention without.
void check_attention_law(Case& one, const json& c, const SafetensorsFile& file, DType dtype, ReferenceCall call,
                         CaseChecks& checks) {
  json plain = c;
  plain["kwargs"]["dropout_p"]["v"] = 0.0;
  Case without(plain, file, dtype);
  Arguments arguments = without.arguments();
  const NoGrad off;
  const std::vector<double> expected = call(arguments)[0].to_vector<double>();
  std::vector<double> total(expected.size()), squares(expected.size());
  constexpr int rounds = 400;
  for (int i = 0; i < rounds; ++i) {
    Arguments again = one.arguments();
    const std::vector<double> y = call(again)[0].to_vector<double>();
    for (std::size_t k = 0; k < y.size(); ++k) {
      total[k] += y[k] / rounds;
      squares[k] += y[k] * y[k] / rounds;
    }
  }
  for (std::size_t k = 0; k < total.size(); ++k) {
    const double deviation = std::sqrt(std::max(squares[k] - total[k] * total[k], 0.0) / rounds);
    if (std::abs(total[k] - expected[k]) > 6 * deviation + 1e-6) checks.fail("the mean over masks is off");
  }
}

std::vector<Result> evaluate(ReferenceCall call, const json& c, Case& one) {
  std::vector<Result> results;
  Arguments arguments = one.arguments();
  const Tensors ys = call(arguments);
  arguments.check_all_read();
  if (ys.size() < c["out"].size()) throw std::runtime_error("there are " + std::to_string(ys.size()) + " outputs");
  for (std::size_t i = 0; i < c["out"].size(); ++i)
    results.push_back({"output " + std::to_string(i), ys[i], c["out"][i]});

  Tensors outputs, cotangents, all;
  std::vector<std::string> names;
  for (const auto& [name, leaf] : one.leaves) {
    names.push_back(name);
    all.push_back(leaf);
  }
  const Tensors leaves = all;
  for (std::size_t k = 0; k < c["cot"].size(); ++k) {
    const Tensor y = ys[c["cot_of"][k].get<std::size_t>()];
    if (!y.requires_grad()) continue;
    outputs.push_back(y);
    cotangents.push_back(one.tensor(c["cot"][k]).requires_grad_());
    names.push_back(c["cot"][k]);
    all.push_back(cotangents.back());
  }
  Tensors firsts(leaves.size()), seconds(all.size()), ends, cotangents2;
  if (!outputs.empty())
    firsts = attune::grad(outputs, leaves, {.cotangents = cotangents, .create_graph = true, .allow_unused = true});
  for (std::size_t i = 0; i < leaves.size(); ++i)
    if (c["grads"].contains(names[i])) results.push_back({"gradient of " + names[i], firsts[i], c["grads"][names[i]]});
  for (std::size_t i = 0; i < leaves.size(); ++i)
    if (firsts[i].defined() && firsts[i].requires_grad() && c["cot2"].contains(names[i]) &&
        !c["cot2"][names[i]].is_null()) {
      ends.push_back(firsts[i]);
      cotangents2.push_back(one.tensor(c["cot2"][names[i]]));
    }
  if (!ends.empty()) seconds = attune::grad(ends, all, {.cotangents = cotangents2, .allow_unused = true});
  for (std::size_t i = 0; i < all.size(); ++i)
    if (c["grads2"].contains(names[i]))
      results.push_back({"second gradient of " + names[i], seconds[i], c["grads2"][names[i]]});
  return results;
}

/// How far the results move, relative to `scale`, when inputs and cotangents do by a factor of up to 1 +- `by`.
std::vector<double> moves(const json& c, const SafetensorsFile& file, ReferenceCall call, DType dtype, double by,
                          const std::vector<Result>& from, double scale) {
  std::vector<double> most(from.size());
  for (double phase : {1.0, 2.0, 3.0}) {
    Case moved(c, file, float32, dtype, by, phase);
    const std::vector<Result> there = evaluate(call, c, moved);
    for (std::size_t i = 0; i < from.size(); ++i)
      if (from[i].got.defined())
        most[i] = std::max(most[i], difference(there[i].got, from[i].got.detach(), scale).worst);
  }
  return most;
}

/// In float32 against the float64 results at the same, rounded inputs, themselves rounded, within 1e-5. Where an
/// input's last bit moves a result by more, or cancellation in the rule makes a derivative's float32 value jump as
/// much when inputs move by two bits, no more can be asked: a few such moves are allowed, up to 1e-3.
void check_in_float32(const json& c, const SafetensorsFile& file, ReferenceCall call, const std::vector<Result>& got,
                      double scale, CaseChecks& checks) {
  Case rounded(c, file, float32, float64);
  const std::vector<Result> exact = evaluate(call, c, rounded);
  std::vector<double> sensitivity, jumps;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (!got[i].got.defined() && !exact[i].got.defined()) continue;
    if (!got[i].got.defined() || !exact[i].got.defined()) {
      checks.fail(got[i].what + " is undefined in one precision");
      continue;
    }
    const Differing d = difference(got[i].got, to(exact[i].got.detach(), got[i].got.dtype()), scale);
    double tolerance = 1e-5;
    if (d.worst > tolerance) {
      if (sensitivity.empty()) sensitivity = moves(c, file, call, float64, 0x1p-24, exact, scale);
      if (jumps.empty()) jumps = moves(c, file, call, float32, 0x1p-22, got, scale);
      const bool is_derivative = !got[i].what.starts_with("output");
      tolerance = std::clamp(std::max(8 * sensitivity[i], is_derivative ? 4 * jumps[i] : 0), 1e-5, 1e-3);
    }
    checks.check(d.in(got[i].what), d.worst, tolerance);
  }
}

void run_case(const std::string& op, const json& c, const SafetensorsFile& file, DType dtype, CaseChecks& checks) {
  const auto call = reference_calls().find(op);
  if (call == reference_calls().end()) throw std::runtime_error("the operation is not known");
  if (c["out"].empty()) throw std::runtime_error("the case has no outputs");
  Case one(c, file, dtype);
  if (op == "nn.functional.dropout" || op == "nn.functional._scaled_dot_product_attention")
    if (const double p = probability(c); p > 0 && p < 1) {
      if (op == "nn.functional.dropout") return check_dropout_law(one, call->second, p, checks);
      return check_attention_law(one, c, file, dtype, call->second, checks);
    }
  const std::vector<Result> got = evaluate(call->second, c, one);
  double scale = 0;
  for (const auto& [name, leaf] : one.leaves) scale = std::max(scale, largest_element(leaf));
  for (const json& name : c["cot"]) scale = std::max(scale, largest_element(one.tensor(name)));
  for (const json& name : c["cot2"])
    if (!name.is_null()) scale = std::max(scale, largest_element(one.tensor(name)));
  if (dtype == float32) return check_in_float32(c, file, call->second, got, scale, checks);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Result& r = got[i];
    if (r.expected.is_null()) {
      if (!zero_or_undefined(r.got)) checks.fail(r.what + " is not zero");
      continue;
    }
    const Tensor expected = one.tensor(r.expected);
    if (!r.got.defined() && zero_or_undefined(expected)) continue;
    const Differing d = beyond_kept_differences(op, {c, got, file.tensors, i, scale});
    checks.check(d.in(r.what), d.worst, 1e-10);
  }
}

/// Which cases to run: all of them, those of one operation, or one case alone.
struct Selection {
  std::string op;
  int number = -1;
};

struct Count {
  int passed = 0, failed = 0;
};
using Counts = std::map<std::string, Count>;  // by operation

CaseChecks checks_of(const std::string& op, json c, const SafetensorsFile& file, DType dtype) {
  CaseChecks checks;
  try {
    for (const char* key : {"args", "out", "cot", "cot_of"}) c.emplace(key, json::array());
    for (const char* key : {"kwargs", "grads", "cot2", "grads2"}) c.emplace(key, json::object());
    run_case(op, c, file, dtype, checks);
  } catch (const std::exception& e) {
    checks.fail(e.what());
  }
  return checks;
}

/// A file of cases that cannot be read counts as one failure.
void run_file(const std::filesystem::path& path, const Selection& selected, Counts& counts) {
  std::string op = path.stem().string();
  json document;
  SafetensorsFile file;
  try {
    document = json::parse(std::ifstream(path));
    op = document.at("op");
    if (!selected.op.empty() && op != selected.op) return;
    if (!document.at("cases").is_array() || document["cases"].empty()) throw std::runtime_error("there are no cases");
    file = load_safetensors(std::filesystem::path(path).replace_extension(".safetensors").string());
  } catch (const std::exception& e) {
    std::printf("%s: %s\n", op.c_str(), e.what());
    ++counts[op].failed;
    return;
  }
  const json& cases = document["cases"];
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (selected.number >= 0 && i != static_cast<std::size_t>(selected.number)) continue;
    for (DType dtype : {float64, float32}) {
      const CaseChecks checks = checks_of(op, cases[i], file, dtype);
      checks.passed() ? ++counts[op].passed : ++counts[op].failed;
      if (!checks.passed()) std::printf("%s case %zu, %s: %s\n", op.c_str(), i, name_of(dtype), checks.str().c_str());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares operations with PyTorch's cases, to second order.");
  const std::string own = std::string(ATTUNE_TEST_DATA) + "/ops";
  std::string directory = own;
  Selection selected;
  app.add_option("DIR", directory, "the folder of the cases")->capture_default_str();
  app.add_option("--op", selected.op, "run this operation alone, by PyTorch's name");
  app.add_option("--case", selected.number, "run this case alone, by its number");
  CLI11_PARSE(app, argc, argv);

  Counts counts;
  Count total;
  try {
    for (const std::filesystem::path& path : sorted_entries(directory))
      if (path.extension() == ".json") run_file(path, selected, counts);
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 2;
  }
  std::printf("%-48s %7s %7s\n", "operation", "passed", "failed");
  for (const auto& [op, n] : counts) {
    std::printf("%-48s %7d %7d\n", op.c_str(), n.passed, n.failed);
    total.passed += n.passed;
    total.failed += n.failed;
  }
  if (directory == own && selected.op.empty() && selected.number < 0)
    for (const std::string& d : unused_differences()) {
      std::printf("%s: no case needs this difference any more\n", d.c_str());
      ++total.failed;
    }
  return report(total.passed, total.failed, selected.op, directory);
}
