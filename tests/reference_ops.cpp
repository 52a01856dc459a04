// Runs operations on PyTorch's cases and compares values, gradients and second-order gradients, in float64 and again in
// float32: `reference_ops [DIR] [--op NAME] [--case I]`. A folder holds <op>.json (the calls) and <op>.safetensors (their
// tensors). Agreement asked for: 1e-10 relative to a tensor's largest element in float64, 1e-5 in float32; a gradient
// that PyTorch does not reach is undefined or zero. A line for each failing case, a table by operation; the last line is
// "N passed, N failed". What is not understood fails: nothing is skipped.

#include <CLI/CLI.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/reference_calls.h"
#include "tests/reference_io.h"

using namespace attune;
using namespace attune::tests;
using nlohmann::json;

namespace {

// ---- differences kept on purpose

/// PyTorch 1.13.1 has NaN where Attune has a number. Each entry is needed by the project's own copy of the cases, which a
/// full run on it checks.
struct Kept {
  std::string op, reason;
  bool used = false;
};
std::vector<Kept> kept{};

/// Whether NaN may stand in PyTorch's answer for what is a number here.
bool may_differ(const std::string& op) {
  for (Kept& k : kept)
    if (k.op == op) return k.used = true;
  return false;
}

// ---- comparison

/// The largest difference relative to the largest finite element. NaN and infinities must agree, except as kept.
double difference(const std::string& op, const Tensor& got, const Tensor& expected) {
  if (!got.defined() || got.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = got.detach().to_vector<double>(), b = expected.to_vector<double>();
  double worst = 0, largest = 1e-300;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) {
    } else if (std::isnan(b[i]) && may_differ(op)) {
      continue;
    } else if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      return INFINITY;
    } else {
      worst = std::max(worst, std::abs(a[i] - b[i]));
    }
    if (std::isfinite(b[i])) largest = std::max(largest, std::abs(b[i]));
  }
  return worst / largest;
}

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
  Case(const json& c, const SafetensorsFile& file, DType dtype) : c_(c), file_(file), dtype_(dtype) {}

  Tensor tensor(const std::string& name) const {
    const auto at = file_.tensors.find(name);
    if (at == file_.tensors.end()) throw std::runtime_error("the file has no tensor " + name);
    const NoGrad off;
    return at->second.dtype() == float64 ? to(at->second, dtype_) : at->second;
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
    std::vector<double> filled(static_cast<std::size_t>(memory.numel()), 0);
    for (std::size_t i = 0; i < at.size(); ++i) filled[static_cast<std::size_t>(at[i])] = values[i];
    return view_of(to(tensor_of(filled), x.dtype()), x.shape(), Strides(strides), 0);
  }
  static Tensor tensor_of(const std::vector<double>& v) {
    return attune::tensor(v, {static_cast<std::int64_t>(v.size())}, float64);
  }

  const json& c_;
  const SafetensorsFile& file_;
  DType dtype_;
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
    checks.fail("the share of dropped elements is " + std::to_string(static_cast<double>(dropped) / static_cast<double>(all)));
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

void check_gradients(const std::string& op, const char* what, const json& names, const Tensors& found,
                     const std::vector<std::string>& order, const Case& one, double tolerance, CaseChecks& checks) {
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (!names.contains(order[i])) continue;
    if (names[order[i]].is_null()) {
      if (!zero_or_undefined(found[i])) checks.fail(std::string(what) + " " + order[i] + " is not zero");
      continue;
    }
    const Tensor expected = one.tensor(names[order[i]]);
    if (!found[i].defined() && zero_or_undefined(expected)) continue;
    checks.check(std::string(what) + " " + order[i], difference(op, found[i], expected), tolerance);
  }
}

void run_case(const std::string& op, const json& c, const SafetensorsFile& file, DType dtype, CaseChecks& checks) {
  const double tolerance = dtype == float64 ? 1e-10 : 1e-5;
  const auto call = reference_calls().find(op);
  if (call == reference_calls().end()) throw std::runtime_error("the operation is not known");
  Case one(c, file, dtype);
  if (op == "nn.functional.dropout" || op == "nn.functional._scaled_dot_product_attention")
    if (const double p = probability(c); p > 0 && p < 1) {
      if (op == "nn.functional.dropout") return check_dropout_law(one, call->second, p, checks);
      return check_attention_law(one, c, file, dtype, call->second, checks);
    }
  Arguments arguments = one.arguments();
  const Tensors ys = call->second(arguments);
  arguments.check_all_read();
  if (ys.size() < c["out"].size()) return checks.fail("there are " + std::to_string(ys.size()) + " outputs");
  for (std::size_t i = 0; i < c["out"].size(); ++i) {
    if (c["out"][i].is_null()) continue;
    const Tensor expected = one.tensor(c["out"][i]);
    if (!ys[i].defined() && expected.numel() == 0) continue;
    checks.check("output " + std::to_string(i), difference(op, ys[i], expected), tolerance);
  }
  Tensors outputs, cotangents, xs;
  std::vector<std::string> leaf_names, all_names;
  for (std::size_t k = 0; k < c["cot"].size(); ++k) {
    const Tensor y = ys[c["cot_of"][k].get<std::size_t>()];
    const std::string name = c["cot"][k];
    if (!y.requires_grad()) continue;
    outputs.push_back(y);
    cotangents.push_back(one.tensor(name).requires_grad_());
  }
  for (const auto& [name, leaf] : one.leaves) {
    leaf_names.push_back(name);
    xs.push_back(leaf);
  }
  if (outputs.empty()) {
    for (const auto& [leaf, name] : c["grads"].items())
      if (!name.is_null() && !zero_or_undefined(one.tensor(name))) checks.fail("no gradient reaches " + leaf);
    return;
  }
  const Tensors gs = attune::grad(outputs, xs,
                                  {.cotangents = cotangents, .retain_graph = true, .create_graph = true, .allow_unused = true});
  check_gradients(op, "gradient", c["grads"], gs, leaf_names, one, tolerance, checks);

  Tensors firsts, cotangents2;
  for (std::size_t i = 0; i < gs.size(); ++i)
    if (gs[i].defined() && gs[i].requires_grad() && c["cot2"].contains(leaf_names[i]) &&
        !c["cot2"][leaf_names[i]].is_null()) {
      firsts.push_back(gs[i]);
      cotangents2.push_back(one.tensor(c["cot2"][leaf_names[i]]));
    }
  all_names = leaf_names;
  Tensors all = xs;
  for (std::size_t k = 0; k < cotangents.size(); ++k) {
    all_names.push_back(c["cot"][k]);
    all.push_back(cotangents[k]);
  }
  Tensors seconds(all.size());
  if (!firsts.empty()) seconds = attune::grad(firsts, all, {.cotangents = cotangents2, .allow_unused = true});
  if (c.contains("grads2"))
    check_gradients(op, "second gradient", c["grads2"], seconds, all_names, one, tolerance, checks);
}

struct Count {
  int passed = 0, failed = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares operations with PyTorch's cases, to second order.");
  const std::string own = std::string(ATTUNE_TEST_DATA) + "/ops";
  std::string directory = own, only;
  int only_case = -1;
  app.add_option("DIR", directory, "the folder of the cases")->capture_default_str();
  app.add_option("--op", only, "run this operation alone, by PyTorch's name");
  app.add_option("--case", only_case, "run this case alone, by its number");
  CLI11_PARSE(app, argc, argv);

  std::map<std::string, Count> counts;
  Count total;
  try {
    for (const std::filesystem::path& path : sorted_entries(directory)) {
      if (path.extension() != ".json") continue;
      std::string op = path.stem().string();
      json document;
      SafetensorsFile file;
      try {
        document = json::parse(std::ifstream(path));
        op = document.at("op");
        if (!only.empty() && op != only) continue;
        file = load_safetensors(std::filesystem::path(path).replace_extension(".safetensors").string());
      } catch (const std::exception& e) {
        std::printf("%s: %s\n", op.c_str(), e.what());
        ++counts[op].failed;
        continue;
      }
      const json& cases = document["cases"];
      for (std::size_t i = 0; i < cases.size(); ++i) {
        if (only_case >= 0 && i != static_cast<std::size_t>(only_case)) continue;
        for (DType dtype : {float64, float32}) {
          CaseChecks checks;
          try {
            run_case(op, cases[i], file, dtype, checks);
          } catch (const std::exception& e) {
            checks.fail(e.what());
          }
          checks.passed() ? ++counts[op].passed : ++counts[op].failed;
          if (!checks.passed()) std::printf("%s case %zu, %s: %s\n", op.c_str(), i, name_of(dtype), checks.str().c_str());
        }
      }
    }
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
  if (directory == own && only.empty() && only_case < 0)
    for (const Kept& k : kept)
      if (!k.used) {
        std::printf("%s: no case needs the difference \"%s\" any more\n", k.op.c_str(), k.reason.c_str());
        ++total.failed;
      }
  if (total.passed + total.failed == 0) std::printf("no such case in %s\n", directory.c_str());
  std::printf("%d passed, %d failed\n", total.passed, total.failed);
  return total.passed + total.failed == 0 || total.failed > 0 ? 1 : 0;
}
