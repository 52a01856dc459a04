// A trace file, and the JSON in one.
#include "autograd/trace/trace_file.h"

#include "autograd/ops/create.h"
#include "autograd/trace/internal/trace_json.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with('{'))
    tried([&] {
      const Recording r = recording_of_json(text, [](const std::string&, const RecordedValue& v, bool) {
        return numel(v.shape) <= 1000 ? zeros(v.shape, v.dtype) : throw ValueError("large");
      });
      recording_of_json(trace_json(r),
                        [](const std::string&, const RecordedValue& v, bool) { return zeros(v.shape, v.dtype); });
    });
  else
    tried([&] { load_trace(io::Input("file", bytes)); });
}
