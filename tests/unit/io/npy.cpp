// The .npy format: round trips, numpy's own bytes, hostile files.

#include <doctest/doctest.h>

#include "tests/unit/file_checks.h"

namespace attune::tests {
namespace {

void load_np(const std::string& path) { load_npy(path); }

/// A header as numpy pads it, then data.
std::string npy(std::string header, const std::string& data = "", char version = 1) {
  const std::size_t fixed = version == 1 ? 10 : 12;
  header.resize((fixed + header.size() + 1 + 63) / 64 * 64 - fixed - 1, ' ');
  header += '\n';
  const auto n = static_cast<std::uint32_t>(header.size());
  return std::string("\x93NUMPY") + version + '\0' + std::string(reinterpret_cast<const char*>(&n), fixed - 8) +
         header + data;
}
std::string npy_shape(const std::string& shape, const std::string& data = "", const std::string& type = "<f4") {
  return npy("{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }", data);
}

}  // namespace

TEST_CASE("npy: round trips, and the bytes that numpy writes") {
  const Folder dir;
  for (const Tensor& t : samples()) {
    save_npy(dir / "a.npy", t);
    CHECK(same_bits(t, load_npy(dir / "a.npy")));
  }
  save_npy(dir / "a.npy", tensor({1, 0.5}, {2}, float64));
  CHECK(get(dir / "a.npy") == npy_shape("(2,)", std::string("\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\xe0\x3f", 16), "<f8"));
  save_npy(dir / "a.npy", scalar(1));
  CHECK(get(dir / "a.npy") == npy_shape("()", std::string("\0\0\x80\x3f", 4)));
  save_npy(dir / "a.npy", gt(tensor({0, 1}, {1, 2}), 0));
  CHECK(get(dir / "a.npy") == npy_shape("(1, 2)", std::string("\0\1", 2), "|b1"));
  // np.save of np.array([1.5, -2, 65504, 6e-8], '<f2')
  put(dir / "h.npy", npy_shape("(4,)", std::string("\0\x3e\0\xc0\xff\x7b\1\0", 8), "<f2"));
  CHECK(load_npy(dir / "h.npy").to_vector<double>() == std::vector<double>{1.5, -2, 65504, 0x1p-24});
  // np.save of np.asfortranarray(np.arange(1, 7, dtype='<i2').reshape(2, 3)), in each version of the format
  for (char version : {'\1', '\2', '\3'}) {
    put(dir / "f.npy", npy("{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }",
                           std::string("\1\0\4\0\2\0\5\0\3\0\6\0", 12), version));
    const Tensor f = load_npy(dir / "f.npy");
    CHECK(f.is_contiguous());
    CHECK(same_bits(f, tensor({1, 2, 3, 4, 5, 6}, {2, 3}, int32)));
  }
  put(dir / "o.npy", npy(R"({"shape":(2L,),"fortran_order":True,"descr":"|i1"})", "\x01\xff"));
  CHECK(same_bits(load_npy(dir / "o.npy"), tensor({1, -1}, {2}, int32)));
}

TEST_CASE("npy: hostile files end in FileError, each with its reason") {
  const Folder dir;
  const std::string eight(8, '\0'), no_dictionary = "the header is no dictionary of descr, fortran_order and shape";
  const std::pair<std::string, std::string> cases[] = {
      {"", "is no .npy file but empty"},
      {"\x93NUMPY", "is too short for an .npy file: it has 6 bytes"},
      {"not a numpy file", "is no .npy file"},
      {std::string("\x93NUMPY\x09\x00\x01\x01", 10), "has the unknown format version 9.0"},
      {std::string("\x93NUMPY\x01\x00\xff\xff", 10), "claims a header of 65535 bytes; at most 10000 are allowed"},
      {std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12), "claims a header of 4294967295 bytes"},
      {std::string("\x93NUMPY\x02\x00\x00\x00", 10), "ends inside the header"},
      {std::string("\x93NUMPY\x01\x00\x20\x00", 10),
       "ends inside the header, whose 32 bytes end at 42; the file has 10"},
      {npy_shape("(2,)", eight + "1"),
       "goes on behind its array: 8 bytes of data are expected for [2] <f4, and 9 are there"},
      {npy_shape("(1000000000000,)", eight),
       "is cut off: 4000000000000 bytes of data are expected for [1000000000000] <f4, and 8 are there"},
      {npy_shape("(4611686018427387904, 4)", eight), "has a shape whose bytes overflow 64 bits"},
      {npy_shape("(0, 4611686018427387904, 4)"), "has a shape whose bytes overflow 64 bits"},
      {npy_shape("(99999999999999999999,)", eight), "has a size beyond 64 bits"},
      {npy_shape("(" + std::string(9000, '1') + ",)", eight), "has a size beyond 64 bits"},
      {npy_shape("(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2)", eight), "has more than 10 axes"},
      {npy_shape("(2)", eight), no_dictionary},
      {npy_shape("(2 1)", eight), no_dictionary},
      {npy_shape("(,)", eight), no_dictionary},
      {npy_shape("(-2,)", eight), no_dictionary},
      {npy_shape("(2.0,)", eight), no_dictionary},
      {npy_shape("2", eight), no_dictionary},
      {npy_shape("(2,", eight), no_dictionary},
      {npy_shape(std::string(9000, '('), eight), no_dictionary},
      {npy_shape("(1,)", eight, "<c8"), "has elements of type '<c8', which cannot be read"},
      {npy_shape("(1,)", eight, "|f8"), "has elements of type '|f8', which cannot be read"},
      {npy_shape("(2,)", eight, "f4"), "has elements of type 'f4', which cannot be read"},
      {npy_shape("(1,)", eight, ""), no_dictionary},
      {npy("{'descr': [('a', '<f4', 'fortran_order': False", eight), no_dictionary},
      {npy_shape("(1,)", eight, "|O"), "has elements of type '|O', which cannot be read"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", eight), "has records as elements"},
      {npy_shape("(2,), 'shape': (2,)", eight), "has an unexpected header entry 'shape'"},
      {npy_shape("(2,), 'more': 1", eight), "has an unexpected header entry 'more'"},
      {npy("{'descr': '<f4', 'shape': (2,), }", eight), "the header must give descr, fortran_order and shape"},
      {npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,), }", eight), no_dictionary},
      {npy_shape("(2,), } x {", eight), no_dictionary},
  };
  for (const auto& [bytes, reason] : cases) check_refused(load_np, dir / "bad.npy", bytes, reason);
  put(dir / "b.npy", npy_shape("(2,)", "\1\2", "|b1"));
  CHECK(refusal<FileError>([&] { load_npy(dir / "b.npy"); }) ==
        (dir / "b.npy") + ": has a bool that is neither 0 nor 1");
}

TEST_CASE("npy: big-endian and unsigned elements, in both orders of axes") {
  const Folder dir;
  // np.save of np.array([[1, 2, 3], [4, 5, 6]]) in each type and order.
  const auto check = [&](const std::string& type, int width, DType dtype, const std::function<std::string(int)>& bits) {
    for (const bool fortran : {false, true}) {
      CAPTURE(type);
      std::string data;
      for (int i = 0; i < 6; ++i) {
        std::string element = bits(fortran ? i / 2 + i % 2 * 3 + 1 : i + 1);
        REQUIRE(static_cast<int>(element.size()) == width);
        if (type[0] == '>') std::reverse(element.begin(), element.end());
        data += element;
      }
      put(dir / "a.npy",
          npy("{'descr': '" + type + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': (2, 3), }",
              data));
      CHECK(same_bits(load_npy(dir / "a.npy"), tensor({1, 2, 3, 4, 5, 6}, {2, 3}, dtype)));
    }
  };
  const auto whole = [](std::size_t width) {
    return [width](int v) {
      std::string s(width, '\0');
      s[0] = static_cast<char>(v);
      return s;
    };
  };
  for (const char* order : {"<", ">"}) {
    for (const char* kind : {"i", "u"}) {
      const std::string type = std::string(order) + kind;
      check(type + "1", 1, int32, whole(1));
      check(type + "2", 2, int32, whole(2));
      check(type + "4", 4, kind[0] == 'i' ? int32 : int64, whole(4));
      check(type + "8", 8, int64, whole(8));
    }
    check(std::string(order) + "f4", 4, float32, [](int v) {
      const auto x = static_cast<float>(v);
      return std::string(reinterpret_cast<const char*>(&x), 4);
    });
    check(std::string(order) + "f8", 8, float64, [](int v) {
      const double x = v;
      return std::string(reinterpret_cast<const char*>(&x), 8);
    });
    // Halves: 1 = 0x3c00, 2 = 0x4000, 3 = 0x4200, 4 = 0x4400, 5 = 0x4500, 6 = 0x4600.
    check(std::string(order) + "f2", 2, float32,
          [](int v) { return std::string(1, '\0') + "\x3c\x40\x42\x44\x45\x46"[v - 1]; });
  }
  put(dir / "u.npy", npy_shape("(2,)", std::string("\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\x7f", 16), "<u8"));
  CHECK(refusal<FileError>([&] { load_npy(dir / "u.npy"); }) ==
        (dir / "u.npy") + ": has an unsigned number beyond int64");
  put(dir / "u.npy", npy_shape("(2,)", std::string("\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\x7f", 16), ">u8"));
  CHECK(load_npy(dir / "u.npy").to_vector<std::int64_t>() == std::vector<std::int64_t>{128, 127});
}

}  // namespace attune::tests
