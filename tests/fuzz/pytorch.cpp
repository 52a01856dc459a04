// The pickle of a PyTorch checkpoint with four storages, whose checksums fit.
#include "autograd/io/pytorch.h"

#include "autograd/autograd.h"
#include "autograd/io/internal/zip.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  static const std::byte zeros[16]{};
  std::string archive;
  const io::Sink sink = [&](const void* p, std::int64_t n) {
    archive.append(static_cast<const char*>(p), static_cast<std::size_t>(n));
  };
  io::ZipWriter zip(sink);
  const auto add = [&](const char* name, Bytes member) {
    const auto n = static_cast<std::int64_t>(member.size());
    zip.add(name, n, false, [&](const io::Sink& to) { to(member.data(), n); });
  };
  add("a/data.pkl", bytes);
  add("a/data/0", std::span(zeros));
  add("a/data/1", std::span(zeros).first(8));
  add("a/data/2", std::span(zeros).first(4));
  add("a/data/3", std::span(zeros).first(1));
  zip.finish();
  tried([&] {
    const TensorFile file = load_pytorch(io::Input("file", std::as_bytes(std::span(archive))));
    // Every element that a tensor says it has must be there.
    for (const auto& [name, t] : file.tensors)
      if (t.numel() < 100'000) clone(t);
  });
}
