// Equations of einsum, with operands of small shapes: "2 3|3 4|ij,jk->ik".
#include "autograd/autograd.h"
#include "tests/fuzz/target.h"

void attune::fuzz::run(Bytes bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Tensors operands;
  for (std::size_t bar; operands.size() < 4 && (bar = text.find('|')) != std::string::npos; text.erase(0, bar + 1)) {
    Shape shape;
    for (const char c : text.substr(0, bar))
      if (c >= '0' && c <= '4' && shape.rank() < 5) shape.push_back(c - '0');
    operands.push_back(ones(shape));
  }
  tried([&] { einsum(text, operands); });
}
