#include "autograd/io/internal/torch_names.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "autograd/io/internal/elements.h"

namespace attune::io {

namespace {

// Dtypes that no tensor here has, and their storages.
constexpr std::pair<const char*, const char*> others[] = {
    {"complex64", "ComplexFloatStorage"},
    {"complex128", "ComplexDoubleStorage"},
    {"complex32", nullptr},
    {"qint8", "QInt8Storage"},
    {"quint8", "QUInt8Storage"},
    {"qint32", "QInt32Storage"},
    {"quint4x2", "QUInt4x2Storage"},
    {"quint2x4", "QUInt2x4Storage"},
    {"float8_e4m3fn", nullptr},
    {"float8_e4m3fnuz", nullptr},
    {"float8_e5m2", nullptr},
    {"float8_e5m2fnuz", nullptr},
    {"float8_e8m0fnu", nullptr},
};
constexpr const char* functions[] = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.Tensor",
    "torch._tensor.Tensor",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch.nn.parameter.Parameter",
};

}  // namespace

bool is_known_global(const std::string& name) {
  const auto* const end = std::end(functions);
  return std::find(std::begin(functions), end, name) != end || dtype_of_storage(name) || dtype_of_global(name);
}

std::optional<std::string> dtype_of_storage(const std::string& global) {
  if (global == "torch.storage.UntypedStorage" || global == "torch.UntypedStorage") return "";
  if (!global.starts_with("torch.")) return std::nullopt;
  const std::string name = global.substr(6);
  if (const Element* e = find_element(&Element::storage, name)) return e->torch;
  for (const auto& [dtype, storage] : others)
    if (storage && name == storage) return dtype;
  return std::nullopt;
}

std::optional<std::string> dtype_of_global(const std::string& global) {
  if (!global.starts_with("torch.")) return std::nullopt;
  const std::string name = global.substr(6);
  if (find_element(&Element::torch, name)) return name;
  for (const auto& [dtype, storage] : others)
    if (name == dtype) return dtype;
  return std::nullopt;
}

}  // namespace attune::io
