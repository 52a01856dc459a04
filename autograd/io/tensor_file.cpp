#include "autograd/io/tensor_file.h"

#include "autograd/io/internal/kind.h"
#include "autograd/io/npy.h"
#include "autograd/io/pytorch.h"
#include "autograd/io/safetensors.h"
#include "autograd/runtime/error.h"

namespace attune {

const Tensor& TensorFile::at(const std::string& name, Here here) const {
  if (const auto found = tensors.find(name); found != tensors.end()) return found->second;
  if (const auto found = unreadable.find(name); found != unreadable.end())
    throw ValueError("tensor \"" + name + "\" of the file has the dtype " + found->second + ", which cannot be read",
                     here);
  throw ValueError("the file has no tensor \"" + name + "\"", here);
}

TensorFile load_tensors(const std::string& path, Here here) {
  const io::Input file(path, here);
  switch (const io::Kind kind = io::kind_of(file)) {
    case io::Kind::safetensors: return load_safetensors(file);
    case io::Kind::npz: return load_npz(file);
    case io::Kind::pytorch: return load_pytorch(file);
    case io::Kind::shard_index: return load_sharded_safetensors(path, here);
    case io::Kind::npy: return {{{"tensor", load_npy(file)}}};
    case io::Kind::unknown: file.fail("is no file of tensors of a kind that is known");
    default: file.fail(std::string("is no file of tensors but ") + io::describe(kind));
  }
}

}  // namespace attune
