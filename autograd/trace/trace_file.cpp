#include "autograd/trace/trace_file.h"

#include "autograd/io/safetensors.h"
#include "autograd/runtime/error.h"
#include "autograd/trace/internal/trace_json.h"

namespace attune {

namespace {
constexpr const char* entry = "attune.trace";
std::string name_of_value(std::size_t i) { return "v" + std::to_string(i); }
}  // namespace

void save_trace(const std::string& path, const Recording& recording, Here here) {
  std::map<std::string, Tensor> tensors;
  for (std::size_t i = 0; i < recording.values.size(); ++i) {
    const RecordedValue& v = recording.values[i];
    if (v.whole.defined()) tensors[name_of_value(i)] = v.whole;
    for (const auto& [slice, part] : v.slices) tensors[name_of_value(i) + slice] = part;
  }
  save_safetensors(path, tensors, {{entry, trace_json(recording)}}, here);
}

Recording load_trace(const std::string& path, Here here) { return load_trace(io::Input(path, here)); }

Recording load_trace(const io::Input& file) {
  const SafetensorsFile all = load_safetensors(file);
  const auto json = all.metadata.find(entry);
  if (json == all.metadata.end()) file.fail("is no trace: its metadata have no \"attune.trace\"");
  const auto find = [&](const std::string& name, const RecordedValue& v, bool part) {
    const auto at = all.tensors.find(name);
    if (at == all.tensors.end()) throw ValueError("the tensor \"" + name + "\" is missing");
    const Tensor& x = at->second;
    if (x.dtype() != v.dtype || (!part && x.shape() != v.shape))
      throw ValueError("the tensor \"" + name + "\" is " + x.shape().str() + " " + name_of(x.dtype()) + " where " +
                       v.shape.str() + " " + name_of(v.dtype) + " is announced");
    return x;
  };
  try {
    return recording_of_json(json->second, find);
  } catch (const ValueError& e) {
    file.fail(std::string("is no trace that can be read: ") + e.what());
  } catch (const ShapeError& e) {
    file.fail(std::string("is no trace that can be read: ") + e.what());
  }
}

}  // namespace attune
