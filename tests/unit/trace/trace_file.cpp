// Trace files: what is written comes back, and what is broken is refused.
#include "autograd/trace/trace_file.h"

#include <doctest/doctest.h>

#include <cstring>
#include <span>

#include "autograd/autograd.h"
#include "autograd/io/file.h"
#include "autograd/io/safetensors.h"
#include "autograd/trace/internal/trace_json.h"
#include "autograd/trace/recorder.h"
#include "nn/nn.h"
#include "tests/unit/file_checks.h"

using namespace attune;
using attune::tests::Folder;

namespace {

Recording recorded() {
  Recorder recorder({.bytes = 4000, .slices = {"w[0]"}});
  const Tensor w = randn({40, 40}).requires_grad_(), x = tensor({1.0, -INFINITY, NAN}, float64).requires_grad_();
  const Tracing on;
  recorder.backward(sum(layer_norm(w, ones({40}), zeros({40}))) + sum(to(x * x, float32)));
  return recorder.recording();
}

Recording parsed(const std::string& json) {
  return recording_of_json(json,
                           [](const std::string&, const RecordedValue& v, bool) { return zeros(v.shape, v.dtype); });
}

}  // namespace

TEST_CASE("trace: a file gives back the recording, bit for bit") {
  const Folder folder;
  const std::string path = folder / "t.safetensors";
  const Recording r = recorded();
  save_trace(path, r);
  const Recording back = load_trace(path);
  CHECK(trace_json(back) == trace_json(r));
  REQUIRE(back.values.size() == r.values.size());
  for (std::size_t i = 0; i < r.values.size(); ++i) {
    REQUIRE(back.values[i].whole.defined() == r.values[i].whole.defined());
    if (r.values[i].whole.defined()) {
      const auto a = contiguous(back.values[i].whole), b = contiguous(r.values[i].whole);
      CHECK(std::memcmp(a.raw(), b.raw(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0);
    }
  }
  CHECK(load_safetensors(path).metadata.count("attune.trace") == 1);
}

TEST_CASE("trace: a truncated file is refused at every length") {
  const Folder folder;
  const std::string path = folder / "t.safetensors";
  save_trace(path, recorded());
  const std::string whole = io::read_text(path);
  for (std::size_t n = 0; n < whole.size(); n += 1 + whole.size() / 200) {
    const auto bytes = std::as_bytes(std::span(whole.data(), n));
    CHECK_THROWS_AS(load_trace(io::Input("cut", bytes)), FileError);
  }
}

TEST_CASE("trace: JSON that is no trace is refused with what is wrong") {
  const std::string good = trace_json(recorded());
  CHECK_NOTHROW(parsed(good));
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string s = good;
    const std::size_t at = s.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    return s.replace(at, from.size(), to);
  };
  const auto refused = [](const std::string& json, const char* why) {
    CHECK_THROWS_WITH_AS(parsed(json), doctest::Contains(why), ValueError);
  };
  refused("", "no JSON");
  refused("[]", "\"format\"");
  refused(good.substr(0, good.size() / 2), "no JSON");
  refused(changed("\"version\":1", "\"version\":2"), "reads version 1");
  refused(changed("\"version\":1", "\"version\":\"1\""), "whole number");
  refused(changed("\"node\":0", "\"node\":99999"), "whole number");
  refused(changed("\"node\":0", "\"node\":-2"), "outside of");
  refused(changed("\"node\":0", "\"node\":1e3"), "whole number");
  refused(changed("\"node\":0", "\"node\":18446744073709551615"), "whole number");
  refused(changed("\"root\":", "\"rooot\":"), "\"root\" is missing");
  refused(changed("\"dtype\":\"float32\"", "\"dtype\":\"float33\""), "no dtype");
  refused(changed("\"leaf\":true", "\"leaf\":1"), "neither true nor false");
  refused(changed("\"steps\":[", "\"steps\":{\"a\":["), "no JSON");
}

TEST_CASE("trace: what the fuzzer starts from is a trace") {
  const Recording r = load_trace(ATTUNE_TEST_DATA "/fuzz/trace/file");
  CHECK(r.passes.at(0).nodes.at(1).inputs.at(0).words == "a\nb");
  CHECK(r.values.at(0).slices.size() == 1);
  CHECK(parsed(io::read_text(ATTUNE_TEST_DATA "/fuzz/trace/json")).progress.size() == 1);
}

TEST_CASE("trace: another safetensors file is no trace") {
  const Folder folder;
  const std::string path = folder / "weights.safetensors";
  save_safetensors(path, {{"w", ones({2})}});
  CHECK_THROWS_WITH_AS(load_trace(path), doctest::Contains("is no trace"), FileError);
  save_safetensors(path, {{"w", ones({2})}}, {{"attune.trace", "{}"}});
  CHECK_THROWS_WITH_AS(load_trace(path), doctest::Contains("\"format\" is missing"), FileError);
  CHECK_THROWS_AS(save_trace(folder / "no/such/folder.safetensors", Recording()), FileError);
}
