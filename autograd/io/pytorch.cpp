#include "autograd/io/pytorch.h"

#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "autograd/io/internal/elements.h"
#include "autograd/io/internal/kind.h"
#include "autograd/io/internal/pickle.h"
#include "autograd/io/internal/zip.h"
#include "autograd/runtime/error.h"

namespace attune {

namespace {

constexpr std::int64_t most_pickle = std::int64_t{64} << 20;
constexpr int most_depth = 64;
constexpr std::int64_t most_names = 1'000'000;

class Reader {
 public:
  explicit Reader(const io::Input& file) : file_(file), zip_(file) {}

  TensorFile read() {
    const io::ZipEntry* program = nullptr;
    for (const io::ZipEntry& e : zip_.entries()) {
      const std::size_t slash = e.name.find('/');
      if (e.name.substr(slash == std::string::npos ? 0 : slash + 1) != "data.pkl") continue;
      if (std::exchange(program, &e)) file_.fail("holds two checkpoints");
    }
    if (!program) file_.fail("is no PyTorch checkpoint: its archive has no data.pkl");
    folder_ = program->name.substr(0, program->name.size() - 8);
    if (const io::ZipEntry* order = zip_.find(folder_ + "byteorder")) {
      const std::string text = zip_.read_all(*order, 100);
      if (text != "little" && text != "big") file_.fail("has the unknown byte order \"" + text + "\"");
      order_ = text == "big" ? io::Order::big : io::Order::little;
    }
    const std::string text = zip_.read_all(*program, most_pickle);
    const io::Pickle pickle(file_, text);
    take(pickle.root(), "", 0);
    return std::move(result_);
  }

 private:
  /// Adds a value under its name, and what it holds under names that go on from it.
  void take(const io::PickleValue& v, const std::string& name, int depth) {
    if (depth > most_depth) file_.fail("is nested too deeply");
    if (++taken_ > most_names) file_.fail("has more than 1000000 values");
    if (const auto* dict = std::get_if<io::PickleDict>(&v.value)) {
      for (const auto& [key, value] : dict->items) take(*value, join(name, key_of(*key)), depth + 1);
    } else if (const auto* list = std::get_if<io::PickleList>(&v.value)) {
      take_all(list->items, name, depth);
    } else if (const auto* tuple = std::get_if<io::PickleTuple>(&v.value)) {
      take_all(tuple->items, name, depth);
    } else if (const auto* tensor = std::get_if<io::PickleTensor>(&v.value)) {
      take_tensor(*tensor, name.empty() && depth == 0 ? "tensor" : name);
    } else {
      // Of two equal keys Python keeps the last value.
      result_.metadata[name] = text_of(v);
    }
  }
  void take_all(const std::vector<io::PickleRef>& items, const std::string& name, int depth) {
    for (std::size_t i = 0; i < items.size(); ++i) take(*items[i], join(name, std::to_string(i)), depth + 1);
  }
  static std::string join(const std::string& name, const std::string& key) {
    return name.empty() ? key : name + "." + key;
  }
  std::string key_of(const io::PickleValue& key) const {
    if (const auto* text = std::get_if<std::string>(&key.value)) return *text;
    if (const auto* number = std::get_if<std::int64_t>(&key.value)) return std::to_string(*number);
    file_.fail("has a dict with a key that is neither a text nor a whole number");
  }
  std::string text_of(const io::PickleValue& v) const {
    if (const auto* text = std::get_if<std::string>(&v.value)) return *text;
    if (const auto* number = std::get_if<std::int64_t>(&v.value)) return std::to_string(*number);
    if (const auto* truth = std::get_if<bool>(&v.value)) return *truth ? "True" : "False";
    if (const auto* global = std::get_if<io::PickleGlobal>(&v.value)) return global->name;
    if (const auto* number = std::get_if<double>(&v.value)) {
      char text[40];
      return {text, std::to_chars(text, text + sizeof text, *number).ptr};
    }
    if (std::holds_alternative<io::PickleStorage>(v.value)) file_.fail("holds a storage without a tensor");
    return "None";
  }

  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    file_.fail("tensor \"" + name + "\" " + what);
  }
  void take_tensor(const io::PickleTensor& t, const std::string& name) {
    if (result_.tensors.count(name) != 0 || result_.unreadable.count(name) != 0) fail(name, "is there twice");
    const io::Element* const element = io::find_element(&io::Element::torch, t.dtype);
    if (!element) {
      result_.unreadable.emplace(name, t.dtype.empty() ? "bytes" : t.dtype);
      return;
    }
    if (t.sizes.size() != t.strides.size()) fail(name, "has sizes and strides of different lengths");
    if (t.sizes.size() > static_cast<std::size_t>(max_rank)) fail(name, "has more than 10 axes");
    const Shape shape(t.sizes);
    const Strides strides(t.strides);
    // The last element's place; sizes and strides may be anything so far.
    std::int64_t last = t.offset;
    bool fits = t.offset >= 0 && t.storage.numel >= 0, none = false;
    for (int i = 0; i < shape.rank(); ++i) {
      std::int64_t reach = 0;
      fits = fits && shape[i] >= 0 && strides[i] >= 0;
      none = none || shape[i] == 0;
      fits = fits && !__builtin_mul_overflow(std::max<std::int64_t>(shape[i] - 1, 0), strides[i], &reach) &&
             !__builtin_add_overflow(last, reach, &last);
    }
    // Bytes without a dtype are counted one by one.
    const std::int64_t numel = t.storage.dtype.empty() ? t.storage.numel / element->bytes : t.storage.numel;
    if (!fits || io::bytes_of(*element, shape) < 0 || (none ? t.offset > numel : last >= numel))
      fail(name, "of shape " + shape.str() + " lies outside of its storage of " + std::to_string(numel) + " elements");
    const Tensor* const storage = storage_of(t.storage.key, *element, numel, name);
    if (!storage)
      result_.unreadable.emplace(name, t.dtype);
    else
      result_.tensors.emplace(name, view_of(*storage, shape, strides, t.offset));
  }

  /// The elements of a storage, read once; null if no tensor can hold them.
  const Tensor* storage_of(const std::string& key, const io::Element& element, std::int64_t numel,
                           const std::string& name) {
    const auto [at, fresh] = storages_.try_emplace({key, element.torch});
    if (!fresh) {
      if (at->second.defined() && at->second.numel() != numel) fail(name, "gives its storage another size");
      return at->second.defined() ? &at->second : nullptr;
    }
    const io::ZipEntry* const entry = zip_.find(folder_ + "data/" + key);
    if (!entry) fail(name, "needs \"" + folder_ + "data/" + key + "\", which the archive does not have");
    const Shape shape{numel};
    const std::int64_t bytes = io::bytes_of(element, shape);
    if (bytes != entry->size)
      fail(name, "has a storage of " + std::to_string(entry->size) + " bytes; " + std::to_string(bytes) +
                     " are expected for " + std::to_string(numel) + " elements of " + element.torch);
    const io::Input member(file_.path() + ": " + entry->name, entry->size, zip_.reader(*entry), file_.here());
    io::Read read = io::read_elements(member, 0, element, shape, order_);
    if (read.fault && element.dtype == DType::boolean) fail(name, read.fault);
    at->second = std::move(read.tensor);
    return at->second.defined() ? &at->second : nullptr;
  }

  const io::Input& file_;
  const io::ZipReader zip_;
  std::string folder_;
  io::Order order_ = io::Order::little;
  std::map<std::pair<std::string, std::string>, Tensor> storages_;
  std::int64_t taken_ = 0;
  TensorFile result_;
};

}  // namespace

TensorFile load_pytorch(const std::string& path, Here here) { return load_pytorch(io::Input(path, here)); }

TensorFile load_pytorch(const io::Input& file) {
  const io::Kind kind = io::kind_of(file);
  if (kind != io::Kind::other_zip && kind != io::Kind::unknown)
    io::expect_kind(file, io::Kind::pytorch, "PyTorch checkpoint");
  return Reader(file).read();
}

}  // namespace attune
