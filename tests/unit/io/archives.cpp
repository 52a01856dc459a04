// Zip archives, .npz and PyTorch's checkpoints: files of numpy and PyTorch themselves (tests/data/io/make.py), round
// trips, and archives that lie.

#include <doctest/doctest.h>
#include <zlib.h>

#include "autograd/io/internal/zip.h"
#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

const std::string data = ATTUNE_TEST_DATA "/io/";
using Texts = std::map<std::string, std::string>;

std::span<const std::byte> bytes_of(const std::string& s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}

/// An archive of members as they are given.
std::string zip_of(const Texts& members, bool deflate = false, std::uint64_t zip64_from = 0xffffffff) {
  std::string bytes;
  const io::Sink sink = [&](const void* p, std::int64_t n) {
    bytes.append(static_cast<const char*>(p), static_cast<std::size_t>(n));
  };
  io::ZipWriter zip(sink, zip64_from);
  for (const auto& [name, text] : members)
    zip.add(name, static_cast<std::int64_t>(text.size()), deflate,
            [&, &text = text](const io::Sink& member) { member(text.data(), static_cast<std::int64_t>(text.size())); });
  zip.finish();
  return bytes;
}
Texts unzipped(const std::string& bytes) {
  const io::Input file("zip", bytes_of(bytes));
  const io::ZipReader zip(file);
  Texts members;
  for (const io::ZipEntry& e : zip.entries()) members[e.name] = zip.read_all(e, 1 << 24);
  return members;
}
std::string refused_zip(const std::string& bytes) {
  return refusal<FileError>([&] { unzipped(bytes); });
}
bool says(const std::string& said, const std::string& reason) { return said.find(reason) != std::string::npos; }

std::string poked(std::string bytes, std::size_t at, const std::string& with) {
  return bytes.replace(at, with.size(), with);
}

/// A PyTorch checkpoint of a pickle, and one storage of eight bytes.
std::string checkpoint(const std::string& pickle) {
  return zip_of({{"a/data.pkl", pickle}, {"a/data/0", std::string("\0\0\x80\x3f\0\0\0\x40", 8)}});
}
std::string refused_pickle(const std::string& pickle) {
  const std::string bytes = checkpoint(pickle);
  return refusal<FileError>([&] { load_pytorch(io::Input("c", bytes_of(bytes))); });
}
/// The instructions that push a storage of `numel` floats, member "0", and those that make a tensor of it.
std::string storage(int numel, const std::string& type = "FloatStorage") {
  return "(U\7storagectorch\n" + type + "\nU\0010U\3cpuK" + static_cast<char>(numel) + "tQ";
}
std::string tensor_of(const std::string& stored, const std::string& offset, const std::string& sizes,
                      const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + stored + offset + sizes + strides + "\x89}tR";
}
std::string number(std::int64_t v) {
  return std::string("\x8a\x08") + std::string(reinterpret_cast<const char*>(&v), 8);
}

}  // namespace

TEST_CASE("zip: what is written is read, stored and deflated, with and without 64 bits") {
  Texts members = {{"empty", ""}, {"a/b.txt", "hello hello hello"}, {"n\xc3\xa4me", std::string(300'000, 'x')}};
  for (const bool deflate : {false, true})
    for (const std::uint64_t zip64_from : {0xffffffffu, 0u}) {
      const std::string bytes = zip_of(members, deflate, zip64_from);
      CHECK(unzipped(bytes) == members);
      CHECK(bytes == zip_of(members, deflate, zip64_from));
      CHECK(says(bytes, "PK\6\6") == (zip64_from == 0));
      CHECK((bytes.size() < 10'000) == deflate);
      for (std::size_t n = 0; n < bytes.size(); n += n < 200 || n + 600 > bytes.size() ? 1 : 997)
        CHECK(says(refused_zip(bytes.substr(0, n)), "zip"));
    }
  CHECK(unzipped(zip_of({})).empty());
  // A comment at the end, and one that looks like the end.
  std::string commented = zip_of(members);
  commented[commented.size() - 2] = 26;
  CHECK(unzipped(commented + std::string("PK\5\6") + std::string(22, 'c')) == members);
}

TEST_CASE("zip: archives that lie are refused before memory is taken") {
  const std::string text(2000, 'a'), stored = zip_of({{"m", text}}), packed = zip_of({{"m", text}}, true);
  const std::size_t entry = stored.find("PK\1\2"), end = stored.find("PK\5\6"), packed_entry = packed.find("PK\1\2");
  const std::string ones(4, '\xff'), large("\0\0\0\x10", 4);
  CHECK(says(refused_zip(poked(stored, entry + 24, large)), "which cannot come of 2000 packed ones"));
  CHECK(says(refused_zip(poked(packed, packed_entry + 24, large)), "which cannot come of"));
  CHECK(says(refused_zip(poked(packed, packed_entry + 24, std::string("\xcf\7\0\0", 4))), "is longer than it says"));
  CHECK(says(refused_zip(poked(packed, packed_entry + 24, std::string("\xd1\7\0\0", 4))), "is shorter than it says"));
  CHECK(says(refused_zip(poked(packed, 40, ones)), "is damaged"));
  CHECK(says(refused_zip(poked(stored, 40, "b")), "its checksum does not fit"));
  CHECK(says(refused_zip(poked(stored, entry + 20, large)), "lies outside"));
  CHECK(says(refused_zip(poked(stored, entry + 42, large)), "lies outside"));
  CHECK(says(refused_zip(poked(stored, entry + 42, std::string("\1\0\0\0", 4))), "no header where the directory says"));
  CHECK(says(refused_zip(poked(stored, entry + 20, ones)), "directory is malformed"));
  CHECK(says(refused_zip(poked(stored, entry + 10, std::string("\7\0", 2))), "is packed by method 7"));
  CHECK(says(refused_zip(poked(stored, entry + 8, std::string("\1\0", 2))), "is encrypted"));
  CHECK(says(refused_zip(poked(stored, 30, "n")), "has another name"));
  CHECK(says(refused_zip(poked(stored, end + 8, std::string("\2\0\2\0", 4))), "members do not fit in its directory"));
  CHECK(says(refused_zip(poked(stored, end + 8, std::string("\2\0", 2))), "several volumes"));
  CHECK(says(refused_zip(poked(stored, end + 16, large)), "lies outside"));
  // Two members that are one: a bomb's trick.
  const std::string two = zip_of({{"m", text}, {"n", text}});
  const std::size_t second = two.find("PK\1\2", two.find("PK\1\2") + 4);
  CHECK(says(refused_zip(poked(two, second + 42, std::string(4, '\0'))), "overlaps another one"));
  CHECK(says(refused_zip(poked(two, second + 46, "m")), "is there twice"));
}

TEST_CASE("npz: numpy's own archives, stored and deflated") {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const TensorFile file = load_npz(data + name);
    CHECK(same_bits(file.at("w"), tensor({0, 1, 2, 3, 4, 5}, {2, 3})));
    CHECK(same_bits(file.at("fortran"), tensor({0, 1, 2, 3, 4, 5}, {2, 3}, float64)));
    CHECK(same_bits(file.at("big"), tensor({0, 1, 2}, {3}, int32)));
    CHECK(same_bits(file.at("unsigned"), tensor({3}, {1}, int64)));
    CHECK(same_bits(file.at("bool"), gt(tensor({1, 0}), 0)));
    CHECK(file.at("scalar").item() == 2.5);
    CHECK(file.tensors.size() == 6);
    CHECK(
        file.unreadable ==
        Texts{{"text", "<U2"}, {"object", "|O"}, {"complex", "<c8"}, {"record", "[('a', '<f4'), ('b', '<i2', (2,))]"}});
    CHECK(load_tensors(data + name).tensors.size() == 6);
  }
}

TEST_CASE("npz: round trips, and refusals") {
  const Folder dir;
  std::map<std::string, Tensor> tensors;
  for (const Tensor& t : samples()) tensors["t" + std::to_string(tensors.size())] = t;
  tensors["n\xc3\xa4me/with.dots"] = zeros({300, 300});
  for (const bool compress : {false, true}) {
    save_npz(dir / "a.npz", tensors, {.compress = compress});
    CHECK((get(dir / "a.npz").size() < 300'000) == compress);
    const TensorFile back = load_npz(dir / "a.npz");
    REQUIRE(back.tensors.size() == tensors.size());
    for (const auto& [name, t] : tensors) CHECK(same_bits(t, back.tensors.at(name)));
  }
  CHECK(dir.files() == 1);
  CHECK_THROWS_AS(save_npz(dir / "b.npz", {{"a", Tensor()}}), ValueError);
  CHECK_THROWS_AS(save_npz(dir / "b.npz", {{"", zeros({1})}}), ValueError);
  CHECK_THROWS_AS(save_npz(dir / "b.npz", {{std::string("a\0b", 3), zeros({1})}}), ValueError);
  save_npz(dir / "b.npz", {});
  CHECK(load_npz(dir / "b.npz").tensors.empty());
  // The array claims more than its member has, and the member as much as the archive.
  save_npy(dir / "c.npy", zeros({4}));
  std::string npy = get(dir / "c.npy");
  npy.replace(npy.find("(4,)"), 4, "(5,)");
  const auto refused = [](const std::string& path) { load_npz(path); };
  check_refused(refused, dir / "d.npz", zip_of({{"c.npy", npy}}),
                ": c.npy: is cut off: 20 bytes of data are expected for [5] <f4, and 16 are there");
  put(dir / "e.npz", zip_of({{"notes.txt", "x"}}));
  CHECK(load_npz(dir / "e.npz").unreadable == Texts{{"notes.txt", "no array"}});
}

TEST_CASE("pytorch: a state dict of every dtype, strided, shared and expanded") {
  const TensorFile file = load_pytorch(data + "state.pt");
  const Tensor weight = reshape(arange(12, float32), {3, 4});
  CHECK(same_bits(file.at("weight"), weight));
  CHECK(same_bits(file.at("transposed"), transpose(weight)));
  CHECK(file.at("weight").same_storage(file.at("transposed")));
  CHECK(file.at("transposed").strides() == Strides{1, 4});
  CHECK(same_bits(file.at("tail"), tensor({5, 7, 9, 11, 13})));
  CHECK(same_bits(file.at("expanded"), full({3, 5}, 4)));
  CHECK(same_bits(file.at("bias"), tensor({1.5, -2})));
  CHECK(same_bits(file.at("half"), tensor({1, 0.5})));
  CHECK(same_bits(file.at("bfloat"), tensor({1, -3})));
  CHECK(same_bits(file.at("double"), scalar(3.25, float64)));
  CHECK(same_bits(file.at("long"), tensor({-1, 2}, {2}, int64)));
  CHECK(same_bits(file.at("int"), tensor({7}, {1}, int32)));
  CHECK(same_bits(file.at("short"), tensor({-7}, {1}, int32)));
  CHECK(same_bits(file.at("char"), tensor({-8}, {1}, int32)));
  CHECK(same_bits(file.at("byte"), tensor({200}, {1}, int32)));
  CHECK(same_bits(file.at("bool"), gt(tensor({1, 0}), 0)));
  CHECK(same_bits(file.at("empty"), zeros({0, 3})));
  CHECK(same_bits(file.at("parameter"), ones({2})));
  CHECK(file.unreadable == Texts{{"complex", "complex64"}});
  CHECK(file.metadata.empty());
  CHECK(load_tensors(data + "state.pt").tensors.size() == 16);
  CHECK(same_bits(load_tensors(data + "lone.pt").at("tensor"), ones({2, 2})));
}

TEST_CASE("pytorch: a nested checkpoint with its numbers and texts") {
  const TensorFile file = load_tensors(data + "nested.pth");
  CHECK(file.at("model.0.weight").shape() == Shape{2, 3});
  CHECK(file.at("model.1.running_var").shape() == Shape{2});
  CHECK(file.at("optimizer.state.0.exp_avg").shape() == Shape{2, 3});
  CHECK(file.at("optimizer.state.3.step").item() == 1);
  CHECK(file.at("parts.1.1").item() == 1);
  CHECK(file.metadata.at("epoch") == "3");
  CHECK(file.metadata.at("note") == "hello");
  CHECK(file.metadata.at("best") == "0.1");
  CHECK(file.metadata.at("none") == "None");
  CHECK(file.metadata.at("optimizer.param_groups.0.lr") == "0.001");
  CHECK(file.metadata.at("optimizer.param_groups.0.params.3") == "3");
}

TEST_CASE("pytorch: what would have to be run is refused by its name") {
  const auto said = [](const char* name) { return refusal<FileError>([&] { load_pytorch(data + name); }); };
  CHECK(says(said("module.pt"), "holds a torch.nn.modules.container.Sequential, which would have to be run"));
  CHECK(says(said("script.pt"), "is no PyTorch checkpoint but a TorchScript program"));
  CHECK(says(said("old.pt"), "is no PyTorch checkpoint but a PyTorch checkpoint of the form before version 1.6"));
  CHECK(says(refused_pickle("\x80\2cos\nsystem\nU\5touchtR."), "holds a os.system, which would have to be run"));
  CHECK(says(refused_pickle("\x80\4\x8c\2os\x8c\6system\x93."), "holds a os.system, which"));
  CHECK(says(refused_pickle("\x80\2c__builtin__\neval\n."), "holds a __builtin__.eval"));
  // Known names are no way to others.
  CHECK(says(refused_pickle("\x80\2ctorch\nload\n."), "holds a torch.load"));
  CHECK(says(refused_pickle("\x80\2ctorch._utils\n_rebuild_tensor_v2.__globals__\n."), "which would have to be run"));
  CHECK(says(refused_pickle("\x80\2ctorch\nfloat32\n)R."), "calls torch.float32, which makes no tensor"));
  CHECK(says(refused_pickle("\x80\2ctorch\nfloat32\n)\x81."), "has a pickle with the instruction 129"));
  CHECK(says(refused_pickle("\x80\2(iposix\nsystem\n."), "has a pickle with the instruction 105"));
}

TEST_CASE("pytorch: malformed pickles and impossible tensors") {
  const std::string two = number(2), zero = number(0), one = number(1);
  const auto loaded = [](const std::string& pickle) {
    const std::string bytes = checkpoint("\x80\2" + pickle + ".");
    return load_pytorch(io::Input("c", bytes_of(bytes)));
  };
  CHECK(same_bits(loaded(tensor_of(storage(2), zero, two + "\x85", one + "\x85")).at("tensor"), tensor({1, 2})));
  CHECK(same_bits(loaded("}U\1a" + tensor_of(storage(2), one, ")", ")") + "s").at("a"), scalar(2)));
  const auto refused = [&](const std::string& pickle) { return refusal<FileError>([&] { loaded(pickle); }); };
  const std::string huge = number(std::numeric_limits<std::int64_t>::max()), below = number(-1);
  for (const auto& [offset, size, stride] : std::vector<std::array<std::string, 3>>{{one, two, one},
                                                                                    {zero, two, two},
                                                                                    {zero, two, huge},
                                                                                    {huge, two, huge},
                                                                                    {below, one, one},
                                                                                    {zero, below, one},
                                                                                    {zero, two, below},
                                                                                    {zero, huge, zero}})
    CHECK(says(refused(tensor_of(storage(2), offset, size + "\x85", stride + "\x85")), "lies outside of its storage"));
  CHECK(says(refused(tensor_of(storage(2), zero, two + "\x85", ")")), "different lengths"));
  CHECK(says(refused(tensor_of(storage(3), zero, one + "\x85", one + "\x85")),
             "has a storage of 8 bytes; 12 are expected for 3 elements of float32"));
  CHECK(says(refused("(" + storage(2) + storage(2) + "t"), "holds a storage without a tensor"));
  for (const std::string& pickle :
       std::vector<std::string>{"", "0", "(", "t", "h\5", "s", "a", "K\1K\1", "}K\1s", "]K\1K\1s", "b", "}b", "R", "Q",
                                "N\x85Q", "}(K\1u", "U\xff", "X\xff\xff\xff\xff"})
    CHECK(says(refused(pickle), "is damaged: its pickle"));
  // A list that holds itself, tuples in tuples, and a text of 2^64 bytes.
  CHECK(says(refused("]q\1h\1a"), "is nested too deeply"));
  CHECK(says(refused(")" + std::string(1'000'000, '\x85')), "is nested too deeply"));
  std::string twice = "K\1q\0010";  // each pair holds the one before twice
  for (int i = 0; i < 40; ++i) twice += "h\1h\1\x86q\0010";
  CHECK(says(refused(twice + "h\1"), "has more than 1000000 values"));
  CHECK(says(refused("}U\1aK\1sU\1a" + tensor_of(storage(2), one, ")", ")") + "sU\1a" +
                     tensor_of(storage(2), one, ")", ")") + "s"),
             "tensor \"a\" is there twice"));
}

TEST_CASE("files: what is no safetensors, npy, npz or PyTorch file is named for what it is") {
  const Folder dir;
  const std::pair<std::string, std::string> cases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "but a Git LFS pointer"},
      {"\n<!DOCTYPE html>\n<html><body>Not found</body></html>", "but an HTML or XML page"},
      {"\xef\xbb\xbf<HTML lang=en>", "but an HTML or XML page"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "but an HTML or XML page"},
      {std::string("GGUF\3\0\0\0\1\0\0\0\0\0\0\0", 16), "but a GGUF file"},
      {R"({"metadata": {}, "weight_map": {"a": "b.safetensors"}})", "but the index of a model in several"},
      {R"({"error": "not found"})", "but a JSON text"},
      {std::string("\x80\2}q\0.", 6), "but a Python pickle"},
      {std::string("\x80\4\x95\0\0", 5), "but a Python pickle"},
      {get(data + "old.pt"), "but a PyTorch checkpoint of the form before version 1.6"},
      {"\x1f\x8b\x08", "but compressed by gzip"},
      {"\x89HDF\r\n\x1a\n", "but an HDF5 file"},
      {"", "but empty"},
      {zip_of({{"readme", "x"}}), "but a zip archive that is neither"},
      {get(data + "state.pt").substr(0, 2000), "but a zip archive that is neither"},
      {get(data + "script.pt"), "but a TorchScript program"},
  };
  for (const auto& [bytes, what] : cases) {
    for (const auto& [load, name] : std::vector<std::pair<void (*)(const std::string&), std::string>>{
             {[](const std::string& p) { load_safetensors(p); }, "is no safetensors file "},
             {[](const std::string& p) { load_npy(p); }, "is no .npy file "},
             {[](const std::string& p) { load_tensors(p); }, "is no file of tensors "}}) {
      if (says(what, "index of a model") && says(name, "of tensors")) continue;
      check_refused(load, dir / "file", bytes, name + what);
    }
  }
  for (const auto& [file, what] : std::map<std::string, std::string>{
           {"state.pt", "but a PyTorch checkpoint (a zip"}, {"stored.npz", "but an archive of numpy arrays"}}) {
    const std::string path = data + file;  // clang 14 captures no binding
    CHECK(says(refusal<FileError>([&] { load_safetensors(path); }), "is no safetensors file " + what));
  }
  CHECK(says(refusal<FileError>([&] { load_npz(data + "state.pt"); }), "is no .npz file but a PyTorch checkpoint"));
  CHECK(
      says(refusal<FileError>([&] { load_pytorch(data + "stored.npz"); }), "is no PyTorch checkpoint but an archive"));
  save_npy(dir / "a.npy", ones({2}));
  save_safetensors(dir / "a.st", {{"w", ones({2})}});
  CHECK(says(refusal<FileError>([&] { load_safetensors(dir / "a.npy"); }), "but a numpy array (.npy)"));
  CHECK(says(refusal<FileError>([&] { load_npy(dir / "a.st"); }), "but a safetensors file"));
  CHECK(same_bits(load_tensors(dir / "a.npy").at("tensor"), ones({2})));
  CHECK(same_bits(load_tensors(dir / "a.st").at("w"), ones({2})));
  put(dir / "unknown", "what is this?");
  CHECK(says(refusal<FileError>([&] { load_tensors(dir / "unknown"); }), "of a kind that is known"));
}

TEST_CASE("shards: a model in several files through its index") {
  const Folder dir;
  save_safetensors(dir / "model-1.safetensors", {{"a", ones({2})}, {"b", zeros({3})}});
  fs::create_directories(dir / "sub");
  save_safetensors(dir / "sub/model-2.safetensors", {{"c", full({1}, 5)}}, {{"k", "v"}});
  const auto index = [&](const std::string& map) {
    put(dir / "model.safetensors.index.json",
        R"({"metadata": {"total_size": 24, "x": [1]}, "weight_map": )" + map + "}");
    return load_tensors(dir / "model.safetensors.index.json");
  };
  const TensorFile file =
      index(R"({"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "sub/model-2.safetensors"})");
  CHECK(file.tensors.size() == 3);
  CHECK(file.at("c").item() == 5);
  CHECK(file.metadata == Texts{{"total_size", "24"}, {"k", "v"}});
  const auto said = [&](const std::string& map) { return refusal<FileError>([&] { index(map); }); };
  for (const char* outside : {"../a", "/etc/passwd", "sub/../../a", "", "sub/", ".", "a\\\\b", "a\\u0000b", "./a"})
    CHECK(says(said(std::string(R"({"a": ")") + outside + "\"}"), "names a file outside of its folder"));
  CHECK(says(said(R"({"z": "model-1.safetensors"})"), "places tensor \"z\" in model-1.safetensors, which does not"));
  CHECK(says(said(R"({"a": "none.safetensors"})"), "none.safetensors: cannot be opened"));
  CHECK(says(said(R"({"a": "model-1.safetensors", "a": "model-1.safetensors"})"), "names \"a\" twice"));
  CHECK(says(said(R"({"a": 1})"), "names no file for \"a\""));
  CHECK(says(said(R"({"a": {"b": "c"}})"), "names no file for \"a\""));
  CHECK(says(said(R"(["a"])"), "has a weight_map that is no object"));
  CHECK(says(said(R"({"a": )"), "is no JSON"));
  save_safetensors(dir / "sub/model-2.safetensors", {{"a", ones({1})}});
  CHECK(
      says(said(R"({"b": "model-1.safetensors", "a": "sub/model-2.safetensors"})"), "is in another file of the model"));
}

}  // namespace attune::tests
