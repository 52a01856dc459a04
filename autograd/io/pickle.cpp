#include "autograd/io/internal/pickle.h"

#include <bit>
#include <cstring>
#include <optional>
#include <set>
#include <unordered_map>

#include "autograd/io/internal/elements.h"
#include "autograd/io/internal/torch_names.h"

namespace attune::io {

namespace {

constexpr std::size_t most_values = 2'000'000;

}  // namespace

class PickleMachine {
 public:
  PickleMachine(const Input& file, std::string_view program, Pickle& to)
      : file_(file), program_(program), values_(to.values_) {}

  PickleRef run() {
    for (;;) {
      const auto code = static_cast<unsigned char>(bytes(1)[0]);
      if (code == '.') break;
      if (!constant(code) && !container(code) && !memo(code)) call(code);
    }
    if (!marks_.empty() || stack_.size() != 1) malformed();
    return stack_[0];
  }

 private:
  [[noreturn]] void malformed() const { file_.fail("is damaged: its pickle is malformed"); }

  // ---- the program's bytes

  std::string_view bytes(std::uint64_t n) {
    if (n > program_.size() - at_) file_.fail("is damaged: its pickle ends too early");
    const std::string_view text = program_.substr(at_, n);
    at_ += n;
    return text;
  }
  std::uint64_t number(int width) {
    std::uint64_t v = 0;
    const std::string_view text = bytes(static_cast<std::uint64_t>(width));
    for (int i = 0; i < width; ++i)
      v |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[static_cast<std::size_t>(i)])) << 8 * i;
    return v;
  }
  std::string_view line() {
    const std::size_t end = program_.find('\n', at_);
    if (end == std::string_view::npos) file_.fail("is damaged: its pickle ends too early");
    const std::string_view text = bytes(end - at_);
    bytes(1);
    return text;
  }
  /// Two's complement of any width.
  std::int64_t integer(std::uint64_t width) {
    const std::string_view text = bytes(width);
    if (width > 8) file_.fail("has a whole number beyond 64 bits");
    std::uint64_t v = width > 0 && (text[width - 1] & 0x80) ? ~std::uint64_t{0} : 0;
    for (std::size_t i = 0; i < width; ++i) {
      v &= ~(std::uint64_t{0xff} << 8 * i);
      v |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i])) << 8 * i;
    }
    return static_cast<std::int64_t>(v);
  }

  // ---- the stack

  template <class T>
  bool push(T value) {
    if (values_.size() >= most_values) file_.fail("has a pickle of more than 2000000 values");
    values_.push_back({std::move(value)});
    stack_.push_back(&values_.back());
    return true;
  }
  PickleRef pop() {
    if (stack_.size() <= bottom()) malformed();
    PickleRef v = stack_.back();
    stack_.pop_back();
    return v;
  }
  PickleRef top() {
    if (stack_.size() <= bottom()) malformed();
    return stack_.back();
  }
  std::size_t bottom() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<PickleRef> to_mark() {
    if (marks_.empty()) malformed();
    const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> items(from, stack_.end());
    stack_.erase(from, stack_.end());
    marks_.pop_back();
    return items;
  }
  template <class T>
  T& as(PickleRef v) const {
    T* const value = std::get_if<T>(&v->value);
    if (!value) malformed();
    return *value;
  }

  // ---- instructions; each group says whether it has one

  bool constant(unsigned char code) {
    switch (code) {
      case 0x80:  // PROTO
        if (const std::uint64_t v = number(1); v < 2 || v > 5)
          file_.fail("has a pickle of the unknown version " + std::to_string(v));
        return true;
      case 0x95: number(8); return true;                            // FRAME
      case 'N': return push(PickleNone{});                          // NONE
      case 0x88: return push(true);                                 // NEWTRUE
      case 0x89: return push(false);                                // NEWFALSE
      case 'J': return push(integer(4));                            // BININT
      case 'K': return push(static_cast<std::int64_t>(number(1)));  // BININT1
      case 'M': return push(static_cast<std::int64_t>(number(2)));  // BININT2
      case 0x8a: return push(integer(number(1)));                   // LONG1
      case 'G': {                                                   // BINFLOAT, big-endian
        std::uint64_t v = 0;
        for (const char c : bytes(8)) v = v << 8 | static_cast<unsigned char>(c);
        return push(std::bit_cast<double>(v));
      }
      case 'X':
      case 'T': return push(std::string(bytes(number(4))));  // BINUNICODE, BINSTRING
      case 0x8c:
      case 'U': return push(std::string(bytes(number(1))));   // SHORT_BINUNICODE, SHORT_BINSTRING
      case 0x8d: return push(std::string(bytes(number(8))));  // BINUNICODE8
      default: return false;
    }
  }

  bool container(unsigned char code) {
    switch (code) {
      case '(': marks_.push_back(stack_.size()); return true;  // MARK
      case ')': return push(PickleTuple{});                    // EMPTY_TUPLE
      case ']': return push(PickleList{});                     // EMPTY_LIST
      case '}': return push(PickleDict{});                     // EMPTY_DICT
      case 't': return push(PickleTuple{to_mark()});           // TUPLE
      case 'l': return push(PickleList{to_mark()});            // LIST
      case 0x85:
      case 0x86:
      case 0x87: {  // TUPLE1, TUPLE2, TUPLE3
        std::vector<PickleRef> items(code - 0x84u);
        for (std::size_t i = items.size(); i-- > 0;) items[i] = pop();
        return push(PickleTuple{std::move(items)});
      }
      case 'd': {  // DICT
        const std::vector<PickleRef> items = to_mark();
        push(PickleDict{});
        return set(items);
      }
      case 'a': return append({pop()});    // APPEND
      case 'e': return append(to_mark());  // APPENDS
      case 's': {                          // SETITEM
        PickleRef value = pop(), key = pop();
        return set({key, value});
      }
      case 'u': return set(to_mark());  // SETITEMS
      default: return false;
    }
  }
  bool append(const std::vector<PickleRef>& items) {
    std::vector<PickleRef>& list = as<PickleList>(top()).items;
    list.insert(list.end(), items.begin(), items.end());
    return true;
  }
  bool set(const std::vector<PickleRef>& items) {
    auto& dict = as<PickleDict>(top()).items;
    if (items.size() % 2 != 0) malformed();
    for (std::size_t i = 0; i < items.size(); i += 2) dict.emplace_back(items[i], items[i + 1]);
    return true;
  }

  bool memo(unsigned char code) {
    switch (code) {
      case '0':  // POP
        if (!marks_.empty() && stack_.size() == marks_.back())
          marks_.pop_back();
        else
          pop();
        return true;
      case '1': to_mark(); return true;                     // POP_MARK
      case '2': stack_.push_back(top()); return grown();    // DUP
      case 'q': memo_[number(1)] = top(); return true;      // BINPUT
      case 'r': memo_[number(4)] = top(); return true;      // LONG_BINPUT
      case 0x94: memo_[memo_.size()] = top(); return true;  // MEMOIZE
      case 'h': return recall(number(1));                   // BINGET
      case 'j': return recall(number(4));                   // LONG_BINGET
      default: return false;
    }
  }
  bool recall(std::uint64_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) malformed();
    stack_.push_back(found->second);
    return grown();
  }
  bool grown() const {
    if (stack_.size() > most_values) file_.fail("has a pickle of more than 2000000 values");
    return true;
  }

  void call(unsigned char code) {
    switch (code) {
      case 'c': {  // GLOBAL
        const std::string_view module = line(), name = line();
        return global(std::string(module) + "." + std::string(name));
      }
      case 0x93: {  // STACK_GLOBAL
        PickleRef name = pop(), module = pop();
        return global(as<std::string>(module) + "." + as<std::string>(name));
      }
      case 'Q': return persistent(as<PickleTuple>(pop()).items);  // BINPERSID
      case 'R': {                                                 // REDUCE
        PickleRef arguments = pop();
        return reduce(as<PickleGlobal>(pop()).name, as<PickleTuple>(arguments).items);
      }
      case 'b': {  // BUILD
        pop();     // attributes, such as a state dict's _metadata
        if (!std::holds_alternative<PickleDict>(top()->value)) malformed();
        return;
      }
      default:
        file_.fail("has a pickle with the instruction " + std::to_string(code) +
                   ", which neither tensors nor containers of them need");
    }
  }

  void global(const std::string& name) {
    if (!is_known_global(name))
      file_.fail("holds a " + name.substr(0, 200) +
                 ", which would have to be run; tensors, numbers, texts, and dicts and lists of them are read");
    push(PickleGlobal{name});
  }
  void persistent(const std::vector<PickleRef>& id) {
    if (id.size() < 5 || as<std::string>(id[0]) != "storage") malformed();
    const std::optional<std::string> dtype = dtype_of_storage(as<PickleGlobal>(id[1]).name);
    if (!dtype) malformed();
    push(PickleStorage{*dtype, as<std::string>(id[2]), as<std::int64_t>(id[4])});
  }
  void reduce(const std::string& name, const std::vector<PickleRef>& arguments) {
    const auto argument = [&](std::size_t i) {
      if (i >= arguments.size()) malformed();
      return arguments[i];
    };
    if (name == "collections.OrderedDict") {
      if (!arguments.empty()) malformed();
      push(PickleDict{});
    } else if (name == "torch.Size") {
      push(PickleTuple{few(argument(0))});
    } else if (name == "torch._utils._rebuild_tensor" || name == "torch._utils._rebuild_tensor_v2" ||
               name == "torch._utils._rebuild_tensor_v3") {
      PickleTensor t{as<PickleStorage>(argument(0)), {}, as<std::int64_t>(argument(1))};
      t.sizes = sizes(argument(2));
      t.strides = sizes(argument(3));
      t.dtype = t.storage.dtype;
      if (name.ends_with("v3")) {
        const std::optional<std::string> dtype = dtype_of_global(as<PickleGlobal>(argument(6)).name);
        if (!dtype) malformed();
        t.dtype = *dtype;
      }
      push(std::move(t));
    } else if (name == "torch._utils._rebuild_parameter" || name == "torch._utils._rebuild_parameter_with_state") {
      push(as<PickleTensor>(argument(0)));
    } else if (name == "torch._tensor._rebuild_from_type_v2") {
      const std::string& type = as<PickleGlobal>(argument(1)).name;
      if (type != "torch.nn.parameter.Parameter" && type != "torch.Tensor" && type != "torch._tensor.Tensor")
        malformed();
      const std::string function = as<PickleGlobal>(argument(0)).name;
      if (function == name) malformed();
      reduce(function, as<PickleTuple>(argument(2)).items);
    } else {
      file_.fail("calls " + name + ", which makes no tensor");
    }
  }
  /// A tuple that is a shape: it is copied, and a long one, given again and again, would take any amount of memory.
  const std::vector<PickleRef>& few(PickleRef tuple) const {
    constexpr std::size_t most_axes = 64;
    const std::vector<PickleRef>& items = as<PickleTuple>(tuple).items;
    if (items.size() > most_axes) malformed();
    return items;
  }
  std::vector<std::int64_t> sizes(PickleRef tuple) const {
    std::vector<std::int64_t> result;
    for (PickleRef v : few(tuple)) result.push_back(as<std::int64_t>(v));
    return result;
  }

  const Input& file_;
  std::string_view program_;
  std::size_t at_ = 0;
  std::deque<PickleValue>& values_;
  std::vector<PickleRef> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleRef> memo_;
};

Pickle::Pickle(const Input& file, std::string_view program) { root_ = PickleMachine(file, program, *this).run(); }

}  // namespace attune::io
